//! `InactivateCaCertificate`.

use super::access::Scope;
use super::answers::OperationPage;
use super::call::{self, Action};
use super::caller::Caller;
use super::error::{Cause, OperationError};
use super::parameters::Parameters;
use super::request_id::RequestId;
use crate::certificate::SerialNumber;
use crate::id::InstanceId;
use crate::instance::{Event, Instances};
use crate::trust::{CaStatus, Ended, LiveChange, StatusChange};

/// Makes a registered CA inactive: every path through its key is refused, also one whose handshake
/// is under way, and what came in through it is ended.
#[derive(Clone, Debug)]
pub struct InactivateCaCertificate {
    /// `MqttInstanceId`: the instance with which the CA is registered.
    pub mqtt_instance_id: InstanceId,
    /// `Sn`: the CA's serial number.
    pub sn: SerialNumber,
}

/// What [`InactivateCaCertificate`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InactivateCaCertificateResponse {
    /// `RequestId`: the request's id.
    pub request_id: RequestId,
    /// `Sn`: the CA's serial number.
    pub sn: SerialNumber,
    /// Whether the CA had another status before. Not on the wire.
    pub changed: bool,
    /// The active CAs with the same subject and key: a renewed certificate, through which the
    /// devices stay in. Not on the wire.
    pub active_twins: Vec<SerialNumber>,
    /// The connections that came in through it. Not on the wire.
    pub connections: LiveChange,
}

impl InactivateCaCertificate {
    /// Reads the operation from its parameters.
    ///
    /// # Errors
    ///
    /// `ParameterFieldCheckFailed`, with what is wrong as its source.
    pub fn from_parameters(parameters: &Parameters) -> Result<Self, OperationError> {
        let (mqtt_instance_id, sn) = ACTION.parse(call::instance_and_sn(parameters))?;
        Ok(Self { mqtt_instance_id, sn })
    }

    /// Applies the operation. A CA that is inactive already stays as it is, and that is a success.
    ///
    /// When this has returned no device is let in through the CA, be its handshake under way, with
    /// or without a ticket; and no connection that came in through it reads or writes any more,
    /// but for the packet that the broker left as its
    /// [`farewell`](crate::ConnectionHandle::farewell), unless the instance
    /// [keeps connections](crate::InstanceSpec::keep_connections). Takes time in proportion to these
    /// connections, and waits for reads and writes that are under way.
    ///
    /// # Errors
    ///
    /// `PermissionCheckFailed`, `MqttInstanceNotFound` and `MqttOwnerCheckError`, as [`Caller`]
    /// tells; `FindCaBySnError`. Nothing has changed then.
    pub fn apply(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<InactivateCaCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let set = instance.trust().set_status(&self.sn, CaStatus::Inactive, instance.now());
            let answer = self.answer(request_id, set)?;
            tracing::info!(
                action = ACTION.name, %request_id, ?caller, instance = %instance.id(),
                sn = %self.sn,
                changed = answer.changed, active_twins = ?answer.active_twins,
                connections_ended = answer.connections.ended,
                connections_kept = answer.connections.kept, "operation applied"
            );
            if answer.changed {
                instance.announce(|instance| Event::CaStatusChanged {
                    instance,
                    ca_serial: self.sn.clone(),
                    status: Some(CaStatus::Inactive),
                });
            }
            instance.announce_ended(Ended::CaInactive(self.sn.clone()), answer.connections);
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
    ) -> Result<InactivateCaCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let foreseen = instance.trust().foresee_status(&self.sn, CaStatus::Inactive);
            self.answer(request_id, foreseen)
        })
    }

    fn answer(
        &self,
        request_id: RequestId,
        change: Option<StatusChange>,
    ) -> Result<InactivateCaCertificateResponse, Cause> {
        let change = change.ok_or_else(|| Cause::NoSuchCa(self.sn.clone()))?;
        Ok(InactivateCaCertificateResponse {
            request_id,
            sn: self.sn.clone(),
            changed: change.changed,
            active_twins: change.active_twins,
            connections: change.live,
        })
    }
}

const ACTION: Action = Action {
    name: "InactivateCaCertificate",
    permission: "mq:UnregisterCaCertificate",
    scope: Scope::Instance,
    page: OperationPage::ActiveCaCertificate,
};
