//! Who decides what callers may do, what is asked, and how it is denied.

use std::fmt;

use super::principal::{Principal, PrincipalType};
use super::sni_config::SniConfig;
use crate::id::{AccountId, InstanceId, Region};
use crate::name::NamePattern;

/// Decides what accounts may do: the policies of a broker.
pub trait Authoriser: Send + Sync {
    /// Grants a request with `Ok`. Asked once for each operation that a
    /// [`Caller::account`](crate::Caller::account) applies or tries as a dry run, on the thread
    /// that does so and with no lock held: it may block. Whether the instance is there, and the
    /// caller's, is found out only afterwards, and not to be asked here.
    ///
    /// # Errors
    ///
    /// What is to be answered instead, with nothing changed. A panic is no grant either: it goes on
    /// to whoever applied the operation.
    fn authorise(&self, request: &AccessRequest<'_>) -> Result<(), AccessDenied>;
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct AccessRequest<'a> {
    pub(super) principal: &'a Principal,
    pub(super) region: &'a Region,
    pub(super) action: &'static str,
    pub(super) resource: Resource<'a>,
    pub(super) instance: &'a InstanceId,
    pub(super) sni_config: Option<&'a SniConfig>,
}

impl<'a> AccessRequest<'a> {
    /// The account on whose behalf it is.
    pub fn account(&self) -> &'a AccountId {
        &self.principal.account
    }

    /// Which kind of the account's identities wants it.
    pub fn principal_type(&self) -> PrincipalType {
        self.principal.kind
    }

    /// What that identity is called.
    pub fn principal_display_name(&self) -> &'a str {
        &self.principal.display_name
    }

    /// The region in which the caller calls.
    pub fn region(&self) -> &'a Region {
        self.region
    }

    /// The right that the operation takes, as in `mq:SetSniConfig`. It is named after the
    /// operation, but that registering a CA takes `mq:RegisterCa`, and deactivating takes
    /// `mq:UnregisterCaCertificate` or `mq:UnregisterDeviceCertificate`. A dry run takes the same as the
    /// operation.
    pub fn action(&self) -> &'static str {
        self.action
    }

    /// The right to instances which every operation takes as well: `mq:MqttInstanceAccess`.
    pub fn dependent_action(&self) -> &'static str {
        "mq:MqttInstanceAccess"
    }

    /// To what the rights must be.
    pub fn resource(&self) -> Resource<'a> {
        self.resource
    }

    /// The instance that the request names, whatever the resource. There may be none of this id,
    /// and it may be another account's.
    pub fn instance(&self) -> &'a InstanceId {
        self.instance
    }

    /// The names for which a `SetSniConfig` wants to show certificates, in their canonical form and
    /// in the order of its entries: a name with two certificates comes twice. None for the others.
    /// Whether they are the account's to show is the authoriser's to judge.
    pub fn names(&self) -> impl Iterator<Item = &'a NamePattern> + use<'a> {
        self.sni_config.into_iter().flat_map(SniConfig::entries).map(|(_, entry)| &entry.pattern)
    }
}

/// To what a right must be, to count; `Display` writes it as policies do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource<'a> {
    /// `*`: the operation knows no rights to single instances.
    Everything,
    /// `acs:mq:{region}:{account}:{instance}`: one instance, as the caller sees it.
    Instance {
        /// The caller's region.
        region: &'a Region,
        /// The caller's account.
        account: &'a AccountId,
        /// The instance that the request names.
        instance: &'a InstanceId,
    },
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Instance { region, account, instance } => {
                write!(f, "acs:mq:{region}:{account}:{instance}")
            }
        }
    }
}

/// To what an operation's rights are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    Everything,
    Instance,
}

/// That an [`Authoriser`] does not grant a request, and what it says of why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{no_permission_type} by {policy_type:?}")]
pub struct AccessDenied {
    no_permission_type: &'static str,
    policy_type: String,
    encoded_diagnostic_message: String,
}

impl AccessDenied {
    /// No policy allows it: `ImplicitDeny`.
    pub fn implicit() -> Self {
        Self::new("ImplicitDeny")
    }

    /// A policy forbids it: `ExplicitDeny`.
    pub fn explicit() -> Self {
        Self::new("ExplicitDeny")
    }

    /// What kind of policy it was, in the cloud's words; `AccountLevelIdentityBasedPolicy` unless
    /// said otherwise.
    #[must_use]
    pub fn policy_type(self, policy_type: impl Into<String>) -> Self {
        Self { policy_type: policy_type.into(), ..self }
    }

    /// What the caller may hand to whoever keeps the policies, who can read it; nothing unless said
    /// otherwise. It is in the answer and not in the log.
    #[must_use]
    pub fn encoded_diagnostic_message(self, message: impl Into<String>) -> Self {
        Self { encoded_diagnostic_message: message.into(), ..self }
    }

    fn new(no_permission_type: &'static str) -> Self {
        Self {
            no_permission_type,
            policy_type: "AccountLevelIdentityBasedPolicy".to_owned(),
            encoded_diagnostic_message: String::new(),
        }
    }

    /// The same as it is answered.
    pub(super) fn detail(self, operation: &str, principal: &Principal) -> AccessDeniedDetail {
        AccessDeniedDetail {
            auth_action: operation.to_owned(),
            auth_principal_display_name: principal.display_name.clone(),
            auth_principal_owner_id: principal.account.to_string(),
            auth_principal_type: principal.kind.to_string(),
            encoded_diagnostic_message: self.encoded_diagnostic_message,
            no_permission_type: self.no_permission_type.to_owned(),
            policy_type: self.policy_type,
        }
    }
}

/// `AccessDeniedDetail`: who was denied what, by which policy. All texts of the cloud's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessDeniedDetail {
    /// `AuthAction`: the operation that was attempted.
    pub auth_action: String,
    /// `AuthPrincipalDisplayName`: who attempted it.
    pub auth_principal_display_name: String,
    /// `AuthPrincipalOwnerId`: the account that it belongs to.
    pub auth_principal_owner_id: String,
    /// `AuthPrincipalType`: what kind of identity it is.
    pub auth_principal_type: String,
    /// `EncodedDiagnosticMessage`: for the support of whoever denied it.
    pub encoded_diagnostic_message: String,
    /// `NoPermissionType`: how it was denied.
    pub no_permission_type: String,
    /// `PolicyType`: by what kind of policy.
    pub policy_type: String,
}
