//! `RegisterDeviceCertificate`: records a device before its first handshake. The cloud knows no such
//! operation.

use super::access::Scope;
use super::answers::OperationPage;
use super::call::{self, Action};
use super::caller::Caller;
use super::error::{Cause, OperationError};
use super::request_id::RequestId;
use crate::certificate::{DeviceCertificate, SerialNumber};
use crate::id::InstanceId;
use crate::instance::{Event, Instances};
use crate::trust::{DeviceStatus, Ended, LiveChange};

/// Records a device before its first handshake. Where the instance takes
/// [registered devices only](crate::trust::Provisioning::RegisteredOnly) this is how one gets in.
#[derive(Clone, Debug)]
pub struct RegisterDeviceCertificate {
    /// The instance that the device is to connect to.
    pub mqtt_instance_id: InstanceId,
    /// The serial number of the registered CA that the certificate leads to.
    pub ca_sn: SerialNumber,
    /// The device's status; active unless there is a reason.
    pub status: DeviceStatus,
    /// Its certificate, with the intermediates between it and the CA.
    pub certificate: DeviceCertificate,
}

/// What [`RegisterDeviceCertificate`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegisterDeviceCertificateResponse {
    /// The request's id.
    pub request_id: RequestId,
    /// The serial number of the device's certificate.
    pub device_sn: SerialNumber,
    /// Whether it is let in: not where it, or the same certificate under another CA, is inactive.
    pub let_in: bool,
    /// The connections that it had on records under other CAs, where it is registered as inactive.
    pub connections: LiveChange,
}

impl RegisterDeviceCertificate {
    /// Applies the operation: the chain is verified up to the CA, whatever the CA's status and its
    /// revocation list. A certificate that is not valid yet may be registered, one that has expired may
    /// not.
    ///
    /// One that is registered as inactive is refused from then on, and its connections are ended, as with
    /// [`InactivateDeviceCertificate`](crate::InactivateDeviceCertificate).
    ///
    /// # Errors
    ///
    /// `PermissionCheckFailed`, `MqttInstanceNotFound` and `MqttOwnerCheckError`, as [`Caller`]
    /// tells; `FindCaBySnError`; `CertificateContentError` where the chain does not lead to the CA, has
    /// expired or is no device's; `SnNotUnique` where the serial number is on record under the CA, by this
    /// certificate or another one; `ParameterFieldCheckFailed` where as many as may be are on record and
    /// this one is to be active; `InternalError` where the clock does not answer. Nothing has changed
    /// then, no status either.
    pub fn apply(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<RegisterDeviceCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let trust = instance.trust();
            let ca = trust.get(&self.ca_sn).ok_or_else(|| Cause::NoSuchCa(self.ca_sn.clone()))?;
            let now = call::now(&instance)?;
            let (record, connections) =
                trust.register_device(&ca, self.certificate.chain(), self.status, now)?;
            tracing::info!(
                action = ACTION.name, %request_id, ?caller, instance = %instance.id(),
                ca_sn = %self.ca_sn, device_sn = %record.serial(), status = %self.status,
                connections_ended = connections.ended, connections_kept = connections.kept,
                "operation applied"
            );
            instance.announce(|instance| Event::DeviceStatusChanged {
                instance,
                ca_serial: self.ca_sn.clone(),
                serial: record.serial().clone(),
                status: Some(self.status),
            });
            let (ca_serial, serial) = (self.ca_sn.clone(), record.serial().clone());
            instance.announce_ended(Ended::DeviceInactive { ca_serial, serial }, connections);
            Ok(RegisterDeviceCertificateResponse {
                request_id,
                device_sn: record.serial().clone(),
                let_in: record.is_let_in(),
                connections,
            })
        })
    }
}

const ACTION: Action = Action {
    name: "RegisterDeviceCertificate",
    permission: "mq:RegisterDeviceCertificate",
    scope: Scope::Instance,
    page: OperationPage::ActiveCaCertificate,
};
