//! `ListCaCertificate`.

use super::access::Scope;
use super::answers::OperationPage;
use super::ca_record::CaRecord;
use super::call::{self, Action};
use super::caller::Caller;
use super::error::{Cause, OperationError};
use super::page_size::PageSize;
use super::parameters::Parameters;
use super::request_id::RequestId;
use crate::id::InstanceId;
use crate::instance::Instances;
use crate::trust::CaCursor;

/// Shows the registered CAs, page by page, in the order of their registration.
#[derive(Clone, Debug)]
pub struct ListCaCertificate {
    /// `MqttInstanceId`: the instance.
    pub mqtt_instance_id: InstanceId,
    /// Where the last page ended; `None` for the first page.
    pub after: Option<CaCursor>,
    /// How many CAs a page holds at most.
    pub page_size: PageSize,
}

/// What [`ListCaCertificate`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListCaCertificateResponse {
    /// `RequestId`: the request's id.
    pub request_id: RequestId,
    /// How many CAs are registered in all.
    pub total: usize,
    /// The CAs of this page.
    pub authorities: Vec<CaRecord>,
    /// Where this page ended; `None` where nothing follows.
    pub next: Option<CaCursor>,
}

impl ListCaCertificate {
    /// Reads the operation from its parameters, `PageSize` among them; the page is the first one.
    ///
    /// # Errors
    ///
    /// `ParameterFieldCheckFailed`, with what is wrong as its source.
    pub fn from_parameters(parameters: &Parameters) -> Result<Self, OperationError> {
        let parse = || {
            parameters.check_names(&[call::INSTANCE_ID, call::PAGE_SIZE])?;
            let mqtt_instance_id = parameters.required::<_, Cause>(call::INSTANCE_ID)?;
            let page_size = parameters.optional::<_, Cause>(call::PAGE_SIZE)?.unwrap_or_default();
            Ok(Self { mqtt_instance_id, after: None, page_size })
        };
        ACTION.parse(parse())
    }

    /// Looks the page up, at a cost in proportion to the page.
    ///
    /// # Errors
    ///
    /// `PermissionCheckFailed`, `MqttInstanceNotFound` and `MqttOwnerCheckError`, as [`Caller`]
    /// tells.
    pub fn apply(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<ListCaCertificateResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let page = instance.trust().list(self.after, self.page_size.into());
            Ok(ListCaCertificateResponse {
                request_id,
                total: instance.trust().len(),
                authorities: page.authorities.iter().map(|ca| CaRecord::of(ca)).collect(),
                next: page.next,
            })
        })
    }
}

const ACTION: Action = Action {
    name: "ListCaCertificate",
    permission: "mq:ListCaCertificate",
    scope: Scope::Instance,
    page: OperationPage::ActiveCaCertificate,
};
