//! `DeleteCaCertificate`.

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
use crate::trust::{Deletion, Ended, LiveChange};

/// Forgets a registered CA, whatever its status, and ends what came in through it. Its revocation list
/// and the devices on record under it are forgotten with it.
///
/// Forgetting an inactive CA also forgets that its key is not to be believed: paths through it
/// that lead to another active CA are good again. To keep its devices out, leave it inactive.
#[derive(Clone, Debug)]
pub struct DeleteCaCertificate {
    /// `MqttInstanceId`: the instance with which the CA is registered.
    pub mqtt_instance_id: InstanceId,
    /// `Sn`: the CA's serial number.
    pub sn: SerialNumber,
}

/// What [`DeleteCaCertificate`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeleteCaCertificateResponse {
    /// `RequestId`: the request's id.
    pub request_id: RequestId,
    /// `Sn`: the CA's serial number.
    pub sn: SerialNumber,
    /// The active CAs with the same subject and key, through which the devices stay in. Not on the
    /// wire.
    pub active_twins: Vec<SerialNumber>,
    /// How many devices were on record under it: they are forgotten with it. Not on the wire.
    pub devices: usize,
    /// How many of these were inactive. Nothing keeps them out any more where they come in through
    /// another CA, a renewed twin say: switch them off there first. Not on the wire.
    pub inactive_devices: usize,
    /// The connections that came in through it. Not on the wire.
    pub connections: LiveChange,
}

impl DeleteCaCertificate {
    /// Reads the operation from its parameters.
    ///
    /// # Errors
    ///
    /// `ParameterFieldCheckFailed`, with what is wrong as its source.
    pub fn from_parameters(parameters: &Parameters) -> Result<Self, OperationError> {
        let (mqtt_instance_id, sn) = ACTION.parse(call::instance_and_sn(parameters))?;
        Ok(Self { mqtt_instance_id, sn })
    }

    /// Applies the operation.
    ///
    /// When this has returned no device is let in through the record, be its handshake under way,
    /// with or without a ticket; and no connection that came in through it reads or writes any more,
    /// but for the packet that the broker left as its
    /// [`farewell`](crate::ConnectionHandle::farewell), unless the instance
    /// [keeps connections](crate::InstanceSpec::keep_connections). Takes time in proportion to these
    /// connections and to the devices on record, and waits for reads and writes that are under way.
    ///
    /// # Errors
    ///
    /// `PermissionCheckFailed`, `MqttInstanceNotFound` and `MqttOwnerCheckError`, as [`Caller`]
    /// tells; `FindCaBySnError`. Nothing has changed then.
    pub fn apply(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<DeleteCaCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let deletion = self.found(instance.trust().delete(&self.sn, instance.now()))?;
            tracing::info!(
                action = ACTION.name, %request_id, ?caller, instance = %instance.id(),
                sn = %self.sn,
                name = ?deletion.authority.name(), active_twins = ?deletion.active_twins,
                devices = deletion.devices.records,
                connections_ended = deletion.live.ended, connections_kept = deletion.live.kept,
                "operation applied"
            );
            instance.announce(|instance| Event::CaStatusChanged {
                instance,
                ca_serial: self.sn.clone(),
                status: None,
            });
            instance.announce_ended(Ended::CaDeleted(self.sn.clone()), deletion.live);
            Ok(self.answer(request_id, deletion))
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
    ) -> Result<DeleteCaCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let foreseen = self.found(instance.trust().foresee_delete(&self.sn))?;
            Ok(self.answer(request_id, foreseen))
        })
    }

    fn found(&self, deletion: Option<Deletion>) -> Result<Deletion, Cause> {
        deletion.ok_or_else(|| Cause::NoSuchCa(self.sn.clone()))
    }

    fn answer(&self, request_id: RequestId, deletion: Deletion) -> DeleteCaCertificateResponse {
        DeleteCaCertificateResponse {
            request_id,
            sn: self.sn.clone(),
            active_twins: deletion.active_twins,
            devices: deletion.devices.records,
            inactive_devices: deletion.devices.inactive,
            connections: deletion.live,
        }
    }
}

const ACTION: Action = Action {
    name: "DeleteCaCertificate",
    permission: "mq:DeleteCaCertificate",
    scope: Scope::Instance,
    page: OperationPage::ActiveCaCertificate,
};
