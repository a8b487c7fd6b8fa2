//! `ActiveCaCertificate`.

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
use crate::trust::CaStatus;

/// Makes a registered CA active: devices with certificates that it issued are believed again.
#[derive(Clone, Debug)]
pub struct ActiveCaCertificate {
    /// `MqttInstanceId`: the instance with which the CA is registered.
    pub mqtt_instance_id: InstanceId,
    /// `Sn`: the CA's serial number.
    pub sn: SerialNumber,
}

/// What [`ActiveCaCertificate`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ActiveCaCertificateResponse {
    /// `RequestId`: the request's id.
    pub request_id: RequestId,
    /// `Sn`: the CA's serial number.
    pub sn: SerialNumber,
    /// Whether the CA had another status before. Not on the wire.
    pub changed: bool,
}

impl ActiveCaCertificate {
    /// Reads the operation from its parameters.
    ///
    /// # Errors
    ///
    /// `ParameterFieldCheckFailed`, with what is wrong as its source.
    pub fn from_parameters(parameters: &Parameters) -> Result<Self, OperationError> {
        let (mqtt_instance_id, sn) = ACTION.parse(call::instance_and_sn(parameters))?;
        Ok(Self { mqtt_instance_id, sn })
    }

    /// Applies the operation. A CA that is active already stays as it is, and that is a success.
    /// A handshake that starts after this has returned sees the new status.
    ///
    /// # Errors
    ///
    /// `PermissionCheckFailed`, `MqttInstanceNotFound` and `MqttOwnerCheckError`, as [`Caller`]
    /// tells; `FindCaBySnError`. Nothing has changed then.
    pub fn apply(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<ActiveCaCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let set = instance.trust().set_status(&self.sn, CaStatus::Active, instance.now());
            let changed = set.ok_or_else(|| Cause::NoSuchCa(self.sn.clone()))?.changed;
            tracing::info!(
                action = ACTION.name, %request_id, ?caller, instance = %instance.id(),
                sn = %self.sn, changed,
                "operation applied"
            );
            if changed {
                instance.announce(|instance| Event::CaStatusChanged {
                    instance,
                    ca_serial: self.sn.clone(),
                    status: Some(CaStatus::Active),
                });
            }
            Ok(ActiveCaCertificateResponse { request_id, sn: self.sn.clone(), changed })
        })
    }
}

const ACTION: Action = Action {
    name: "ActiveCaCertificate",
    permission: "mq:ActiveCaCertificate",
    scope: Scope::Instance,
    page: OperationPage::ActiveCaCertificate,
};
