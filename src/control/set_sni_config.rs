//! `SetSniConfig`.

use std::collections::BTreeSet;

use super::access::{AccessDeniedDetail, Scope};
use super::answers::OperationPage;
use super::call::{self, Action};
use super::caller::Caller;
use super::error::{Cause, OperationError};
use super::parameters::Parameters;
use super::request_id::RequestId;
use super::sni_config::{SniConfig, SniEntry};
use super::sni_draft::{Loading, SniDraft};
use super::sni_faults::{EntryError, EntryFault, EntryWarning, Place, SniConfigRefused};
use crate::id::{CertificateId, InstanceId};
use crate::instance::{ClaimError, Event, Instance, Instances};
use crate::name::NamePattern;

/// Replaces the whole certificate map of an instance.
///
/// All or nothing: every certificate is loaded and checked before anything changes, and the new
/// map takes the place of the old one in one step. What the map does not name anymore is no longer
/// served. A handshake under way finishes with the map with which it began.
#[derive(Clone, Debug)]
pub struct SetSniConfig {
    /// `MqttInstanceId`: the instance.
    pub mqtt_instance_id: InstanceId,
    /// `DefaultCertificate`: the certificate that answers for every name which no entry covers,
    /// and for clients that name none: on a shared listener, for endpoints that no entry covers, and
    /// as its fallback. The password of an encrypted one stands in an entry of the
    /// `SniConfig` that names it, too.
    pub default_certificate: CertificateId,
    /// `SniConfig`: which certificates answer for which names. Two entries may stand for one name
    /// where their key types differ, as RSA beside ECDSA.
    pub sni_config: SniConfig,
}

/// What [`SetSniConfig`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SetSniConfigResponse {
    /// `RequestId`: the request's id.
    pub request_id: RequestId,
    /// `Success`: "True" on the wire.
    pub success: bool,
    /// `AccessDeniedDetail`: nothing, in a success.
    pub access_denied_detail: Option<AccessDeniedDetail>,
    /// Counts the maps of the instance from 1; the same as before where nothing changed. Not on
    /// the wire.
    pub generation: u64,
    /// What to look at in the map that is now served. Not on the wire.
    pub warnings: Vec<EntryWarning>,
}

impl SetSniConfig {
    /// Reads the operation from its parameters; an absent `SniConfig` has no entries.
    ///
    /// # Errors
    ///
    /// `ParameterFieldCheckFailed`, with every fault as its source.
    pub fn from_parameters(parameters: &Parameters) -> Result<Self, OperationError> {
        let parse = || {
            parameters.check_names(&[call::INSTANCE_ID, DEFAULT_CERTIFICATE, SNI_CONFIG])?;
            Ok(Self {
                mqtt_instance_id: parameters.required::<_, Cause>(call::INSTANCE_ID)?,
                default_certificate: parameters.required::<_, Cause>(DEFAULT_CERTIFICATE)?,
                sni_config: parameters.optional::<_, Cause>(SNI_CONFIG)?.unwrap_or_default(),
            })
        };
        ACTION.parse(parse())
    }

    /// Applies the operation. Blocks while it asks the source for certificates and reads keys; in
    /// async code wrap it in `spawn_blocking`. A handshake that starts after this has returned is
    /// answered from the new map. The same configuration once more changes nothing, down to the
    /// pointers.
    ///
    /// # Errors
    ///
    /// `PermissionCheckFailed`, `MqttInstanceNotFound` and `MqttOwnerCheckError`, as [`Caller`]
    /// tells; `ParameterFieldCheckFailed` where any certificate cannot be served, or a name is another
    /// instance's on the shared listener ([`EntryFault::NameTaken`]): its
    /// [`cause`](OperationError::cause) then lists what is wrong with each entry; the same where there
    /// are more names than the instance may have. The old map stays in force.
    pub fn apply(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<SetSniConfigResponse, OperationError> {
        let target = (&self.mqtt_instance_id, &self.sni_config);
        ACTION.on_instance(instances, target, caller, |request_id, instance| {
            self.check_number_of_names(&instance)?;
            let now = call::now(&instance)?;
            let mut publisher = instance.sni_publisher();
            // While the publisher is held it is not removed.
            let removed = |_| Cause::NoSuchInstance(instance.id().clone());
            instance.trust().check_open().map_err(removed)?;
            let current = instance.sni().table();
            let from = Loading {
                source: instances.source(),
                shelf: instances.shelf(),
                instance: &instance,
                now,
                current: current.as_deref(),
            };
            let draft = SniDraft::make(&self.default_certificate, &self.sni_config, from)?;
            let unchanged = current.filter(|table| *table.map() == draft.map);
            let changed = unchanged.is_none();
            let table =
                match unchanged {
                    Some(table) => table,
                    None => instances.publish(&instance, &mut publisher, draft.map).map_err(
                        |error| match error {
                            ClaimError::Removed => Cause::NoSuchInstance(instance.id().clone()),
                            ClaimError::Taken(names) => self.refuse_taken(&names).into(),
                        },
                    )?,
                };
            tracing::info!(
                action = ACTION.name, %request_id, ?caller, instance = %instance.id(), changed,
                default_certificate = %self.default_certificate, entries = self.sni_config.len(),
                generation = table.generation(), warnings = draft.warnings.len(),
                "operation applied"
            );
            if changed {
                instance.announce(|instance| Event::CertificatesChanged {
                    instance,
                    generation: table.generation(),
                });
            }
            Ok::<_, Cause>(SetSniConfigResponse {
                request_id,
                success: true,
                access_denied_detail: None,
                generation: table.generation(),
                warnings: draft.warnings,
            })
        })
    }
}

impl SetSniConfig {
    /// Before any certificate is loaded: a name counts once, however many key types it has.
    fn check_number_of_names(&self, instance: &Instance) -> Result<(), Cause> {
        let Some(limit) = instance.max_names() else { return Ok(()) };
        let names: BTreeSet<_> = self.sni_config.entries().map(|(_, it)| &it.pattern).collect();
        let names = names.len();
        if names > limit { Err(Cause::TooManyNames { names, limit }) } else { Ok(()) }
    }

    /// The entries whose names another instance has claimed.
    fn refuse_taken(&self, names: &[NamePattern]) -> SniConfigRefused {
        let names: BTreeSet<_> = names.iter().collect();
        let entries = self.sni_config.entries();
        let taken = entries.filter(|(_, entry)| names.contains(&entry.pattern));
        let error = |(index, entry): (usize, &SniEntry)| EntryError {
            place: Place::Entry(index),
            fault: EntryFault::NameTaken(entry.pattern.clone()),
        };
        SniConfigRefused { errors: taken.map(error).collect() }
    }
}

const ACTION: Action = Action {
    name: "SetSniConfig",
    permission: "mq:SetSniConfig",
    scope: Scope::Everything,
    page: OperationPage::SetSniConfig,
};
const DEFAULT_CERTIFICATE: &str = "DefaultCertificate";
const SNI_CONFIG: &str = "SniConfig";
