//! `GetCaCertificate`.

use super::access::Scope;
use super::answers::OperationPage;
use super::ca_record::CaRecord;
use super::call::Action;
use super::caller::Caller;
use super::error::{Cause, OperationError};
use super::request_id::RequestId;
use crate::certificate::SerialNumber;
use crate::id::InstanceId;
use crate::instance::Instances;

/// Shows one registered CA.
#[derive(Clone, Debug)]
pub struct GetCaCertificate {
    /// `MqttInstanceId`: the instance with which the CA is registered.
    pub mqtt_instance_id: InstanceId,
    /// `Sn`: the CA's serial number.
    pub sn: SerialNumber,
}

/// What [`GetCaCertificate`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GetCaCertificateResponse {
    /// `RequestId`: the request's id.
    pub request_id: RequestId,
    /// `Data`: the CA.
    pub data: CaRecord,
}

impl GetCaCertificate {
    /// Looks the CA up.
    ///
    /// # Errors
    ///
    /// `PermissionCheckFailed`, `MqttInstanceNotFound` and `MqttOwnerCheckError`, as [`Caller`]
    /// tells; `FindCaBySnError`.
    pub fn apply(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<GetCaCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let authority = instance.trust().get(&self.sn);
            let authority = authority.ok_or_else(|| Cause::NoSuchCa(self.sn.clone()))?;
            Ok(GetCaCertificateResponse { request_id, data: CaRecord::of(&authority) })
        })
    }
}

const ACTION: Action = Action {
    name: "GetCaCertificate",
    permission: "mq:GetCaCertificate",
    scope: Scope::Instance,
    page: OperationPage::ActiveCaCertificate,
};
