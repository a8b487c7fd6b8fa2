//! Registering a CA.

use super::access::Scope;
use super::answers::OperationPage;
use super::call::{self, Action};
use super::caller::Caller;
use super::error::{Cause, OperationError};
use super::request_id::RequestId;
use crate::certificate::{CaCertificate, SerialNumber};
use crate::id::InstanceId;
use crate::instance::{Event, Instances};
use crate::trust::{CaStatus, Ended, LiveChange, Registration, RegistrationWarning};

/// Registers a CA with an instance, on the embedder's own word that it may speak for its devices.
///
/// No proof is asked for that whoever calls holds the CA's key: where that is not the embedder
/// itself, ask for one before this is applied.
///
/// Registering never changes the status of a CA that is registered already.
#[derive(Clone, Debug)]
pub struct RegisterCa {
    /// The instance.
    pub mqtt_instance_id: InstanceId,
    /// What to call it: at most 128 bytes, for people to read.
    pub name: String,
    /// The status that it starts with.
    pub status: CaStatus,
    /// Its certificate.
    pub certificate: CaCertificate,
}

/// What [`RegisterCa`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegisterCaResponse {
    /// The request's id.
    pub request_id: RequestId,
    /// The CA's serial number, under which it is found from now on.
    pub sn: SerialNumber,
    /// What to look at in the CA that is now registered. Not on the wire.
    pub warnings: Vec<RegistrationWarning>,
    /// Where it is registered as inactive: the connections that came in through its key while
    /// nothing was registered about it, by way of a CA above. Not on the wire.
    pub connections: LiveChange,
}

impl RegisterCa {
    /// Applies the operation. A handshake that starts after this has returned sees the CA.
    ///
    /// What a handshake would not accept is refused now, asked of the same crypto provider: a key of
    /// a kind that it does not verify, and where the CA signed its own certificate, a signature that
    /// is not good. Of a CA that another one signed nothing by its own key is at hand: that the key
    /// works is its issuer's word.
    ///
    /// # Errors
    ///
    /// `PermissionCheckFailed`, `MqttInstanceNotFound` and `MqttOwnerCheckError`, as [`Caller`]
    /// tells; `SnNotUnique` where the serial number is taken, by the same certificate or by
    /// another; `CertificateContentError` where the certificate has expired, the crypto provider
    /// cannot use its key, or its own signature is not good; `CaNumExceed` where too many
    /// certificates of one subject and key, or as many CAs as the instance may have, are registered;
    /// `ParameterFieldCheckFailed` for a name
    /// that is too long. Nothing has changed then.
    pub fn apply(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<RegisterCaResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            if self.name.len() > MAX_NAME {
                return Err(Cause::CaName(self.name.len()));
            }
            let now = call::now(&instance)?;
            let certificate = self.certificate.clone();
            let Registration { authority, warnings, live } =
                instance.trust().register(&self.name, certificate, self.status, now)?;
            let sn = authority.certificate().serial().clone();
            tracing::info!(
                action = ACTION.name, %request_id, ?caller, instance = %instance.id(), %sn,
                status = %self.status, warnings = warnings.len(),
                connections_ended = live.ended, connections_kept = live.kept, name = ?self.name,
                subject = ?self.certificate.subject(), "operation applied"
            );
            instance.announce(|instance| Event::CaStatusChanged {
                instance,
                ca_serial: sn.clone(),
                status: Some(self.status),
            });
            instance.announce_ended(Ended::CaInactive(sn.clone()), live);
            Ok(RegisterCaResponse { request_id, sn, warnings, connections: live })
        })
    }
}

const ACTION: Action = Action {
    name: "RegisterCaCertificate",
    permission: "mq:RegisterCa",
    scope: Scope::Instance,
    page: OperationPage::ActiveCaCertificate,
};
const MAX_NAME: usize = 128;
