//! The operations that a line may name: one row each, and `help`.

use mqtls::control::Parameters;
use mqtls::{Caller, Instances};
use serde_json::{Value, json};

use super::answer::{self, Outcome};
use super::line::{Line, LineError, Mode};
use super::{authority, server_names};
use crate::pki::{FIRST_INSTANCE, SECOND_INSTANCE};

/// Applies what a line says. Blocks.
pub(super) fn apply(line: Line, instances: &Instances, me: &Caller) -> Value {
    let Line { mode, operation, mut parameters } = line;
    let known = OPERATIONS.iter().find(|it| it.name == operation);
    if mode == Mode::DryRun && !known.is_some_and(|it| it.has_dry_run) {
        return answer::refused(&LineError::NoDryRun);
    }
    if operation == HELP {
        return help();
    }
    let Some(known) = known else {
        return answer::unknown(&usages());
    };
    if !parameters.iter().any(|(name, _)| name == INSTANCE_PARAMETER) {
        parameters.push((INSTANCE_PARAMETER.to_owned(), FIRST_INSTANCE.to_owned()));
    }
    let parameters = parameters.into_iter().collect();
    (known.apply)(&parameters, mode, instances, me).unwrap_or_else(|error| answer::error(&error))
}

/// One operation of the console.
struct Operation {
    name: &'static str,
    /// Its parameters as `help` shows them, but for the instance.
    parameters: &'static str,
    /// Without one, `apply` is asked for nothing but to apply it.
    has_dry_run: bool,
    apply: fn(&Parameters, Mode, &Instances, &Caller) -> Outcome,
}

impl Operation {
    fn usage(&self) -> String {
        let mode = if self.has_dry_run { "[dry-run] " } else { "" };
        let blank = if self.parameters.is_empty() { "" } else { " " };
        let Self { name, parameters, .. } = self;
        format!("{mode}{name}{blank}{parameters} [{INSTANCE_PARAMETER}=<instance>]")
    }
}

fn usages() -> Vec<String> {
    OPERATIONS.iter().map(Operation::usage).chain([HELP.to_owned()]).collect()
}

fn help() -> Value {
    json!({
        "Operations": usages(),
        "dry-run": "before an operation that is shown with it: \
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

const INSTANCE_PARAMETER: &str = "MqttInstanceId";

const HELP: &str = "help";

const OPERATIONS: [Operation; 5] = [
    Operation {
        name: "SetSniConfig",
        parameters: "DefaultCertificate=<id> [SniConfig=<name>#<id>;...]",
        has_dry_run: false,
        apply: server_names::set_sni_config,
    },
    Operation {
        name: "ActiveCaCertificate",
        parameters: "Sn=<serial>",
        has_dry_run: false,
        apply: authority::activate,
    },
    Operation {
        name: "InactivateCaCertificate",
        parameters: "Sn=<serial>",
        has_dry_run: true,
        apply: authority::inactivate,
    },
    Operation {
        name: "DeleteCaCertificate",
        parameters: "Sn=<serial>",
        has_dry_run: true,
        apply: authority::delete,
    },
    Operation {
        name: "ListCaCertificate",
        parameters: "",
        has_dry_run: false,
        apply: authority::list,
    },
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
        assert_eq!(answer("help")["Operations"], json!(usages()));
        assert_eq!(answer("help")["Instances"], json!(["mqtt-demo", "mqtt-second"]));
    }
}
