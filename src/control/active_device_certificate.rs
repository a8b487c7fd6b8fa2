//! `ActiveDeviceCertificate`.

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
use crate::trust::DeviceStatus;

/// Makes a device on record active: it comes in again where its CA does not keep it out.
#[derive(Clone, Debug)]
pub struct ActiveDeviceCertificate {
    /// `MqttInstanceId`: the instance that the device connects to.
    pub mqtt_instance_id: InstanceId,
    /// `CaSn`: the serial number of the CA under which it is recorded.
    pub ca_sn: SerialNumber,
    /// `DeviceSn`: the serial number of its certificate.
    pub device_sn: SerialNumber,
}

/// What [`ActiveDeviceCertificate`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ActiveDeviceCertificateResponse {
    /// `RequestId`: the request's id.
    pub request_id: RequestId,
    /// `DeviceSn`: the serial number of the device's certificate.
    pub device_sn: SerialNumber,
    /// Whether the record had another status before. Not on the wire.
    pub changed: bool,
    /// Whether the device is let in now, as far as records tell: not where its certificate is still
    /// inactive under one of the CAs in `also_under`. Not on the wire.
    pub let_in: bool,
    /// The other CAs under which the same certificate is on record. Not on the wire.
    pub also_under: Vec<SerialNumber>,
}

impl ActiveDeviceCertificate {
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

    /// Applies the operation. A device that is active already stays as it is, and that is a success.
    /// A handshake that starts after this has returned sees the new status; tickets from before the
    /// device was switched off are of no use.
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
    ) -> Result<ActiveDeviceCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let trust = instance.trust();
            let set = trust
                .get(&self.ca_sn)
                .and_then(|ca| trust.set_device_status(&ca, &self.device_sn, DeviceStatus::Active));
            let change = set.ok_or_else(|| Cause::no_such_device(&self.ca_sn, &self.device_sn))?;
            tracing::info!(
                action = ACTION.name, %request_id, ?caller, instance = %instance.id(),
                ca_sn = %self.ca_sn, device_sn = %self.device_sn,
                changed = change.changed, let_in = change.let_in,
                "operation applied"
            );
            if change.changed {
                instance.announce(|instance| Event::DeviceStatusChanged {
                    instance,
                    ca_serial: self.ca_sn.clone(),
                    serial: self.device_sn.clone(),
                    status: Some(DeviceStatus::Active),
                });
            }
            Ok(ActiveDeviceCertificateResponse {
                request_id,
                device_sn: self.device_sn.clone(),
                changed: change.changed,
                let_in: change.let_in,
                also_under: change.also_under,
            })
        })
    }
}

const ACTION: Action = Action {
    name: "ActiveDeviceCertificate",
    permission: "mq:ActiveDeviceCertificate",
    scope: Scope::Instance,
    page: OperationPage::ActiveCaCertificate,
};
