//! Lines as operations, and their outcomes as JSON in the cloud's words.

use mqtls::control::{CaRecord, Parameters};
use mqtls::{
    ActiveCaCertificate, CaStatus, Caller, DeleteCaCertificate, InactivateCaCertificate, Instances,
    ListCaCertificate, LiveChange, OperationError, SerialNumber, SetSniConfig,
};
use serde_json::{Value, json};

use super::answer;
use super::line::{Line, LineError, Mode};
use crate::pki::{FIRST_INSTANCE, SECOND_INSTANCE};

/// Applies what a line says. Blocks.
pub(super) fn apply(line: Line, instances: &Instances, me: &Caller) -> Value {
    let Line { mode, operation, mut parameters } = line;
    if !parameters.iter().any(|(name, _)| name == INSTANCE_PARAMETER) {
        parameters.push((INSTANCE_PARAMETER.to_owned(), FIRST_INSTANCE.to_owned()));
    }
    let parameters: Parameters = parameters.into_iter().collect();
    // An operation without a dry run never gets as far as its own arm when one is asked for.
    let outcome = match (operation.as_str(), mode) {
        ("InactivateCaCertificate", mode) => inactivate(&parameters, mode, instances, me),
        ("DeleteCaCertificate", mode) => delete(&parameters, mode, instances, me),
        (_, Mode::DryRun) => return answer::refused(&LineError::NoDryRun),
        ("SetSniConfig", Mode::Apply) => set_sni_config(&parameters, instances, me),
        ("ActiveCaCertificate", Mode::Apply) => active_ca_certificate(&parameters, instances, me),
        ("ListCaCertificate", Mode::Apply) => list_ca_certificate(&parameters, instances, me),
        ("help", Mode::Apply) => Ok(help()),
        (_, Mode::Apply) => return answer::unknown(&OPERATIONS),
    };
    outcome.unwrap_or_else(|error| answer::error(&error))
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

fn inactivate(from: &Parameters, mode: Mode, to: &Instances, me: &Caller) -> Outcome {
    let request = InactivateCaCertificate::from_parameters(from)?;
    let done = match mode {
        Mode::Apply => request.apply(to, me)?,
        Mode::DryRun => request.dry_run(to, me)?,
    };
    let answer = json!({ "RequestId": done.request_id.to_string(), "Sn": done.sn.to_string() });
    Ok(with_effect(answer, mode, done.connections, &done.active_twins))
}

fn delete(from: &Parameters, mode: Mode, to: &Instances, me: &Caller) -> Outcome {
    let request = DeleteCaCertificate::from_parameters(from)?;
    let done = match mode {
        Mode::Apply => request.apply(to, me)?,
        Mode::DryRun => request.dry_run(to, me)?,
    };
    let answer = json!({ "RequestId": done.request_id.to_string(), "Sn": done.sn.to_string() });
    Ok(with_effect(answer, mode, done.connections, &done.active_twins))
}

/// What a change ends and leaves up, or would. The answer to a dry run says that it is one: in
/// everything else it is the answer that the operation itself would give.
fn with_effect(
    mut answer: Value,
    mode: Mode,
    connections: LiveChange,
    active_twins: &[SerialNumber],
) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        let LiveChange { ended, kept, .. } = connections;
        let connections = json!({ "Ended": ended, "Kept": kept });
        fields.insert("Connections".to_owned(), connections);
        let active_twins = active_twins.iter().map(ToString::to_string).collect();
        fields.insert("ActiveTwins".to_owned(), active_twins);
        if mode == Mode::DryRun {
            fields.insert("DryRun".to_owned(), json!("True"));
        }
    }
    answer
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
        "dry-run": "before InactivateCaCertificate or DeleteCaCertificate: \
                    the answer that it would give, and nothing changes",
        "Connections": "how many live ones the CA had let in: Ended, or Kept where the instance \
                        keeps them; ActiveTwins: active CAs of the same name and key, through \
                        which its devices can still come in",
        "Words": "separated by blanks, values hold none",
        "Instances": [FIRST_INSTANCE, SECOND_INSTANCE],
        "MqttInstanceId": "MqttInstanceId=<instance> with any operation says whose certificates or \
                           CAs are meant; without it those of mqtt-demo are",
        "SniConfig": "name#certificate id, several separated by `;`; \
                      a name is exact or a wildcard such as *.mqtt.example.test",
        "Certificates": "<dir>/certs/<instance>/<certificate id>.pem",
    })
}

type Outcome = Result<Value, OperationError>;

const INSTANCE_PARAMETER: &str = "MqttInstanceId";

const OPERATIONS: [&str; 6] = [
    "SetSniConfig DefaultCertificate=<id> [SniConfig=<name>#<id>;...] [MqttInstanceId=<instance>]",
    "ActiveCaCertificate Sn=<serial> [MqttInstanceId=<instance>]",
    "[dry-run] InactivateCaCertificate Sn=<serial> [MqttInstanceId=<instance>]",
    "[dry-run] DeleteCaCertificate Sn=<serial> [MqttInstanceId=<instance>]",
    "ListCaCertificate [MqttInstanceId=<instance>]",
    "help",
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mqtls::{InstanceSpec, Memory};

    use super::*;
    use crate::door::Door;
    use crate::pki::Pki;

    const BAD_PARAMETER: &str = "ParameterFieldCheckFailed";
    const NO_INSTANCE: &str = "MqttInstanceNotFound";

    fn answer(line: &str) -> Value {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let instances = Instances::new(provider, Memory::new());
        instances.create(InstanceSpec::new(FIRST_INSTANCE.parse().unwrap())).unwrap();
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
            ("dry-run InactivateCaCertificate Sn=00ff", "FindCaBySnError", 500, "00ff"),
            ("dry-run DeleteCaCertificate Sn=00ff", "FindCaBySnError", 500, "00ff"),
            ("DeleteCaCertificate Sn=00ff DryRun=True", BAD_PARAMETER, 400, "number 2"),
            ("dry-run ActiveCaCertificate Sn=00ff", BAD_PARAMETER, 400, "`dry-run` stands"),
            ("dry-run help", BAD_PARAMETER, 400, "`dry-run` stands"),
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
    fn a_dry_run_answers_like_the_operation_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open_or_make(&dir.path().join("demo")).unwrap();
        let door = Door::open(&pki).unwrap();
        let (sn, me) = (door.device_ca.to_string(), Caller::local());
        let answer = |line: &str| {
            let mut answer = apply(Line::parse(line).unwrap().unwrap(), &door.instances, &me);
            answer.as_object_mut().unwrap().remove("RequestId").unwrap();
            answer
        };
        let list = answer("ListCaCertificate");
        for operation in ["InactivateCaCertificate", "DeleteCaCertificate"] {
            let before = answer("ListCaCertificate");
            let mut foreseen = answer(&format!("dry-run {operation} Sn={sn}"));
            assert_eq!(foreseen.as_object_mut().unwrap().remove("DryRun"), Some(json!("True")));
            assert_eq!(answer("ListCaCertificate"), before, "{operation}");
            let done = answer(&format!("{operation} Sn={sn}"));
            assert_eq!(foreseen, done, "{operation}");
            let nobody = json!({ "Ended": 0, "Kept": 0 });
            assert_eq!(done, json!({ "Sn": sn, "Connections": nobody, "ActiveTwins": [] }));
            assert_ne!(answer("ListCaCertificate"), before, "{operation}");
        }
        assert_eq!(list["Data"]["Total"], 2);
        assert_eq!(answer("ListCaCertificate")["Data"]["Total"], 1);
    }

    #[test]
    fn an_operation_is_for_the_instance_that_it_names_and_for_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open_or_make(&dir.path().join("demo")).unwrap();
        let door = Door::open(&pki).unwrap();
        let me = Caller::local();
        let answer = |line: &str| apply(Line::parse(line).unwrap().unwrap(), &door.instances, &me);
        let states = |instance: &str| {
            let list = answer(&format!("ListCaCertificate MqttInstanceId={instance}"));
            let records = list["Data"]["CaCertificateVOS"].as_array().unwrap().clone();
            let state =
                |it: &Value| [&it["Sn"], &it["Status"]].map(|it| it.as_str().unwrap().to_owned());
            records.iter().map(state).collect::<Vec<_>>()
        };
        let (first, second) = (states(FIRST_INSTANCE), states(SECOND_INSTANCE));
        let sn = door.second_ca.to_string();
        assert_eq!(second, [[sn.clone(), "1".to_owned()]]);
        assert_eq!(answer("ListCaCertificate")["Data"]["Total"], first.len());

        // Nobody's CA is reached through another instance.
        for operation in ["InactivateCaCertificate", "DeleteCaCertificate", "ActiveCaCertificate"] {
            assert_eq!(answer(&format!("{operation} Sn={sn}"))["Code"], "FindCaBySnError");
        }
        assert_eq!(states(SECOND_INSTANCE), second);
        let done = answer(&format!("InactivateCaCertificate Sn={sn} MqttInstanceId=mqtt-second"));
        assert_eq!(done["Sn"], sn, "{done}");
        assert_eq!(states(SECOND_INSTANCE), [[sn, "0".to_owned()]]);
        assert_eq!(states(FIRST_INSTANCE), first);
    }

    #[test]
    fn the_list_begins_empty_and_help_names_every_operation() {
        let list = answer("ListCaCertificate");
        assert_eq!(list["Data"], json!({ "Total": 0, "CaCertificateVOS": [] }));
        assert_eq!(answer("help")["Operations"], json!(OPERATIONS));
        assert_eq!(answer("help")["Instances"], json!(["mqtt-demo", "mqtt-second"]));
    }
}
