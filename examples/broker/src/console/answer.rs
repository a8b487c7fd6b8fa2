//! Answers in the cloud's words and fields.

use std::error::Error;

use mqtls::{LiveChange, OperationError, SerialNumber};
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};
use tokio::task::JoinError;
use uuid::Uuid;

use super::line::{LineError, Mode};

/// What an operation came to.
pub(super) type Outcome = Result<Value, OperationError>;

/// What a change ends and leaves up, or would, and which others stay. The answer to a dry run says
/// that it is one: in everything else it is the answer that the operation itself would give.
pub(super) fn with_effect(
    mut answer: Value,
    mode: Mode,
    connections: LiveChange,
    (others, serials): (&str, &[SerialNumber]),
) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        let LiveChange { ended, kept, .. } = connections;
        fields.insert("Connections".to_owned(), json!({ "Ended": ended, "Kept": kept }));
        fields.insert(others.to_owned(), serials.iter().map(ToString::to_string).collect());
        if mode == Mode::DryRun {
            fields.insert("DryRun".to_owned(), json!("True"));
        }
    }
    answer
}

/// A time as the cloud writes it.
pub(super) fn milliseconds(time: UnixTime) -> String {
    format!("{}000", time.as_secs())
}

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
pub(super) fn unknown(known: &[String]) -> Value {
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
