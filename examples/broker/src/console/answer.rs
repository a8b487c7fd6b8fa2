//! Answers in the cloud's words and fields.

use std::error::Error;

use mqtls::control::{ErrorCode, OperationPage};
use mqtls::{CaStatus, DeviceStatus, LiveChange, OperationError, SerialNumber};
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::task::JoinError;
use uuid::Uuid;

use super::file::FileError;
use super::instance::NoSuchInstance;
use super::line::{LineError, Mode};
use super::typed::TypedError;

/// What an operation came to.
pub(super) type Outcome = Result<Value, Failure>;

/// Why an operation was not applied.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// The library's answer.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// What was typed is none of the operation's parameters. The console reads those of an operation
    /// that the cloud does not know.
    #[error(transparent)]
    Typed(#[from] TypedError),
    /// A file that was named is not what it should be.
    #[error(transparent)]
    File(#[from] FileError),
    /// The console looks for the instance itself where the cloud does not know the operation.
    #[error(transparent)]
    Instance(#[from] NoSuchInstance),
}

/// One answer, or an event, as one line of ASCII. A text inside may come from a certificate, and whoever made that
/// may have put into it what moves a cursor or turns a line around. What JSON would let stand is
/// escaped as JSON escapes the rest: whoever reads it as JSON reads the text as it is.
pub(crate) fn printed(answer: &Value) -> String {
    let text = answer.to_string();
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        // Whatever is neither stands inside of a string.
        if character == ' ' || character.is_ascii_graphic() {
            line.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    line
}

/// What a change ends and leaves up, or would. The answer to a dry run says that it is one: in
/// everything else it is the answer that the operation itself would give.
pub(super) fn with_effect(mut answer: Value, mode: Mode, connections: LiveChange) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("Connections".to_owned(), ended_or_kept(connections));
        if mode == Mode::DryRun {
            fields.insert("DryRun".to_owned(), json!("True"));
        }
    }
    answer
}

/// What becomes of live connections.
pub(super) fn ended_or_kept(LiveChange { ended, kept, .. }: LiveChange) -> Value {
    json!({ "Ended": ended, "Kept": kept })
}

/// Serial numbers, here of those that stay when one goes.
pub(super) fn serials(serials: &[SerialNumber]) -> Value {
    serials.iter().map(ToString::to_string).collect()
}

/// A yes or no as the cloud writes it.
pub(super) fn yes_or_no(yes: bool) -> &'static str {
    if yes { "True" } else { "False" }
}

/// A CA's status as the cloud writes it.
pub(crate) fn ca_status(status: CaStatus) -> &'static str {
    match status {
        CaStatus::Active => "1",
        CaStatus::Inactive => "0",
    }
}

/// A device's status as the cloud writes it.
pub(crate) fn device_status(status: DeviceStatus) -> &'static str {
    match status {
        DeviceStatus::Active => "1",
        DeviceStatus::Inactive => "0",
    }
}

/// A time as the cloud writes it.
pub(super) fn milliseconds(time: UnixTime) -> String {
    format!("{}000", time.as_secs())
}

/// The answer to an operation that was not applied.
pub(super) fn failure(failure: &Failure) -> Value {
    match failure {
        Failure::Operation(failed) => error(failed),
        Failure::Typed(typed) => bad_parameter(&with_causes(typed)),
        Failure::File(file) => bad_parameter(&with_causes(file)),
        Failure::Instance(instance) => no_such_instance(instance),
    }
}

/// The answer to an operation that failed: the cloud's fields, and for the operator what the
/// cloud's fixed message does not say.
fn error(error: &OperationError) -> Value {
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
    bad_parameter(&error.to_string())
}

fn bad_parameter(reason: &str) -> Value {
    let message = "Failed to validate the parameters. The parameters may be missing or invalid.";
    own_error("ParameterFieldCheckFailed", message, 400, reason)
}

/// As the library answers where the operation only reads.
fn no_such_instance(instance: &NoSuchInstance) -> Value {
    let code = ErrorCode::MqttInstanceNotFound;
    let status = OperationPage::ActiveCaCertificate.http_status(code);
    own_error(&code.to_string(), code.message(), status, &instance.to_string())
}

/// The answer where applying an operation broke down.
pub(super) fn failed(error: &JoinError) -> Value {
    let message = "An error occurred while processing your request. Try again later.";
    own_error("InternalError", message, 500, &error.to_string())
}

/// The id of a request that the console answers itself, as the library makes one.
pub(super) fn request_id() -> String {
    format!("{:X}", Uuid::new_v4().hyphenated())
}

/// An error of the console itself, in the same words and fields as those of operations.
fn own_error(code: &str, message: &str, status: u16, reason: &str) -> Value {
    json!({
        "RequestId": request_id(),
        "Code": code,
        "Message": message,
        "HttpStatus": status,
        "Reason": reason,
    })
}

fn with_causes(error: &dyn Error) -> String {
    match causes(error) {
        causes if causes.is_empty() => error.to_string(),
        causes => format!("{error}: {causes}"),
    }
}

/// What lies behind an error, outermost first.
fn causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_says_is_printed_escaped_and_read_as_it_is() {
        for (name, text) in [
            ("device-1", r#"{"DeviceName":"device-1"}"#),
            ("a \"b\" \\u0041", r#"{"DeviceName":"a \"b\" \\u0041"}"#),
            ("\u{1b}[2J\r\n", r#"{"DeviceName":"\u001b[2J\r\n"}"#),
            ("\u{7f}\u{9b}31m", r#"{"DeviceName":"\u007f\u009b31m"}"#),
            ("\u{202e}1-ecived", r#"{"DeviceName":"\u202e1-ecived"}"#),
            ("Gerät \u{1f512}", r#"{"DeviceName":"Ger\u00e4t \ud83d\udd12"}"#),
        ] {
            let answer = json!({ "DeviceName": name });
            assert_eq!(printed(&answer), text);
            assert_eq!(serde_json::from_str::<Value>(text).unwrap(), answer, "{text}");
        }
    }
}
