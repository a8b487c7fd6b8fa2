//! What every operation begins with.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::answers::OperationPage;
use super::caller::Caller;
use super::error::{Cause, OperationError};
use super::parameters::Parameters;
use super::request_id::RequestId;
use crate::certificate::SerialNumber;
use crate::id::InstanceId;
use crate::instance::{Instance, Instances};

/// An operation's name and the page that its answers follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action {
    pub(super) name: &'static str,
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
    pub(super) fn on_instance<T>(
        self,
        instances: &Instances,
        id: &InstanceId,
        _caller: &Caller,
        work: impl FnOnce(RequestId, Arc<Instance>) -> Result<T, Cause>,
    ) -> Result<T, OperationError> {
        let request_id = RequestId::random();
        let found = instances.get(id).ok_or_else(|| Cause::NoSuchInstance(id.clone()));
        found.and_then(|instance| work(request_id, instance)).map_err(|cause| {
            tracing::info!(action = self.name, %request_id, instance = %id, %cause, "operation refused");
            self.fail(request_id, cause)
        })
    }

    fn fail(self, request_id: RequestId, cause: Cause) -> OperationError {
        OperationError::new(self.name, self.page, request_id, cause)
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

/// The time by which an operation judges dates.
pub(super) fn now(instance: &Instance) -> Result<UnixTime, Cause> {
    instance.now().ok_or(Cause::NoTime)
}

pub(super) const INSTANCE_ID: &str = "MqttInstanceId";
const SN: &str = "Sn";
