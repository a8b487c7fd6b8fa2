//! Lines as operations, and their outcomes as JSON in the cloud's words.

use std::error::Error;

use mqtls::control::{CaRecord, Parameters};
use mqtls::{
    ActiveCaCertificate, CaStatus, Caller, InactivateCaCertificate, Instances, ListCaCertificate,
    OperationError, SetSniConfig,
};
use serde_json::{Value, json};
use tokio::task::JoinError;
use uuid::Uuid;

use super::line::{Line, LineError};
use crate::pki::INSTANCE;

/// Applies what a line says. Blocks.
pub(super) fn apply(line: Line, instances: &Instances, me: &Caller) -> Value {
    let Line { operation, mut parameters } = line;
    if !parameters.iter().any(|(name, _)| name == INSTANCE_PARAMETER) {
        parameters.push((INSTANCE_PARAMETER.to_owned(), INSTANCE.to_owned()));
    }
    let parameters: Parameters = parameters.into_iter().collect();
    let outcome = match operation.as_str() {
        "SetSniConfig" => set_sni_config(&parameters, instances, me),
        "ActiveCaCertificate" => active_ca_certificate(&parameters, instances, me),
        "InactivateCaCertificate" => inactivate_ca_certificate(&parameters, instances, me),
        "ListCaCertificate" => list_ca_certificate(&parameters, instances, me),
        "help" => Ok(help()),
        _ => return unknown(),
    };
    outcome.unwrap_or_else(|error| answer_error(&error))
}

fn set_sni_config(from: &Parameters, to: &Instances, me: &Caller) -> Outcome {
    let done = SetSniConfig::from_parameters(from)?.apply(to, me)?;
    let mut answer = json!({ "RequestId": done.request_id.to_string(), "Success": "True" });
    if let (Some(fields), false) = (answer.as_object_mut(), done.warnings.is_empty()) {
        let warnings = done.warnings.iter().map(ToString::to_string).collect();
        fields.insert("Warnings".to_owned(), warnings);
    }
    Ok(answer)
}

fn active_ca_certificate(from: &Parameters, to: &Instances, me: &Caller) -> Outcome {
    let done = ActiveCaCertificate::from_parameters(from)?.apply(to, me)?;
    Ok(json!({ "RequestId": done.request_id.to_string(), "Sn": done.sn.to_string() }))
}

fn inactivate_ca_certificate(from: &Parameters, to: &Instances, me: &Caller) -> Outcome {
    let done = InactivateCaCertificate::from_parameters(from)?.apply(to, me)?;
    Ok(json!({ "RequestId": done.request_id.to_string(), "Sn": done.sn.to_string() }))
}

/// All pages in one answer: a console's user has no use for a cursor.
fn list_ca_certificate(from: &Parameters, to: &Instances, me: &Caller) -> Outcome {
    let mut request = ListCaCertificate::from_parameters(from)?;
    let mut records = Vec::new();
    loop {
        let page = request.apply(to, me)?;
        records.extend(page.authorities.iter().map(record));
        request.after = page.next;
        if request.after.is_none() {
            let data = json!({ "Total": records.len(), "CaCertificateVOS": records });
            return Ok(json!({ "RequestId": page.request_id.to_string(), "Data": data }));
        }
    }
}

/// A registered CA as the cloud lists it, without its certificate: that would fill the screen.
fn record(ca: &CaRecord) -> Value {
    let milliseconds = |time: rustls::pki_types::UnixTime| format!("{}000", time.as_secs());
    json!({
        "CaName": ca.name,
        "Sn": ca.sn.to_string(),
        "Status": match ca.status {
            CaStatus::Active => "1",
            CaStatus::Inactive => "0",
        },
        "ValidBegin": milliseconds(ca.certificate.validity().not_before),
        "ValidEnd": milliseconds(ca.certificate.validity().not_after),
    })
}

fn help() -> Value {
    json!({
        "Operations": OPERATIONS,
        "Words": "separated by blanks, values hold none; \
                  MqttInstanceId is mqtt-demo where it is not given",
        "SniConfig": "name#certificate id, several separated by `;`; \
                      a name is exact or a wildcard such as *.mqtt.example.test",
        "Certificates": "<dir>/certs/mqtt-demo/<certificate id>.pem",
    })
}

/// The answer to an operation that failed: the cloud's fields, and for the operator what the
/// cloud's fixed message does not say.
fn answer_error(error: &OperationError) -> Value {
    json!({
        "RequestId": error.request_id().to_string(),
        "Code": error.code().to_string(),
        "Message": error.message(),
        "HttpStatus": error.http_status(),
        "Reason": causes(error),
    })
}

/// The answer to an operation that the console does not have. What was typed is not repeated.
fn unknown() -> Value {
    let reason = format!("known are: {}", OPERATIONS.join("; "));
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

type Outcome = Result<Value, OperationError>;

const INSTANCE_PARAMETER: &str = "MqttInstanceId";

const OPERATIONS: [&str; 5] = [
    "SetSniConfig DefaultCertificate=<id> [SniConfig=<name>#<id>;...]",
    "ActiveCaCertificate Sn=<serial>",
    "InactivateCaCertificate Sn=<serial>",
    "ListCaCertificate",
    "help",
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mqtls::{InstanceSpec, Memory};

    use super::*;

    const BAD_PARAMETER: &str = "ParameterFieldCheckFailed";
    const NO_INSTANCE: &str = "MqttInstanceNotFound";

    fn answer(line: &str) -> Value {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let instances = Instances::new(provider, Memory::new());
        instances.create(InstanceSpec::new(INSTANCE.parse().unwrap())).unwrap();
        apply(Line::parse(line).unwrap().unwrap(), &instances, &Caller::local())
    }

    /// Its password has a blank, which the console takes for the end of the value.
    const SPLIT_PASSWORD: &str =
        "SetSniConfig DefaultCertificate=d SniConfig=a.b#c#hun ter2=secret";

    #[test]
    fn an_error_has_the_clouds_fields_and_a_reason() {
        for (line, code, status, reason) in [
            ("ActiveCaCertificate Sn=00ff", "FindCaBySnError", 500, "00ff"),
            ("ActiveCaCertificate", BAD_PARAMETER, 400, "Sn"),
            ("InactivateCaCertificate Sn=xyz", BAD_PARAMETER, 400, ""),
            ("ListCaCertificate Sn=1", BAD_PARAMETER, 400, "number 1"),
            (SPLIT_PASSWORD, BAD_PARAMETER, 400, "number 3"),
            ("ListCaCertificate MqttInstanceId=no", NO_INSTANCE, 500, "no"),
            ("SetSniConfig MqttInstanceId=no DefaultCertificate=d", NO_INSTANCE, 400, "no"),
            ("SetSniConfig DefaultCertificate=d SniConfig=a.b#c", BAD_PARAMETER, 400, "c"),
            ("DropTables", "ApiNotSupport", 404, "ListCaCertificate"),
        ] {
            let answer = answer(line);
            assert_eq!(answer["Code"], code, "{line}");
            assert_eq!(answer["HttpStatus"], status, "{line}");
            assert!(answer["Reason"].as_str().unwrap().contains(reason), "{line}: {answer}");
            assert_eq!(answer["RequestId"].as_str().unwrap().len(), 36, "{line}");
            assert!(!answer.to_string().contains('\n'), "{line}");
            assert!(!answer.to_string().contains("ter2"), "{line}: a piece of a password");
        }
    }

    #[test]
    fn the_list_begins_empty_and_help_names_every_operation() {
        let list = answer("ListCaCertificate");
        assert_eq!(list["Data"], json!({ "Total": 0, "CaCertificateVOS": [] }));
        assert_eq!(answer("help")["Operations"], json!(OPERATIONS));
    }
}
