//! `DeleteCaCertificate`.

use super::answers::OperationPage;
use super::call::{self, Action};
use super::caller::Caller;
use super::error::{Cause, OperationError};
use super::parameters::Parameters;
use super::request_id::RequestId;
use crate::certificate::SerialNumber;
use crate::id::InstanceId;
use crate::instance::Instances;

/// Forgets a registered CA, whatever its status.
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

    /// Applies the operation. When this has returned, no handshake admits a device through the
    /// record, also none that is under way.
    ///
    /// # Errors
    ///
    /// `MqttInstanceNotFound` and `FindCaBySnError`. Nothing has changed then.
    pub fn apply(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<DeleteCaCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let deleted = instance.trust().delete(&self.sn);
            let deleted = deleted.ok_or_else(|| Cause::NoSuchCa(self.sn.clone()))?;
            tracing::info!(
                action = ACTION.name, %request_id, instance = %instance.id(), sn = %self.sn,
                name = ?deleted.name(), "operation applied"
            );
            Ok(DeleteCaCertificateResponse { request_id, sn: self.sn.clone() })
        })
    }
}

const ACTION: Action =
    Action { name: "DeleteCaCertificate", page: OperationPage::ActiveCaCertificate };
