//! `DeleteDeviceCertificate`.

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
use crate::trust::{DeviceDeletion, Ended, LiveChange};

/// Forgets a device. Its connections are ended and its tickets are of no use; where the instance
/// [provisions](crate::trust::Provisioning) by itself, its next handshake records it anew, active.
///
/// Forgetting an inactive device also forgets that it was to be kept out. To keep it out, leave it
/// inactive.
#[derive(Clone, Debug)]
pub struct DeleteDeviceCertificate {
    /// `MqttInstanceId`: the instance that the device connects to.
    pub mqtt_instance_id: InstanceId,
    /// `CaSn`: the serial number of the CA under which it is recorded.
    pub ca_sn: SerialNumber,
    /// `DeviceSn`: the serial number of its certificate.
    pub device_sn: SerialNumber,
}

/// What [`DeleteDeviceCertificate`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeleteDeviceCertificateResponse {
    /// `RequestId`: the request's id.
    pub request_id: RequestId,
    /// `DeviceSn`: the serial number of the device's certificate.
    pub device_sn: SerialNumber,
    /// The other CAs under which the same certificate stays on record. Not on the wire.
    pub also_under: Vec<SerialNumber>,
    /// The connections that came in on the record: how many were ended, and how many were left up. Not on
    /// the wire.
    pub connections: LiveChange,
}

impl DeleteDeviceCertificate {
    /// Reads the operation from its parameters.
    ///
    /// # Errors
    ///
    /// `ParameterFieldCheckFailed`, with what is wrong as its source.
    pub fn from_parameters(parameters: &Parameters) -> Result<Self, OperationError> {
        let (mqtt_instance_id, ca_sn, device_sn) =
            ACTION.parse(call::instance_and_device(parameters))?;
        Ok(Self { mqtt_instance_id, ca_sn, device_sn })
    }

    /// Applies the operation.
    ///
    /// When this has returned no connection that came in on the record reads or writes any more, but
    /// for the packet that the broker left as its
    /// [`farewell`](crate::ConnectionHandle::farewell), unless the instance
    /// [keeps connections](crate::InstanceSpec::keep_connections), and no handshake that was under way
    /// is admitted on it.
    ///
    /// # Errors
    ///
    /// `PermissionCheckFailed`, `MqttInstanceNotFound` and `MqttOwnerCheckError`, as [`Caller`]
    /// tells; `FindDeviceBySnError`, also where no such CA is registered. Nothing has changed
    /// then.
    pub fn apply(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<DeleteDeviceCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let trust = instance.trust();
            let deleted = trust
                .get(&self.ca_sn)
                .and_then(|ca| trust.delete_device(&ca, &self.device_sn, instance.now()));
            let answer = self.answer(request_id, deleted)?;
            tracing::info!(
                action = ACTION.name, %request_id, ?caller, instance = %instance.id(),
                ca_sn = %self.ca_sn, device_sn = %self.device_sn,
                connections_ended = answer.connections.ended,
                connections_kept = answer.connections.kept, "operation applied"
            );
            instance.announce(|instance| Event::DeviceStatusChanged {
                instance,
                ca_serial: self.ca_sn.clone(),
                serial: self.device_sn.clone(),
                status: None,
            });
            let (ca_serial, serial) = (self.ca_sn.clone(), self.device_sn.clone());
            let why = Ended::DeviceDeleted { ca_serial, serial };
            instance.announce_ended(why, answer.connections);
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
    ) -> Result<DeleteDeviceCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let trust = instance.trust();
            let foreseen = trust
                .get(&self.ca_sn)
                .and_then(|ca| trust.foresee_delete_device(&ca, &self.device_sn));
            self.answer(request_id, foreseen)
        })
    }

    fn answer(
        &self,
        request_id: RequestId,
        deletion: Option<DeviceDeletion>,
    ) -> Result<DeleteDeviceCertificateResponse, Cause> {
        let deletion =
            deletion.ok_or_else(|| Cause::no_such_device(&self.ca_sn, &self.device_sn))?;
        Ok(DeleteDeviceCertificateResponse {
            request_id,
            device_sn: self.device_sn.clone(),
            also_under: deletion.also_under,
            connections: deletion.live,
        })
    }
}

const ACTION: Action = Action {
    name: "DeleteDeviceCertificate",
    permission: "mq:DeleteDeviceCertificate",
    scope: Scope::Instance,
    page: OperationPage::ActiveCaCertificate,
};
