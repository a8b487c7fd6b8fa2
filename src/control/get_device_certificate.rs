//! `GetDeviceCertificate`.

use super::access::Scope;
use super::answers::OperationPage;
use super::call::{self, Action};
use super::caller::Caller;
use super::device_record::DeviceRecord;
use super::error::{Cause, OperationError};
use super::parameters::Parameters;
use super::request_id::RequestId;
use crate::certificate::SerialNumber;
use crate::id::InstanceId;
use crate::instance::Instances;

/// Shows one device on record.
#[derive(Clone, Debug)]
pub struct GetDeviceCertificate {
    /// `MqttInstanceId`: the instance that the device connects to.
    pub mqtt_instance_id: InstanceId,
    /// `CaSn`: the serial number of the CA under which it is recorded.
    pub ca_sn: SerialNumber,
    /// `DeviceSn`: the serial number of its certificate.
    pub device_sn: SerialNumber,
}

/// What [`GetDeviceCertificate`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GetDeviceCertificateResponse {
    /// `RequestId`: the request's id.
    pub request_id: RequestId,
    /// `Data`: the device.
    pub device: DeviceRecord,
}

impl GetDeviceCertificate {
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

    /// Looks the device up.
    ///
    /// # Errors
    ///
    /// `PermissionCheckFailed`, `MqttInstanceNotFound` and `MqttOwnerCheckError`, as [`Caller`]
    /// tells; `FindDeviceBySnError`, also where no such CA is registered.
    pub fn apply(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<GetDeviceCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let record = instance.trust().device(&self.ca_sn, &self.device_sn);
            let record =
                record.ok_or_else(|| Cause::no_such_device(&self.ca_sn, &self.device_sn))?;
            Ok(GetDeviceCertificateResponse { request_id, device: DeviceRecord::of(&record) })
        })
    }
}

const ACTION: Action = Action {
    name: "GetDeviceCertificate",
    permission: "mq:GetDeviceCertificate",
    scope: Scope::Instance,
    page: OperationPage::ActiveCaCertificate,
};
