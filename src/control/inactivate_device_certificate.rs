//! `InactivateDeviceCertificate`.

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
use crate::trust::{DeviceChange, DeviceStatus, Ended, LiveChange};

/// Makes a device on record inactive: its certificate is refused, whichever CA it comes through, also
/// in a handshake that is under way, and its connections are ended. Nobody else's.
#[derive(Clone, Debug)]
pub struct InactivateDeviceCertificate {
    /// `MqttInstanceId`: the instance that the device connects to.
    pub mqtt_instance_id: InstanceId,
    /// `CaSn`: the serial number of the CA under which it is recorded.
    pub ca_sn: SerialNumber,
    /// `DeviceSn`: the serial number of its certificate.
    pub device_sn: SerialNumber,
}

/// What [`InactivateDeviceCertificate`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InactivateDeviceCertificateResponse {
    /// `RequestId`: the request's id.
    pub request_id: RequestId,
    /// `DeviceSn`: the serial number of the device's certificate.
    pub device_sn: SerialNumber,
    /// Whether the record had another status before. Not on the wire.
    pub changed: bool,
    /// The other CAs under which the same certificate is on record: it is refused through them, too.
    /// Not on the wire.
    pub also_under: Vec<SerialNumber>,
    /// The device's connections, on any of these records: how many were ended, and how many were left up.
    /// Not on the wire.
    pub connections: LiveChange,
}

impl InactivateDeviceCertificate {
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

    /// Applies the operation. A device that is inactive already stays as it is, and that is a success.
    ///
    /// When this has returned the device is not let in, be its handshake under way, with or without a
    /// ticket; and none of its connections reads or writes any more, but for the packet that the
    /// broker left as its [`farewell`](crate::ConnectionHandle::farewell), unless the instance
    /// [keeps connections](crate::InstanceSpec::keep_connections).
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
    ) -> Result<InactivateDeviceCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let trust = instance.trust();
            let set = trust.get(&self.ca_sn).and_then(|ca| {
                trust.set_device_status(&ca, &self.device_sn, DeviceStatus::Inactive)
            });
            let answer = self.answer(request_id, set)?;
            tracing::info!(
                action = ACTION.name, %request_id, ?caller, instance = %instance.id(),
                ca_sn = %self.ca_sn, device_sn = %self.device_sn, changed = answer.changed,
                connections_ended = answer.connections.ended,
                connections_kept = answer.connections.kept, "operation applied"
            );
            if answer.changed {
                instance.announce(|instance| Event::DeviceStatusChanged {
                    instance,
                    ca_serial: self.ca_sn.clone(),
                    serial: self.device_sn.clone(),
                    status: Some(DeviceStatus::Inactive),
                });
            }
            let (ca_serial, serial) = (self.ca_sn.clone(), self.device_sn.clone());
            let why = Ended::DeviceInactive { ca_serial, serial };
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
    ) -> Result<InactivateDeviceCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let trust = instance.trust();
            let foreseen = trust
                .get(&self.ca_sn)
                .and_then(|ca| trust.foresee_inactive_device(&ca, &self.device_sn));
            self.answer(request_id, foreseen)
        })
    }

    fn answer(
        &self,
        request_id: RequestId,
        change: Option<DeviceChange>,
    ) -> Result<InactivateDeviceCertificateResponse, Cause> {
        let change = change.ok_or_else(|| Cause::no_such_device(&self.ca_sn, &self.device_sn))?;
        Ok(InactivateDeviceCertificateResponse {
            request_id,
            device_sn: self.device_sn.clone(),
            changed: change.changed,
            also_under: change.also_under,
            connections: change.live,
        })
    }
}

const ACTION: Action = Action {
    name: "InactivateDeviceCertificate",
    permission: "mq:UnregisterDeviceCertificate",
    scope: Scope::Instance,
    page: OperationPage::ActiveCaCertificate,
};
