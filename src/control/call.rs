//! What every operation begins with.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::access::{AccessRequest, Resource, Scope};
use super::answers::OperationPage;
use super::caller::Caller;
use super::error::{Cause, OperationError};
use super::parameters::Parameters;
use super::request_id::RequestId;
use super::sni_config::SniConfig;
use crate::certificate::SerialNumber;
use crate::id::InstanceId;
use crate::instance::{Instance, Instances};

/// What an operation is called, which right it takes, and how it is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action {
    pub(super) name: &'static str,
    /// The right to it, as policies name it.
    pub(super) permission: &'static str,
    pub(super) scope: Scope,
    /// The page that its answers follow.
    pub(super) page: OperationPage,
}

impl Action {
    /// Answers a request whose parameters make no operation, or hands the operation out.
    pub(super) fn parse<T>(self, parsed: Result<T, Cause>) -> Result<T, OperationError> {
        parsed.map_err(|cause| {
            let request_id = RequestId::random();
            tracing::info!(action = self.name, %request_id, %cause, "operation refused");
            self.fail(request_id, cause)
        })
    }

    /// Does `work` on an instance under a new request id, on behalf of a caller.
    pub(super) fn on_instance<'a, T>(
        self,
        instances: &Instances,
        target: impl Into<Target<'a>>,
        caller: &Caller,
        work: impl FnOnce(RequestId, Arc<Instance>) -> Result<T, Cause>,
    ) -> Result<T, OperationError> {
        let request_id = RequestId::random();
        let target = target.into();
        let reached = self.reach(instances, target, caller);
        reached.and_then(|instance| work(request_id, instance)).map_err(|cause| {
            tracing::info!(
                action = self.name, %request_id, ?caller, instance = %target.id, %cause,
                "operation refused"
            );
            self.fail(request_id, cause)
        })
    }

    /// The instance, if the caller may do this to it, in the order that [`Caller`] tells: asked
    /// before the lookup, an authoriser's answer is the same whether there is such an instance or
    /// not.
    fn reach(
        self,
        instances: &Instances,
        target: Target<'_>,
        caller: &Caller,
    ) -> Result<Arc<Instance>, Cause> {
        let not_found = || Cause::NoSuchInstance(target.id.clone());
        let Some(account) = caller.as_account() else {
            return instances.get(target.id).ok_or_else(not_found);
        };
        let principal = &account.principal;
        let resource = match self.scope {
            Scope::Everything => Resource::Everything,
            Scope::Instance => Resource::Instance {
                region: &account.region,
                account: &principal.account,
                instance: target.id,
            },
        };
        let request = AccessRequest {
            principal,
            region: &account.region,
            action: self.permission,
            resource,
            instance: target.id,
            sni_config: target.sni_config,
        };
        account
            .authoriser
            .authorise(&request)
            .map_err(|denied| Cause::AccessDenied(denied.detail(self.name, principal).into()))?;
        let instance = instances.get(target.id).ok_or_else(not_found)?;
        if instance.region() != Some(&account.region) {
            return Err(not_found());
        }
        if instance.owner() != Some(&principal.account) {
            return Err(Cause::NotOwner(target.id.clone()));
        }
        Ok(instance)
    }

    fn fail(self, request_id: RequestId, cause: Cause) -> OperationError {
        OperationError::new(self.name, self.page, request_id, cause)
    }
}

/// To what an operation is to be done.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    id: &'a InstanceId,
    /// The configuration that it is to be given, where that is the operation.
    sni_config: Option<&'a SniConfig>,
}

impl<'a> From<&'a InstanceId> for Target<'a> {
    fn from(id: &'a InstanceId) -> Self {
        Self { id, sni_config: None }
    }
}

impl<'a> From<(&'a InstanceId, &'a SniConfig)> for Target<'a> {
    fn from((id, sni_config): (&'a InstanceId, &'a SniConfig)) -> Self {
        Self { id, sni_config: Some(sni_config) }
    }
}

/// The parameters of the operations on one CA.
pub(super) fn instance_and_sn(
    parameters: &Parameters,
) -> Result<(InstanceId, SerialNumber), Cause> {
    parameters.check_names(&[INSTANCE_ID, SN])?;
    let id = parameters.required::<_, Cause>(INSTANCE_ID)?;
    Ok((id, parameters.required::<_, Cause>(SN)?))
}

/// The parameters of the operations on one device.
pub(super) fn instance_and_device(
    parameters: &Parameters,
) -> Result<(InstanceId, SerialNumber, SerialNumber), Cause> {
    parameters.check_names(&[INSTANCE_ID, CA_SN, DEVICE_SN])?;
    let id = parameters.required::<_, Cause>(INSTANCE_ID)?;
    let ca_sn = parameters.required::<_, Cause>(CA_SN)?;
    Ok((id, ca_sn, parameters.required::<_, Cause>(DEVICE_SN)?))
}

/// The time by which an operation judges dates.
pub(super) fn now(instance: &Instance) -> Result<UnixTime, Cause> {
    instance.now().ok_or(Cause::NoTime)
}

pub(super) const INSTANCE_ID: &str = "MqttInstanceId";
const SN: &str = "Sn";
pub(super) const CA_SN: &str = "CaSn";
const DEVICE_SN: &str = "DeviceSn";
pub(super) const PAGE_SIZE: &str = "PageSize";
