//! `ListDeviceCertificateByCaSn`.

use super::access::Scope;
use super::answers::OperationPage;
use super::call::{self, Action};
use super::caller::Caller;
use super::device_record::DeviceRecord;
use super::error::{Cause, OperationError};
use super::page_size::PageSize;
use super::parameters::Parameters;
use super::request_id::RequestId;
use crate::certificate::SerialNumber;
use crate::id::InstanceId;
use crate::instance::Instances;
use crate::trust::DeviceCursor;

/// Shows the devices on record under one CA, page by page, in the order in which they were
/// recorded.
#[derive(Clone, Debug)]
pub struct ListDeviceCertificateByCaSn {
    /// `MqttInstanceId`: the instance.
    pub mqtt_instance_id: InstanceId,
    /// `CaSn`: the serial number of the CA.
    pub ca_sn: SerialNumber,
    /// Where the last page ended; `None` for the first page.
    pub after: Option<DeviceCursor>,
    /// How many devices a page holds at most.
    pub page_size: PageSize,
}

/// What [`ListDeviceCertificateByCaSn`] answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListDeviceCertificateByCaSnResponse {
    /// `RequestId`: the request's id.
    pub request_id: RequestId,
    /// How many devices are on record in all under the CA.
    pub total: usize,
    /// The devices of this page.
    pub devices: Vec<DeviceRecord>,
    /// Where this page ended; `None` where nothing follows.
    pub next: Option<DeviceCursor>,
}

impl ListDeviceCertificateByCaSn {
    /// Reads the operation from its parameters, `PageSize` among them; the page is the first one.
    ///
    /// # Errors
    ///
    /// `ParameterFieldCheckFailed`, with what is wrong as its source.
    pub fn from_parameters(parameters: &Parameters) -> Result<Self, OperationError> {
        let parse = || {
            parameters.check_names(&[call::INSTANCE_ID, call::CA_SN, call::PAGE_SIZE])?;
            let mqtt_instance_id = parameters.required::<_, Cause>(call::INSTANCE_ID)?;
            let ca_sn = parameters.required::<_, Cause>(call::CA_SN)?;
            let page_size = parameters.optional::<_, Cause>(call::PAGE_SIZE)?.unwrap_or_default();
            Ok(Self { mqtt_instance_id, ca_sn, after: None, page_size })
        };
        ACTION.parse(parse())
    }

    /// Looks the page up, at a cost in proportion to the page. What is recorded meanwhile may be
    /// missed by whoever goes from page to page; what was there all the time is shown once. A CA that is
    /// not registered has none, which is no error.
    ///
    /// # Errors
    ///
    /// `PermissionCheckFailed`, `MqttInstanceNotFound` and `MqttOwnerCheckError`, as [`Caller`]
    /// tells.
    pub fn apply(
        &self,
        instances: &Instances,
        caller: &Caller,
    ) -> Result<ListDeviceCertificateByCaSnResponse, OperationError> {
        ACTION.on_instance(instances, &self.mqtt_instance_id, caller, |request_id, instance| {
            let trust = instance.trust();
            let page = trust.list_devices_of(&self.ca_sn, self.after, self.page_size.into());
            let (devices, next) = page.map_or((vec![], None), |page| (page.devices, page.next));
            Ok(ListDeviceCertificateByCaSnResponse {
                request_id,
                total: trust.get(&self.ca_sn).map_or(0, |ca| ca.devices()),
                devices: devices.iter().map(|it| DeviceRecord::of(it)).collect(),
                next,
            })
        })
    }
}

const ACTION: Action = Action {
    name: "ListDeviceCertificateByCaSn",
    permission: "mq:ListDeviceCertificateByCaSn",
    scope: Scope::Instance,
    page: OperationPage::ActiveCaCertificate,
};
