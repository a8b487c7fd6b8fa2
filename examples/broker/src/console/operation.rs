//! The operations that a line may name: one row each, and `help`.

use mqtls::{Caller, Instances};
use serde_json::{Value, json};

use super::answer::{self, Outcome};
use super::device::MAX_LISTED;
use super::line::{Line, LineError, Mode};
use super::typed::{INSTANCE, Typed};
use super::{
    authority, certificates, device, explain, load_revocation_list, register_device, server_names,
};
use crate::pki::{FIRST_INSTANCE, SECOND_INSTANCE};

/// Applies what a line says. Blocks.
pub(super) fn apply(line: Line, instances: &Instances, me: &Caller) -> Value {
    let Line { mode, operation, parameters } = line;
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
    let typed = Typed::new(parameters).or(INSTANCE, FIRST_INSTANCE);
    (known.apply)(typed, mode, instances, me).unwrap_or_else(|failure| answer::failure(&failure))
}

/// One operation of the console.
struct Operation {
    name: &'static str,
    /// Its parameters as `help` shows them, but for the instance.
    parameters: &'static str,
    /// Without one, `apply` is asked for nothing but to apply it.
    has_dry_run: bool,
    apply: Apply,
}

type Apply = fn(Typed, Mode, &Instances, &Caller) -> Outcome;

impl Operation {
    const fn new(name: &'static str, parameters: &'static str, apply: Apply) -> Self {
        Self { name, parameters, has_dry_run: false, apply }
    }

    const fn with_dry_run(name: &'static str, parameters: &'static str, apply: Apply) -> Self {
        Self { name, parameters, has_dry_run: true, apply }
    }

    fn usage(&self) -> String {
        let mode = if self.has_dry_run { "[dry-run] " } else { "" };
        let blank = if self.parameters.is_empty() { "" } else { " " };
        let Self { name, parameters, .. } = self;
        format!("{mode}{name}{blank}{parameters} [{INSTANCE}=<instance>]")
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
        "Connections": "how many live ones the CA or device had, or those whom a list revokes: Ended, \
                        or Kept where the instance keeps them; of a device on record: how often it \
                        came in, and how many are Live",
        "ActiveTwins": "active CAs of the same name and key, through which its devices can still \
                        come in",
        "AlsoUnder": "other CAs under which the same certificate is on record: inactive under one, \
                      it is refused through all",
        "Devices": format!(
            "on record under their CA since they first came in, or were registered; a list shows \
             the first {MAX_LISTED}"
        ),
        "explain": "what a client is shown that asks for the name, or for none, and that can check \
                    keys of these types; what became of each certificate that stands for it; where \
                    it is refused, by which alert; LeadsTo is the instance that answers on the port",
        "certificates": format!(
            "what is served now, the first to expire first, at most {MAX_LISTED}; a null ServerName \
             is the default's; Withheld has expired and is not shown; with FailedRenewal the file \
             has nothing better; Handshakes counts who was shown what"
        ),
        "plan": "what SetSniConfig would come to with these parameters, and nothing changes: Errors, \
                 Warnings, and for which names other entries or certificates would answer: Gained from \
                 the default, Lost to it, Changed, Shadowed (from a wildcard to an entry of its own) or \
                 Uncovered (back to the wildcard)",
        "Generation": "counts the certificate maps of an instance; SetSniConfig with the one of a plan \
                       is applied only while that map is in force, a renewal makes another one, too",
        "Words": "separated by blanks, values hold none",
        "Instances": [FIRST_INSTANCE, SECOND_INSTANCE],
        "MqttInstanceId": "MqttInstanceId=<instance> with any operation says whose certificates, \
                           CAs or devices are meant; without it those of mqtt-demo are",
        "SniConfig": "name#certificate id, several separated by `;`; \
                      a name is exact or a wildcard such as *.mqtt.example.test",
        "File": "the device's certificate in PEM, its intermediates behind it, Status=0 records it \
                 as inactive; or the CA's revocation list in PEM or DER, in the place of the one \
                 before: by its Number it has to be later",
        "Certificates": "<dir>/certs/<instance>/<certificate id>.pem",
    })
}

const HELP: &str = "help";

const OPERATIONS: [Operation; 16] = [
    Operation::new(
        "SetSniConfig",
        "DefaultCertificate=<id> [SniConfig=<name>#<id>;...] [Generation=<n>]",
        server_names::set_sni_config,
    ),
    Operation::new(
        "plan",
        "DefaultCertificate=<id> [SniConfig=<name>#<id>;...]",
        server_names::plan,
    ),
    Operation::new("ActiveCaCertificate", CA, authority::activate),
    Operation::with_dry_run("InactivateCaCertificate", CA, authority::inactivate),
    Operation::with_dry_run("DeleteCaCertificate", CA, authority::delete),
    Operation::new("ListCaCertificate", "", authority::list),
    Operation::with_dry_run("LoadRevocationList", LIST_FILE, load_revocation_list::load),
    Operation::new("GetDeviceCertificate", DEVICE, device::get),
    Operation::new("ListDeviceCertificate", "", device::list),
    Operation::new("ListDeviceCertificateByCaSn", "CaSn=<serial>", device::list_by_ca_sn),
    Operation::new("ActiveDeviceCertificate", DEVICE, device::activate),
    Operation::with_dry_run("InactivateDeviceCertificate", DEVICE, device::inactivate),
    Operation::with_dry_run("DeleteDeviceCertificate", DEVICE, device::delete),
    Operation::new("RegisterDeviceCertificate", DEVICE_FILE, register_device::register),
    Operation::new("explain", "[ServerName=<name>] [Client=<rsa|ecdsa|any>]", explain::explain),
    Operation::new("certificates", "", certificates::list),
];

const CA: &str = "Sn=<serial>";

const LIST_FILE: &str = "Sn=<serial> File=<file>";

/// Which device is meant: a serial number is unique for its issuer only.
const DEVICE: &str = "CaSn=<serial> DeviceSn=<serial>";

const DEVICE_FILE: &str = "CaSn=<serial> File=<file> [Status=<1 or 0>]";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mqtls::{InstanceSpec, Memory};

    use super::*;
    use crate::console::desk::Desk;

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
            ("GetDeviceCertificate CaSn=00ff DeviceSn=01", "FindDeviceBySnError", 500, "00ff"),
            ("GetDeviceCertificate Sn=00ff", BAD_PARAMETER, 400, "number 1"),
            ("InactivateDeviceCertificate CaSn=00ff", BAD_PARAMETER, 400, "DeviceSn"),
            ("dry-run DeleteDeviceCertificate DeviceSn=01", BAD_PARAMETER, 400, "CaSn"),
            ("RegisterDeviceCertificate", BAD_PARAMETER, 400, "CaSn"),
            ("ListDeviceCertificate MqttInstanceId=no", NO_INSTANCE, 500, "no"),
            ("LoadRevocationList Sn=00ff", BAD_PARAMETER, 400, "File"),
            ("dry-run ActiveDeviceCertificate", BAD_PARAMETER, 400, "`dry-run` stands"),
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
        let desk = Desk::set();
        let sn = desk.door.device_ca.to_string();
        desk.register("device-1");
        let list = desk.done("ListCaCertificate");
        for operation in ["InactivateCaCertificate", "DeleteCaCertificate"] {
            let before = desk.done("ListCaCertificate");
            let mut foreseen = desk.done(&format!("dry-run {operation} Sn={sn}"));
            assert_eq!(foreseen.as_object_mut().unwrap().remove("DryRun"), Some(json!("True")));
            assert_eq!(desk.done("ListCaCertificate"), before, "{operation}");
            let mut done = desk.done(&format!("{operation} Sn={sn}"));
            assert_eq!(foreseen, done, "{operation}");
            let devices = done.as_object_mut().unwrap().remove("Devices");
            let forgotten = json!({ "Forgotten": 1, "Inactive": 0 });
            assert_eq!(devices, (operation == "DeleteCaCertificate").then_some(forgotten));
            let nobody = json!({ "Ended": 0, "Kept": 0 });
            assert_eq!(done, json!({ "Sn": sn, "Connections": nobody, "ActiveTwins": [] }));
            assert_ne!(desk.done("ListCaCertificate"), before, "{operation}");
        }
        assert_eq!(list["Data"]["Total"], 2);
        assert_eq!(desk.answer("ListCaCertificate")["Data"]["Total"], 1);
        assert_eq!(desk.answer("ListDeviceCertificate")["Data"]["Total"], 0);
    }

    #[test]
    fn an_operation_is_for_the_instance_that_it_names_and_for_no_other() {
        let desk = Desk::set();
        let states = |instance: &str| {
            let list = desk.answer(&format!("ListCaCertificate MqttInstanceId={instance}"));
            let records = list["Data"]["CaCertificateVOS"].as_array().unwrap().clone();
            let state =
                |it: &Value| [&it["Sn"], &it["Status"]].map(|it| it.as_str().unwrap().to_owned());
            records.iter().map(state).collect::<Vec<_>>()
        };
        let (first, second) = (states(FIRST_INSTANCE), states(SECOND_INSTANCE));
        let sn = desk.door.second_ca.to_string();
        assert_eq!(second, [[sn.clone(), "1".to_owned()]]);
        assert_eq!(desk.answer("ListCaCertificate")["Data"]["Total"], first.len());

        // Nobody's CA is reached through another instance.
        for operation in ["InactivateCaCertificate", "DeleteCaCertificate", "ActiveCaCertificate"] {
            assert_eq!(desk.answer(&format!("{operation} Sn={sn}"))["Code"], "FindCaBySnError");
        }
        assert_eq!(states(SECOND_INSTANCE), second);
        let done =
            desk.answer(&format!("InactivateCaCertificate Sn={sn} MqttInstanceId=mqtt-second"));
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
