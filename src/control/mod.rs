//! What an operator may do, named as a cloud MQTT service names it.
//!
//! Every operation is a value with `apply`; each stands in its own file. An operation either does
//! all that it says or, with an [`OperationError`], nothing. Operations block (files, keys): an
//! async caller wraps them in `spawn_blocking`. Only this layer knows the cloud's parameter names
//! and error codes.
//!
//! A [`Caller`] says on whose behalf an operation is applied. What it wants on an account's behalf
//! is asked of an [`Authoriser`] first, and reaches the account's own instances only.

mod access;
mod active_ca_certificate;
mod active_device_certificate;
mod answers;
mod ca_record;
mod call;
mod caller;
mod delete_ca_certificate;
mod delete_device_certificate;
mod device_record;
mod error;
mod get_ca_certificate;
mod get_device_certificate;
mod inactivate_ca_certificate;
mod inactivate_device_certificate;
mod list_ca_certificate;
mod list_device_certificate;
mod list_device_certificate_by_ca_sn;
mod load_revocation_list;
mod page_size;
mod parameters;
mod principal;
mod register_ca;
mod register_device_certificate;
mod request_id;
mod set_sni_config;
mod sni_config;
mod sni_difference;
mod sni_draft;
mod sni_faults;
mod sni_loading;
mod sni_plan;
mod sni_warnings;

pub use access::{AccessDenied, AccessDeniedDetail, AccessRequest, Authoriser, Resource};
pub use active_ca_certificate::{ActiveCaCertificate, ActiveCaCertificateResponse};
pub use active_device_certificate::{ActiveDeviceCertificate, ActiveDeviceCertificateResponse};
pub use answers::{ANSWERS, Answer, ErrorCode, OperationPage};
pub use ca_record::CaRecord;
pub use caller::Caller;
pub use delete_ca_certificate::{DeleteCaCertificate, DeleteCaCertificateResponse};
pub use delete_device_certificate::{DeleteDeviceCertificate, DeleteDeviceCertificateResponse};
pub use device_record::DeviceRecord;
pub use error::{Cause, OperationError};
pub use get_ca_certificate::{GetCaCertificate, GetCaCertificateResponse};
pub use get_device_certificate::{GetDeviceCertificate, GetDeviceCertificateResponse};
pub use inactivate_ca_certificate::{InactivateCaCertificate, InactivateCaCertificateResponse};
pub use inactivate_device_certificate::{
    InactivateDeviceCertificate, InactivateDeviceCertificateResponse,
};
pub use list_ca_certificate::{ListCaCertificate, ListCaCertificateResponse};
pub use list_device_certificate::{ListDeviceCertificate, ListDeviceCertificateResponse};
pub use list_device_certificate_by_ca_sn::{
    ListDeviceCertificateByCaSn, ListDeviceCertificateByCaSnResponse,
};
pub use load_revocation_list::{LoadRevocationList, LoadRevocationListResponse};
pub use page_size::{PageSize, PageSizeError};
pub use parameters::{ParameterError, Parameters};
pub use principal::PrincipalType;
pub use register_ca::{RegisterCa, RegisterCaResponse};
pub use register_device_certificate::{
    RegisterDeviceCertificate, RegisterDeviceCertificateResponse,
};
pub use request_id::RequestId;
pub use set_sni_config::{SetSniConfig, SetSniConfigResponse};
pub use sni_config::{EntrySyntaxError, SniConfig, SniConfigError, SyntaxFault};
pub use sni_difference::{NameChange, NameChangeKind, ShownChange, SniDifference};
pub use sni_faults::{EntryError, EntryFault, EntryWarning, Place, SniConfigRefused, Warning};
pub use sni_plan::SniConfigPlan;
