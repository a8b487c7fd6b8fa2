//! How the cloud's documents say that failures are answered.

use std::fmt;

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
    /// No such device.
    FindDeviceBySnError,
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
            Self::FindDeviceBySnError => {
                "Failed to find the device certificate by the SN. Please check sn is valid"
            }
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
    /// The page of `ActiveCaCertificate`, which the other operations on CAs and devices share.
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
    row(OperationPage::ActiveCaCertificate, 500, ErrorCode::FindDeviceBySnError),
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
