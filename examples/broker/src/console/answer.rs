//! Answers to what cannot be done, in the cloud's words and fields.

use std::error::Error;

use mqtls::OperationError;
use serde_json::{Value, json};
use tokio::task::JoinError;
use uuid::Uuid;

use super::line::LineError;

/// The answer to an operation that failed: the cloud's fields, and for the operator what the
/// cloud's fixed message does not say.
pub(super) fn error(error: &OperationError) -> Value {
    json!({
        "RequestId": error.request_id().to_string(),
        "Code": error.code().to_string(),
        "Message": error.message(),
        "HttpStatus": error.http_status(),
        "Reason": causes(error),
    })
}

/// The answer to an operation that the console does not have. What was typed is not repeated.
pub(super) fn unknown(known: &[&str]) -> Value {
    let reason = format!("known are: {}", known.join("; "));
    own_error("ApiNotSupport", "The specified API is not supported.", 404, &reason)
}

/// The answer to a line that is no operation.
pub(super) fn refused(error: &LineError) -> Value {
    let message = "Failed to validate the parameters. The parameters may be missing or invalid.";
    own_error("ParameterFieldCheckFailed", message, 400, &error.to_string())
}

/// The answer where applying an operation broke down.
pub(super) fn failed(error: &JoinError) -> Value {
    let message = "An error occurred while processing your request. Try again later.";
    own_error("InternalError", message, 500, &error.to_string())
}

/// An error of the console itself, in the same words and fields as those of operations.
fn own_error(code: &str, message: &str, status: u16, reason: &str) -> Value {
    json!({
        "RequestId": format!("{:X}", Uuid::new_v4().hyphenated()),
        "Code": code,
        "Message": message,
        "HttpStatus": status,
        "Reason": reason,
    })
}

/// What lies behind an error, outermost first.
fn causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
