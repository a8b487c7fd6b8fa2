//! The operations on server names.

use mqtls::control::{NameChange, NameChangeKind, ShownChange, SniConfigPlan, SniDifference};
use mqtls::{Caller, Instances, SetSniConfig};
use serde_json::{Value, json};

use super::answer::{Outcome, yes_or_no};
use super::device::MAX_LISTED;
use super::line::Mode;
use super::typed::{INSTANCE, Typed};

/// `SetSniConfig`, where a generation is typed only if that one is in force.
pub(super) fn set_sni_config(mut from: Typed, _: Mode, to: &Instances, me: &Caller) -> Outcome {
    // The cloud's operation has no such parameter, so the library does not read it.
    let expected: Option<u64> = from.optional(GENERATION)?;
    if expected.is_some() {
        // The library would count those that are left.
        from.check_names(&[INSTANCE, "DefaultCertificate", "SniConfig", GENERATION])?;
        from.remove(GENERATION);
    }
    let request = SetSniConfig::from_parameters(&from.into())?;
    let done = match expected {
        Some(expected) => request.apply_if(expected, to, me)?,
        None => request.apply(to, me)?,
    };
    let mut answer = json!({
        "RequestId": done.request_id.to_string(),
        "Success": "True",
        GENERATION: done.generation,
    });
    if let (Some(fields), false) = (answer.as_object_mut(), done.warnings.is_empty()) {
        let warnings = done.warnings.iter().map(ToString::to_string).collect();
        fields.insert("Warnings".to_owned(), warnings);
    }
    Ok(answer)
}

/// `plan`: what `SetSniConfig` would come to with these parameters.
pub(super) fn plan(from: Typed, _: Mode, to: &Instances, me: &Caller) -> Outcome {
    let SniConfigPlan { request_id, generation, errors, warnings, changes, difference, .. } =
        SetSniConfig::from_parameters(&from.into())?.plan(to, me)?;
    Ok(json!({
        "RequestId": request_id.to_string(),
        GENERATION: generation,
        "Changes": yes_or_no(changes),
        "Errors": listed(&errors, |error| error.to_string().into()),
        "Warnings": listed(&warnings, |warning| warning.to_string().into()),
        "Difference": difference.as_ref().map(told),
    }))
}

/// What clients would be shown otherwise. Each name is in one of the counts.
fn told(difference: &SniDifference) -> Value {
    let names = &difference.names;
    let count = |kind| names.iter().filter(|change| change.kind == kind).count();
    json!({
        "Default": difference.default.as_ref().map(shown),
        "Gained": count(NameChangeKind::Gained),
        "Lost": count(NameChangeKind::Lost),
        "Changed": count(NameChangeKind::Changed),
        "Shadowed": count(NameChangeKind::Shadowed),
        "Uncovered": count(NameChangeKind::Uncovered),
        "Names": listed(names, name),
    })
}

fn name(change: &NameChange) -> Value {
    json!({
        "ServerName": change.pattern.to_string(),
        "Kind": format!("{:?}", change.kind),
        "Shown": shown(&change.shown),
    })
}

fn shown(change: &ShownChange) -> Value {
    let ids = |ids: &[mqtls::CertificateId]| ids.iter().map(ToString::to_string).collect::<Value>();
    json!({ "Before": ids(&change.before), "After": ids(&change.after) })
}

/// The first ones in full, and how many there are.
fn listed<T>(all: &[T], told: impl Fn(&T) -> Value) -> Value {
    let first: Vec<_> = all.iter().take(MAX_LISTED).map(told).collect();
    json!({ "Total": all.len(), "Listed": first })
}

const GENERATION: &str = "Generation";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::desk::Desk;
    use crate::door::FIRST_SNI_CONFIG;

    const BAD: &str = "ParameterFieldCheckFailed";

    fn line(operation: &str, config: &str) -> String {
        format!("{operation} DefaultCertificate=default SniConfig={config}")
    }

    fn change(name: &str, kind: &str, before: &[&str], after: &[&str]) -> Value {
        let shown = json!({ "Before": before, "After": after });
        json!({ "ServerName": name, "Kind": kind, "Shown": shown })
    }

    fn all(listed: &[Value]) -> Value {
        json!({ "Total": listed.len(), "Listed": listed })
    }

    #[test]
    fn a_plan_tells_every_kind_of_difference_and_changes_nothing() {
        let desk = Desk::set();
        desk.done(&line("SetSniConfig", &format!("c.mqtt.example.test#exact;{FIRST_SNI_CONFIG}")));
        let before = desk.done("certificates");
        let config = "*.mqtt.example.test#wildcard;eu.mqtt.example.test#exact-rsa;\
                      a.mqtt.example.test#wildcard;localhost#default";
        let names = [
            change("a.mqtt.example.test", "Shadowed", &["wildcard"], &["wildcard"]),
            change("c.mqtt.example.test", "Uncovered", &["exact"], &["wildcard"]),
            change("eu.mqtt.example.test", "Changed", &["exact", "exact-rsa"], &["exact-rsa"]),
            change("localhost", "Gained", &["default"], &["default"]),
        ];
        let plan = desk.done(&line("plan", config));
        let warnings = plan["Warnings"].clone();
        let expected = json!({
            "Generation": 2,
            "Changes": "True",
            "Errors": all(&[]),
            "Warnings": warnings,
            "Difference": {
                "Default": null,
                "Gained": 1, "Lost": 0, "Changed": 1, "Shadowed": 1, "Uncovered": 1,
                "Names": all(&names),
            },
        });
        assert_eq!(plan, expected);
        assert_eq!(desk.done("certificates"), before);
        assert_eq!(desk.done(&line("plan", config)), expected, "and none of it is in force");
        let done = desk.done(&line("SetSniConfig", config));
        assert_eq!(done["Generation"], 3);
        assert_eq!(done.get("Warnings").unwrap_or(&json!([])), &warnings["Listed"]);
    }

    #[test]
    fn names_and_a_default_that_go_are_told_too_and_so_is_that_nothing_does() {
        let desk = Desk::set();
        let plan = desk.done("plan DefaultCertificate=wildcard");
        let difference = json!({
            "Default": { "Before": ["default"], "After": ["wildcard"] },
            "Gained": 0, "Lost": 2, "Changed": 0, "Shadowed": 0, "Uncovered": 0,
            "Names": all(&[
                // On a shared listener a name without an entry is nobody's: what the fallback shows
                // there is its own business.
                change("eu.mqtt.example.test", "Lost", &["exact", "exact-rsa"], &[]),
                change("*.mqtt.example.test", "Lost", &["wildcard"], &[]),
            ]),
        });
        assert_eq!(plan["Difference"], difference);

        let plan = desk.done(&line("plan", FIRST_SNI_CONFIG));
        assert_eq!((&plan["Changes"], &plan["Generation"]), (&json!("False"), &json!(1)));
        let difference = json!({
            "Default": null,
            "Gained": 0, "Lost": 0, "Changed": 0, "Shadowed": 0, "Uncovered": 0,
            "Names": all(&[]),
        });
        assert_eq!(plan["Difference"], difference);
        let second = "plan DefaultCertificate=default MqttInstanceId=mqtt-second";
        assert_eq!(desk.done(second)["Difference"]["Lost"], 1);
    }

    #[test]
    fn what_would_be_refused_is_told_entry_by_entry_and_no_password_with_it() {
        let desk = Desk::set();
        let config = "a.test#nowhere#hunter2;eu.mqtt.example.test#exact#hunter2;b.test#exact;\
                      localhost#default";
        let plan = desk.done(&line("plan", config));
        assert_eq!((&plan["Changes"], &plan["Difference"]), (&json!("False"), &Value::Null));
        assert_eq!(plan["Generation"], 1);
        let errors = plan["Errors"]["Listed"].as_array().unwrap();
        let entries = errors.iter().map(|error| error.as_str().unwrap().split(':').next().unwrap());
        assert_eq!(entries.collect::<Vec<_>>(), ["entry 1", "entry 2", "entry 3"], "{plan}");
        assert_eq!(plan["Errors"]["Total"], 3);
        let refused = desk.answer(&line("SetSniConfig", config));
        for answer in [&plan, &refused] {
            assert!(!answer.to_string().contains("hunter2"), "{answer}");
        }
        let errors: Vec<_> = errors.iter().map(|error| error.as_str().unwrap()).collect();
        assert_eq!(refused["Reason"], errors.join("; "));
    }

    #[test]
    fn a_plan_lists_the_first_and_counts_all() {
        let desk = Desk::set();
        let config = |id: &str, names: usize| {
            let name = |number| format!("n{number}.mqtt.example.test#{id}");
            (0..names).map(name).collect::<Vec<_>>().join(";")
        };
        let many = MAX_LISTED + 1;
        let plan = desk.done(&line("plan", &config("wildcard", many)));
        let names = &plan["Difference"]["Names"];
        assert_eq!(names["Total"], many + 2, "and those that go: {}", plan["Difference"]["Lost"]);
        assert_eq!(names["Listed"].as_array().unwrap().len(), MAX_LISTED);
        let errors = desk.done(&line("plan", &config("nowhere", many)))["Errors"].take();
        assert_eq!(errors["Total"], many);
        assert_eq!(errors["Listed"].as_array().unwrap().len(), MAX_LISTED);
    }

    #[test]
    fn a_change_for_one_generation_is_made_to_no_other() {
        let desk = Desk::set();
        let config = "eu.mqtt.example.test#exact-rsa";
        let change = line("SetSniConfig", config);
        let shown = || desk.done("explain ServerName=eu.mqtt.example.test")["Shown"].take();
        for generation in [0, 2, u64::MAX] {
            let answer = desk.answer(&format!("{change} Generation={generation}"));
            assert_eq!((&answer["Code"], &answer["HttpStatus"]), (&json!(BAD), &json!(400)));
            let reason = format!("certificate map 1 is in force, not {generation}");
            assert_eq!(answer["Reason"], reason);
            assert_eq!(shown()["CertificateId"], "exact");
        }
        // Wherever it stands among the others.
        let first =
            format!("SetSniConfig Generation=1 DefaultCertificate=default SniConfig={config}");
        let done = desk.done(&first);
        assert_eq!((&done["Success"], &done["Generation"]), (&json!("True"), &json!(2)));
        assert_eq!(shown()["CertificateId"], "exact-rsa");
        let reason = "certificate map 2 is in force, not 1";
        assert_eq!(desk.answer(&first)["Reason"], reason);
        let same = desk.done(&format!("{change} Generation=2"));
        assert_eq!(same["Generation"], 2, "the same once more is no change");
    }

    #[test]
    fn what_is_no_change_is_refused_with_a_reason() {
        let desk = Desk::set();
        let no_generation = "parameter Generation has no value of its kind";
        let missing = "DefaultCertificate";
        for (line, code, status, reason) in [
            ("SetSniConfig DefaultCertificate=default Generation=", BAD, 400, no_generation),
            ("SetSniConfig DefaultCertificate=default Generation=-1", BAD, 400, no_generation),
            ("SetSniConfig DefaultCertificate=default Generation=one", BAD, 400, no_generation),
            ("SetSniConfig Generation=1", BAD, 400, missing),
            ("SetSniConfig DefaultCertificate=d Sn=1", BAD, 400, "number 2"),
            ("SetSniConfig Generation=1 Sn=1", BAD, 400, "SniConfig, Generation"),
            ("plan", BAD, 400, missing),
            ("plan DefaultCertificate=default Generation=1", BAD, 400, "number 2"),
            ("plan DefaultCertificate=default SniConfig=a.b", BAD, 400, "entry 1"),
            ("plan DefaultCertificate=d MqttInstanceId=no", "MqttInstanceNotFound", 400, "no"),
            ("dry-run plan DefaultCertificate=default", BAD, 400, "`dry-run` stands"),
        ] {
            let answer = desk.answer(line);
            assert_eq!(answer["Code"], code, "{line}: {answer}");
            assert_eq!(answer["HttpStatus"], status, "{line}");
            assert!(answer["Reason"].as_str().unwrap().contains(reason), "{line}: {answer}");
        }
        assert_eq!(desk.done(&line("plan", FIRST_SNI_CONFIG))["Changes"], "False");
    }
}
