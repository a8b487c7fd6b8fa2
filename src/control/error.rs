//! How operations fail.

use std::error::Error;
use std::fmt;

use super::access::AccessDeniedDetail;
use super::answers::{ErrorCode, OperationPage};
use super::page_size::PageSizeError;
use super::parameters::ParameterError;
use super::request_id::RequestId;
use super::sni_config::SniConfigError;
use super::sni_faults::SniConfigRefused;
use crate::certificate::{SerialError, SerialNumber};
use crate::id::{IdError, InstanceId};
use crate::trust::{RegisterDeviceError, RegisterError, RevocationError};

/// Why an operation did nothing.
///
/// Code, message and HTTP status are what the wire shows; [`source`](Error::source) is the typed
/// reason, for the embedder. Neither holds a password or a key.
#[derive(Debug)]
pub struct OperationError {
    action: &'static str,
    page: OperationPage,
    request_id: RequestId,
    code: ErrorCode,
    cause: Cause,
}

impl OperationError {
    pub(super) fn new(
        action: &'static str,
        page: OperationPage,
        request_id: RequestId,
        cause: Cause,
    ) -> Self {
        Self { action, page, request_id, code: cause.code(), cause }
    }

    /// The operation that failed, as in `ActiveCaCertificate`.
    pub fn action(&self) -> &'static str {
        self.action
    }

    /// The request's id.
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// The documented error code, as in `FindCaBySnError`.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The documented message that goes with the code.
    pub fn message(&self) -> &'static str {
        self.code.message()
    }

    /// The documented HTTP status of the code for this operation.
    pub fn http_status(&self) -> u16 {
        self.page.http_status(self.code)
    }

    /// Who was denied what, where the code is `PermissionCheckFailed`.
    pub fn access_denied_detail(&self) -> Option<&AccessDeniedDetail> {
        if let Cause::AccessDenied(detail) = &self.cause { Some(detail) } else { None }
    }

    /// The typed reason.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }
}

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed with {} (request {})", self.action, self.code, self.request_id)
    }
}

impl Error for OperationError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

/// The typed reason behind an [`OperationError`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// A parameter is missing, unknown or given twice.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// A parameter is not an identifier.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A parameter is not a serial number.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// A parameter is not a size of a page.
    #[error(transparent)]
    PageSize(#[from] PageSizeError),
    /// The `SniConfig` text does not follow its grammar.
    #[error(transparent)]
    SniSyntax(#[from] SniConfigError),
    /// Entries of the `SniConfig` cannot be served.
    #[error(transparent)]
    Sni(#[from] SniConfigRefused),
    /// The `SniConfig` has more names than the instance may have.
    #[error("the SniConfig has {names} names, the instance may have {limit}")]
    TooManyNames {
        /// How many names and wildcards it has.
        names: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Another certificate map is in force than the one for which the change was meant.
    #[error("certificate map {found} is in force, not {expected}")]
    OtherGeneration {
        /// The generation for which it was meant; 0 stands for no map.
        expected: u64,
        /// The generation in force.
        found: u64,
    },
    /// The CA could not be registered.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The CA's name is longer than it may be.
    #[error("the name of the CA has {0} bytes, at most 128 are allowed")]
    CaName(usize),
    /// Whoever decides what the caller may do did not grant this.
    #[error("the caller may not do this: {} by {:?}", .0.no_permission_type, .0.policy_type)]
    AccessDenied(Box<AccessDeniedDetail>),
    /// The instance is not the caller's.
    #[error("instance {0} does not belong to the caller's account")]
    NotOwner(InstanceId),
    /// No such instance, or none where the caller is.
    #[error("there is no instance {0}")]
    NoSuchInstance(InstanceId),
    /// No such CA.
    #[error("no CA is registered under serial number {0}")]
    NoSuchCa(SerialNumber),
    /// No such device under the CA, or no such CA.
    #[error("no device with serial number {device_sn} is on record under CA {ca_sn}")]
    NoSuchDevice {
        /// The CA's serial number.
        ca_sn: SerialNumber,
        /// The device's.
        device_sn: SerialNumber,
    },
    /// The device could not be registered.
    #[error(transparent)]
    RegisterDevice(#[from] RegisterDeviceError),
    /// The revocation list could not be put in force.
    #[error(transparent)]
    Revocation(#[from] RevocationError),
    /// The clock did not answer.
    #[error("the current time is not available")]
    NoTime,
}

impl Cause {
    /// What each operation on one device answers where it is not on record.
    pub(super) fn no_such_device(ca_sn: &SerialNumber, device_sn: &SerialNumber) -> Self {
        Self::NoSuchDevice { ca_sn: ca_sn.clone(), device_sn: device_sn.clone() }
    }

    /// The one place where reasons become codes.
    fn code(&self) -> ErrorCode {
        match self {
            Self::Parameter(_)
            | Self::Id(_)
            | Self::Serial(_)
            | Self::PageSize(_)
            | Self::SniSyntax(_)
            | Self::Sni(_)
            | Self::TooManyNames { .. }
            // No documented code is for conflicts. The page of `SetSniConfig` has none that is nearer,
            // and the wire no parameter that could lead to one.
            | Self::OtherGeneration { .. }
            | Self::CaName(_)
            | Self::Revocation(_) => ErrorCode::ParameterFieldCheckFailed,
            Self::Register(error) => match error {
                RegisterError::AlreadyRegistered { .. } | RegisterError::SerialInUse(_) => {
                    ErrorCode::SnNotUnique
                }
                RegisterError::TooManyTwins(_) | RegisterError::TooManyCas(_) => {
                    ErrorCode::CaNumExceed
                }
                RegisterError::Expired { .. }
                | RegisterError::UnsupportedKey(_)
                | RegisterError::RsaKeySize { .. }
                | RegisterError::BadSelfSignature(_) => ErrorCode::CertificateContentError,
            },
            Self::AccessDenied(_) => ErrorCode::PermissionCheckFailed,
            Self::NotOwner(_) => ErrorCode::MqttOwnerCheckError,
            Self::NoSuchInstance(_) => ErrorCode::MqttInstanceNotFound,
            Self::NoSuchCa(_) => ErrorCode::FindCaBySnError,
            Self::NoSuchDevice { .. } => ErrorCode::FindDeviceBySnError,
            Self::RegisterDevice(error) => match error {
                RegisterDeviceError::NotBelow(_) => ErrorCode::CertificateContentError,
                RegisterDeviceError::AlreadyRecorded { .. }
                | RegisterDeviceError::SerialInUse(_) => ErrorCode::SnNotUnique,
                RegisterDeviceError::CaDeleted(_) => ErrorCode::FindCaBySnError,
                RegisterDeviceError::TooManyDevices(_) => ErrorCode::ParameterFieldCheckFailed,
            },
            Self::NoTime => ErrorCode::InternalError,
        }
    }
}
