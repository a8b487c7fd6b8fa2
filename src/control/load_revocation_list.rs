//! `LoadRevocationList`: puts a CA's revocation list in force. The cloud knows no such operation.

use super::access::Scope;
use super::answers::OperationPage;
use super::call::{self, Action};
use super::caller::Caller;
use super::error::{Cause, OperationError};
use super::request_id::RequestId;
use crate::certificate::{RevocationList, SerialNumber};
use crate::id::InstanceId;
use crate::instance::{Event, Instances};
use crate::trust::{Ended, LiveChange, Revocation, RevocationError};

/// Puts a revocation list in force for a registered CA, in the place of the one before: every
/// certificate on it that this CA issued is refused, a device's as well as an intermediate's, and what
/// came in with one is ended.
#[derive(Clone, Debug)]
pub struct LoadRevocationList {
    /// The instance with which the CA is registered.
    pub mqtt_instance_id: InstanceId,
    /// The serial number of the CA that made the list. It holds for each registered CA with the same
    /// subject and key, also for one that is registered later.
    pub sn: SerialNumber,
    /// The list.
    pub revocation_list: RevocationList,
}

/// What [`LoadRevocationList`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoadRevocationListResponse {
    /// The request's id.
    pub request_id: RequestId,
    /// The CA's serial number.
    pub sn: SerialNumber,
    /// Whether another list, or none, was in force before.
    pub changed: bool,
    /// The registered CAs whose own certificates are on the list. Registered, they stand on their own:
    /// whoever comes in through them still does until they are deactivated.
    pub registered_cas: Vec<SerialNumber>,
    /// The connections that came in with a certificate that is on the list: how many this ended, and how
    /// many it left up.
    pub connections: LiveChange,
}

impl LoadRevocationList {
    /// Applies the operation. The list that is in force already stays, and that is a success.
    ///
    /// When this has returned no device is let in with a certificate that is on the list, be its
    /// handshake under way, with or without a ticket; and no connection that came in with one reads or
    /// writes any more, but for the packet that the broker left as its
    /// [`farewell`](crate::ConnectionHandle::farewell), unless the instance
    /// [keeps connections](crate::InstanceSpec::keep_connections). Nobody else is disturbed: tickets
    /// stay good. The signature is checked here, once. A list goes with its CA when that is deleted.
    ///
    /// # Errors
    ///
    /// `PermissionCheckFailed`, `MqttInstanceNotFound` and `MqttOwnerCheckError`, as [`Caller`]
    /// tells; `FindCaBySnError`; `ParameterFieldCheckFailed` with a [`RevocationError`] as its cause
    /// where the list is not this CA's or the CA may not sign any, not for now, or not later than the one
    /// in force, which stays; `InternalError` where the clock does not answer.
    pub fn apply(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<LoadRevocationListResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let now = call::now(&instance)?;
            let loaded = instance.trust().load_revocations(&self.sn, &self.revocation_list, now);
            let answer = self.answer(request_id, loaded)?;
            tracing::info!(
                action = ACTION.name, %request_id, ?caller, instance = %instance.id(),
                sn = %self.sn,
                number = self.revocation_list.number().map(tracing::field::display),
                registered_cas = ?answer.registered_cas,
                revoked = self.revocation_list.len(), changed = answer.changed,
                connections_ended = answer.connections.ended,
                connections_kept = answer.connections.kept, "operation applied"
            );
            if answer.changed {
                instance.announce(|instance| Event::RevocationListLoaded {
                    instance,
                    ca_serial: self.sn.clone(),
                });
            }
            instance.announce_ended(Ended::Revoked(self.sn.clone()), answer.connections);
            Ok(answer)
        })
    }

    /// What applying the operation would answer now. Changes nothing.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn dry_run(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<LoadRevocationListResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let now = call::now(&instance)?;
            let list = &self.revocation_list;
            self.answer(request_id, instance.trust().foresee_revocations(&self.sn, list, now))
        })
    }

    fn answer(
        &self,
        request_id: RequestId,
        loaded: Option<Result<Revocation, RevocationError>>,
    ) -> Result<LoadRevocationListResponse, Cause> {
        let loaded = loaded.ok_or_else(|| Cause::NoSuchCa(self.sn.clone()))??;
        Ok(LoadRevocationListResponse {
            request_id,
            sn: self.sn.clone(),
            changed: loaded.changed,
            registered_cas: loaded.registered,
            connections: loaded.live,
        })
    }
}

const ACTION: Action = Action {
    name: "LoadRevocationList",
    permission: "mq:LoadRevocationList",
    scope: Scope::Instance,
    page: OperationPage::ActiveCaCertificate,
};
