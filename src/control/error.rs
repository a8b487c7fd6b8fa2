//! How operations fail, and how the cloud's documents say that failures are answered.

use std::error::Error;
use std::fmt;

use super::list_ca_certificate::PageSizeError;
use super::parameters::ParameterError;
use super::request_id::RequestId;
use super::sni_config::SniConfigError;
use super::sni_plan::SniConfigRefused;
use crate::certificate::{SerialError, SerialNumber};
use crate::id::{IdError, InstanceId};
use crate::trust::RegisterError;

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
    /// The CA could not be registered.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The CA's name is longer than it may be.
    #[error("the name of the CA has {0} bytes, at most 128 are allowed")]
    CaName(usize),
    /// No such instance.
    #[error("there is no instance {0}")]
    NoSuchInstance(InstanceId),
    /// No such CA.
    #[error("no CA is registered under serial number {0}")]
    NoSuchCa(SerialNumber),
    /// The clock did not answer.
    #[error("the current time is not available")]
    NoTime,
}

impl Cause {
    /// The one place where reasons become codes.
    fn code(&self) -> ErrorCode {
        match self {
            Self::Parameter(_)
            | Self::Id(_)
            | Self::Serial(_)
            | Self::PageSize(_)
            | Self::SniSyntax(_)
            | Self::Sni(_)
            | Self::CaName(_) => ErrorCode::ParameterFieldCheckFailed,
            Self::Register(error) => match error {
                RegisterError::AlreadyRegistered { .. } | RegisterError::SerialInUse(_) => {
                    ErrorCode::SnNotUnique
                }
                RegisterError::TooManyTwins(_) => ErrorCode::CaNumExceed,
                RegisterError::Expired { .. }
                | RegisterError::UnsupportedKey(_)
                | RegisterError::RsaKeySize { .. } => ErrorCode::CertificateContentError,
            },
            Self::NoSuchInstance(_) => ErrorCode::MqttInstanceNotFound,
            Self::NoSuchCa(_) => ErrorCode::FindCaBySnError,
            Self::NoTime => ErrorCode::InternalError,
        }
    }
}

/// The documented error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// A parameter is missing or invalid.
    ParameterFieldCheckFailed,
    /// No such instance.
    MqttInstanceNotFound,
    /// The instance is another account's.
    MqttOwnerCheckError,
    /// The caller may not do this.
    PermissionCheckFailed,
    /// No such CA.
    FindCaBySnError,
    /// The serial number is taken.
    SnNotUnique,
    /// The CA's certificate cannot be registered.
    CertificateContentError,
    /// As many CAs as may be are registered.
    CaNumExceed,
    /// A fault on this side.
    InternalError,
}

impl ErrorCode {
    /// The documented message, to the letter.
    pub fn message(self) -> &'static str {
        match self {
            Self::ParameterFieldCheckFailed => {
                "Failed to validate the parameters. The parameters may be missing or invalid."
            }
            Self::MqttInstanceNotFound => "Specified instance is not found",
            Self::MqttOwnerCheckError => "Failed to validate the instance permission",
            Self::PermissionCheckFailed => "Failed to verify API permissions.",
            Self::FindCaBySnError => "Failed to find the CA by the SN. Please check sn is valid.",
            Self::SnNotUnique => "Sn is not unique in global",
            Self::CertificateContentError => {
                "Certificate content error,  please check ca/verification certificate content. \
                 BasicConstraints extension should be set to true in CA certificate"
            }
            Self::CaNumExceed => "CA certificate num exceed",
            Self::InternalError => {
                "An error occurred while processing your request. Try again later."
            }
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Which page of the documents an operation's answers follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationPage {
    /// The page of `SetSniConfig`.
    SetSniConfig,
    /// The page of `ActiveCaCertificate`, which the other operations on CAs share.
    ActiveCaCertificate,
}

impl OperationPage {
    /// The HTTP status of a code: the first one that its page lists.
    pub fn http_status(self, code: ErrorCode) -> u16 {
        let listed = ANSWERS.iter().find(|row| row.page == self && row.code == code);
        listed.map_or(INTERNAL_SERVER_ERROR, |row| row.http_status)
    }
}

/// One documented answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// On which page it stands.
    pub page: OperationPage,
    /// Its HTTP status.
    pub http_status: u16,
    /// Its code.
    pub code: ErrorCode,
}

/// Every answer, the documented ones first, in the order of the pages: the one table of codes and
/// statuses.
///
/// `ParameterFieldCheckFailed` stands twice on one page; the second row is never produced. On the
/// page of `SetSniConfig` it is ours: bad input must be answered somehow, and no code for it is
/// published there. The last rows are of codes that the two pages do not list: sibling operations
/// answer with them, and any operation when something fails on this side.
pub const ANSWERS: &[Answer] = &[
    row(OperationPage::SetSniConfig, 400, ErrorCode::MqttInstanceNotFound),
    row(OperationPage::SetSniConfig, 400, ErrorCode::MqttOwnerCheckError),
    row(OperationPage::SetSniConfig, 403, ErrorCode::PermissionCheckFailed),
    row(OperationPage::SetSniConfig, 400, ErrorCode::ParameterFieldCheckFailed),
    row(OperationPage::ActiveCaCertificate, 400, ErrorCode::ParameterFieldCheckFailed),
    row(OperationPage::ActiveCaCertificate, 500, ErrorCode::ParameterFieldCheckFailed),
    row(OperationPage::ActiveCaCertificate, 500, ErrorCode::FindCaBySnError),
    row(OperationPage::ActiveCaCertificate, 500, ErrorCode::MqttInstanceNotFound),
    row(OperationPage::ActiveCaCertificate, 403, ErrorCode::PermissionCheckFailed),
    row(OperationPage::ActiveCaCertificate, 403, ErrorCode::MqttOwnerCheckError),
    row(OperationPage::ActiveCaCertificate, 500, ErrorCode::SnNotUnique),
    row(OperationPage::ActiveCaCertificate, 500, ErrorCode::CertificateContentError),
    row(OperationPage::ActiveCaCertificate, 500, ErrorCode::CaNumExceed),
    row(OperationPage::SetSniConfig, 500, ErrorCode::InternalError),
    row(OperationPage::ActiveCaCertificate, 500, ErrorCode::InternalError),
];

const fn row(page: OperationPage, http_status: u16, code: ErrorCode) -> Answer {
    Answer { page, http_status, code }
}

/// For a code that an operation cannot produce.
const INTERNAL_SERVER_ERROR: u16 = 500;
