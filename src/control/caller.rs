//! On whose behalf an operation is applied.

use std::fmt;
use std::sync::Arc;

use super::access::Authoriser;
use super::principal::{Principal, PrincipalType};
use crate::id::{AccountId, Region};

/// On whose behalf an operation is applied: the embedder's own, or an account's.
///
/// What an account wants to do is decided in this order, before anything that depends on what the
/// instance holds:
///
/// 1. Its [`Authoriser`] is asked, before anything is looked up, so that its answer tells nothing
///    of what exists. What it denies is `PermissionCheckFailed`.
/// 2. There must be such an instance in the caller's region; else `MqttInstanceNotFound`, which
///    does not tell whether there is one elsewhere. An instance without a
///    [region](crate::InstanceSpec::region) is in none.
/// 3. The instance must belong to the caller's account; else `MqttOwnerCheckError`. An instance
///    without an [owner](crate::InstanceSpec::owner) belongs to none. No answer names the owner.
///
/// So whoever is granted an operation can tell by the code which instances its region has, as with
/// the cloud, and nothing more about them. Parameters that make no operation are refused before all
/// this: nothing that is stored has a say in that. A panic in the authoriser goes on to whoever
/// called `apply`, with nothing changed and no lock held.
///
/// The embedder is asked nothing; of these errors only `MqttInstanceNotFound` is left to it.
#[derive(Clone)]
pub struct Caller(Kind);

#[derive(Clone)]
enum Kind {
    Local,
    Account(Account),
}

impl Caller {
    /// The embedder itself, who may do everything.
    pub fn local() -> Self {
        Self(Kind::Local)
    }

    /// An account that was identified at the endpoint of a region, as the account itself.
    /// `authoriser` decides what it may do; see [`Caller`].
    pub fn account(account: AccountId, region: Region, authoriser: Arc<dyn Authoriser>) -> Self {
        Self(Kind::Account(Account { principal: Principal::account(account), region, authoriser }))
    }

    /// Which of the account's identities calls, and how answers and logs name it. The embedder
    /// itself has none, and stays as it is.
    #[must_use]
    pub fn principal(mut self, kind: PrincipalType, display_name: impl Into<String>) -> Self {
        match &mut self.0 {
            Kind::Local => {}
            Kind::Account(Account { principal, .. }) => {
                principal.kind = kind;
                principal.display_name = display_name.into();
            }
        }
        self
    }

    /// What is to be asked and compared; `None` for the embedder, who may do everything.
    pub(super) fn as_account(&self) -> Option<&Account> {
        match &self.0 {
            Kind::Local => None,
            Kind::Account(account) => Some(account),
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Local => f.write_str("Local"),
            Kind::Account(Account { principal, region, .. }) => f
                .debug_struct("Account")
                .field("account", &principal.account)
                .field("region", region)
                .field("principal_type", &principal.kind)
                .field("display_name", &principal.display_name)
                .finish_non_exhaustive(),
        }
    }
}

/// An account that calls.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) principal: Principal,
    pub(super) region: Region,
    pub(super) authoriser: Arc<dyn Authoriser>,
}
