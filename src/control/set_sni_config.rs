//! `SetSniConfig`.

use std::collections::BTreeSet;

use rustls_pki_types::UnixTime;

use super::access::{AccessDeniedDetail, Scope};
use super::answers::OperationPage;
use super::call::{self, Action};
use super::caller::Caller;
use super::error::{Cause, OperationError};
use super::parameters::Parameters;
use super::request_id::RequestId;
use super::sni_config::{SniConfig, SniEntry};
use super::sni_draft::SniDraft;
use super::sni_faults::{EntryError, EntryFault, EntryWarning, Place, SniConfigRefused};
use super::sni_loading::Loading;
use super::sni_plan::{SniConfigPlan, generation, is_in_force};
use crate::id::{CertificateId, InstanceId};
use crate::instance::{ClaimError, Event, Instance, Instances};
use crate::sni::SniTable;

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
    /// Counts the maps of the instance from 1, those of renewals and expiries among them; the same as
    /// before where nothing changed. Not on the wire.
    pub generation: u64,
    /// What to look at in the map that is now served: the default certificate's first, then in the
    /// order of the entries. Not on the wire.
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
        self.apply_to(None, instances, caller)
    }

    /// Applies the operation as [`apply`](Self::apply) does if the map in force still has this
    /// generation, as a [`plan`](Self::plan) found it: 0 stands for no map. Of two that expect the
    /// same generation one is applied, and the other refused: of what the first one did it did not
    /// know. Where the first one changed nothing the generation is what it was, and both are applied.
    ///
    /// A renewal of certificates makes another generation, too, and so does one that expires where the
    /// [policy](crate::SniPolicy::expired) cares. Each instance counts its own from 1,
    /// also one that takes the id of another that was removed.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), and `ParameterFieldCheckFailed` with [`Cause::OtherGeneration`] where
    /// the generation is another one, before any certificate is asked for. That is a code for bad
    /// parameters, since none for conflicts is documented: the operation has no such parameter on the
    /// wire. The map in force stays.
    pub fn apply_if(
        &self,
        expected_generation: u64,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<SetSniConfigResponse, OperationError> {
        self.apply_to(Some(expected_generation), instances, caller)
    }

    /// What applying the operation would come to now: everything that is wrong, what to look at, and
    /// what would be shown otherwise. Changes nothing, claims no name and waits for no other change;
    /// blocks as [`apply`](Self::apply) does.
    ///
    /// The plan tells of this moment. [`apply_if`](Self::apply_if) with its generation applies the
    /// operation only to the map with which it was compared; that certificates and names of others are
    /// still what they were is looked at anew.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), but for what is wrong with the default certificate and with entries:
    /// that is in the plan.
    pub fn plan(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<SniConfigPlan, OperationError> {
        let target = (&self.mqtt_instance_id, &self.sni_config);
        ACTION.on_instance(instances, target, caller, |request_id, instance| {
            let now = self.begin(&instance)?;
            check_open(&instance)?;
            let current = instance.sni().table();
            let current = current.as_deref();
            let SniDraft { map, warnings } = self.draft(instances, &instance, now, current);
            let map = match map {
                Ok(map) if is_in_force(&map, current) => Ok(map),
                Ok(map) => match instance.foresee_publish(&map) {
                    Ok(()) => Ok(map),
                    Err(error) => Err(self.refuse_claim(&instance, error)?),
                },
                Err(refused) => Err(refused),
            };
            Ok(SniConfigPlan::new(request_id, current, map, warnings, &instance))
        })
    }

    fn apply_to(
        &self,
        expected: Option<u64>,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<SetSniConfigResponse, OperationError> {
        let target = (&self.mqtt_instance_id, &self.sni_config);
        ACTION.on_instance(instances, target, caller, |request_id, instance| {
            let now = self.begin(&instance)?;
            // Until it is let go of no other map comes into force.
            let mut publisher = instance.sni_publisher();
            check_open(&instance)?;
            let current = instance.sni().table();
            let found = generation(current.as_deref());
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                return Err(Cause::OtherGeneration { expected, found });
            }
            let draft = self.draft(instances, &instance, now, current.as_deref());
            let SniDraft { map, warnings } = draft;
            let map = map?;
            let unchanged = current.filter(|table| is_in_force(&map, Some(table)));
            let changed = unchanged.is_none();
            let table = match unchanged {
                Some(table) => table,
                None => match instance.publish(&mut publisher, map, Some(now)) {
                    Ok(table) => table,
                    Err(error) => return Err(self.refuse_claim(&instance, error)?.into()),
                },
            };
            instance.renewals().forget();
            tracing::info!(
                action = ACTION.name, %request_id, ?caller, instance = %instance.id(), changed,
                default_certificate = %self.default_certificate, entries = self.sni_config.len(),
                generation = table.generation(), warnings = warnings.len(),
                "operation applied"
            );
            if changed {
                instance.announce(|instance| Event::CertificatesChanged {
                    instance,
                    generation: table.generation(),
                });
            }
            Ok(SetSniConfigResponse {
                request_id,
                success: true,
                access_denied_detail: None,
                generation: table.generation(),
                warnings,
            })
        })
    }

    /// What comes before any certificate is loaded and, since the clock is somebody else's, before the
    /// publisher is held. Gives the time by which dates are judged.
    fn begin(&self, instance: &Instance) -> Result<UnixTime, Cause> {
        self.check_number_of_names(instance)?;
        call::now(instance)
    }

    /// The next map in full, or all that is wrong with it: of applying and planning the same.
    fn draft(
        &self,
        instances: &Instances,
        instance: &Instance,
        now: UnixTime,
        current: Option<&SniTable>,
    ) -> SniDraft {
        let source = instances.source();
        let from = Loading { source, shelf: instances.shelf(), instance, now, current };
        SniDraft::make(&self.default_certificate, &self.sni_config, from)
    }

    /// A name counts once, however many key types it has.
    fn check_number_of_names(&self, instance: &Instance) -> Result<(), Cause> {
        let Some(limit) = instance.max_names() else { return Ok(()) };
        let names: BTreeSet<_> = self.sni_config.entries().map(|(_, it)| &it.pattern).collect();
        let names = names.len();
        if names > limit { Err(Cause::TooManyNames { names, limit }) } else { Ok(()) }
    }

    /// The entries whose names another instance has claimed, where that is the reason.
    fn refuse_claim(
        &self,
        instance: &Instance,
        error: ClaimError,
    ) -> Result<SniConfigRefused, Cause> {
        let names = match error {
            ClaimError::Removed => return Err(Cause::NoSuchInstance(instance.id().clone())),
            ClaimError::Taken(names) => BTreeSet::from_iter(names),
        };
        let entries = self.sni_config.entries();
        let taken = entries.filter(|(_, entry)| names.contains(&entry.pattern));
        let error = |(index, entry): (usize, &SniEntry)| EntryError {
            place: Place::Entry(index),
            fault: EntryFault::NameTaken(entry.pattern.clone()),
        };
        Ok(SniConfigRefused { errors: taken.map(error).collect() })
    }
}

/// Refuses where the instance was removed meanwhile. Where its publisher is held it is not.
fn check_open(instance: &Instance) -> Result<(), Cause> {
    instance.trust().check_open().map_err(|_| Cause::NoSuchInstance(instance.id().clone()))
}

const ACTION: Action = Action {
    name: "SetSniConfig",
    permission: "mq:SetSniConfig",
    scope: Scope::Everything,
    page: OperationPage::SetSniConfig,
};
const DEFAULT_CERTIFICATE: &str = "DefaultCertificate";
const SNI_CONFIG: &str = "SniConfig";
