//! The operation that lists what an instance serves.
//!
//! The cloud does not know it, so the library does not read it from parameters.

use mqtls::instance::{FailedRenewal, ServedCertificate, SniStats};
use mqtls::{Caller, Instances};
use serde_json::{Value, json};

use super::answer::{Outcome, milliseconds, request_id, yes_or_no};
use super::device::MAX_LISTED;
use super::instance;
use super::line::Mode;
use super::typed::{INSTANCE, Typed};

/// `certificates`: those first that expire first, up to a limit; `Total` counts also what is beyond
/// it.
pub(super) fn list(from: Typed, _: Mode, to: &Instances, _: &Caller) -> Outcome {
    from.check_names(&[INSTANCE])?;
    let instance = instance::named(&from, to)?;
    let all = instance.certificates();
    let stats = instance.sni_stats();
    let listed: Vec<_> = all.iter().take(MAX_LISTED).map(served).collect();
    Ok(json!({
        "RequestId": request_id(),
        "Data": { "Total": all.len(), "ServedCertificates": listed },
        "Handshakes": counted(&stats),
        "FailedRenewals": stats.failed_renewals,
    }))
}

fn served(certificate: &ServedCertificate) -> Value {
    json!({
        "ServerName": certificate.pattern.as_ref().map(ToString::to_string),
        "CertificateId": certificate.certificate_id.as_str(),
        "KeyType": certificate.key_type.to_string(),
        "Sha256": certificate.sha256.to_string(),
        "ValidBegin": milliseconds(certificate.validity.not_before),
        "ValidEnd": milliseconds(certificate.validity.not_after),
        "Withheld": yes_or_no(certificate.is_withheld),
        "FailedRenewal": certificate.failed_renewal.as_ref().map(failed),
    })
}

fn failed(renewal: &FailedRenewal) -> Value {
    json!({ "Since": renewal.since.map(milliseconds), "Reason": renewal.reason })
}

fn counted(stats: &SniStats) -> Value {
    json!({
        "Shown": { "Exact": stats.exact, "Wildcard": stats.wildcard, "Default": stats.default },
        "Refused": {
            "NoServerName": stats.no_server_name,
            "UnknownName": stats.unknown_name,
            "NoUsableCertificate": stats.no_usable_certificate,
            "Expired": stats.expired,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::console::desk::Desk;
    use crate::pki::{FIRST_INSTANCE, SECOND_INSTANCE};

    /// What stands in the list for each name, without the times.
    fn rows(desk: &Desk, line: &str) -> (Value, Vec<Value>) {
        let mut data = desk.done(line)["Data"].take();
        let mut rows = data["ServedCertificates"].as_array().unwrap().clone();
        let mut ends: Vec<u64> = vec![];
        for row in &mut rows {
            let row = row.as_object_mut().unwrap();
            let [begin, end] = ["ValidBegin", "ValidEnd"].map(|time| {
                let time = row.remove(time).unwrap().as_str().unwrap().to_owned();
                assert!(time.ends_with("000"), "{time}");
                time.parse::<u64>().unwrap()
            });
            assert!(begin < end, "{row:?}");
            ends.push(end);
        }
        assert!(ends.is_sorted(), "{ends:?}");
        (data["Total"].take(), rows)
    }

    fn row(desk: &Desk, instance: &str, name: Option<&str>, id: &str, key_type: &str) -> Value {
        json!({
            "ServerName": name,
            "CertificateId": id,
            "KeyType": key_type,
            "Sha256": desk.sha256(instance, id),
            "Withheld": "False",
            "FailedRenewal": null,
        })
    }

    fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
        rows.sort_by_key(ToString::to_string);
        rows
    }

    #[test]
    fn what_an_instance_serves_is_listed_name_by_name() {
        let desk = Desk::set();
        let first = |name, id, key_type| row(&desk, FIRST_INSTANCE, name, id, key_type);
        let exact = Some("eu.mqtt.example.test");
        let expected = vec![
            first(None, "default", "ECDSA"),
            first(Some("*.mqtt.example.test"), "wildcard", "ECDSA"),
            first(exact, "exact", "ECDSA"),
            first(exact, "exact-rsa", "RSA"),
        ];
        let (total, listed) = rows(&desk, "certificates");
        assert_eq!((total, sorted(listed)), (json!(4), sorted(expected)));

        let second = |name, id| row(&desk, SECOND_INSTANCE, name, id, "ECDSA");
        let expected =
            vec![second(None, "default"), second(Some("*.second.example.test"), "wildcard")];
        let (total, listed) = rows(&desk, "certificates MqttInstanceId=mqtt-second");
        assert_eq!((total, sorted(listed)), (json!(2), sorted(expected)));
    }

    #[test]
    fn handshakes_are_counted_by_what_they_were_shown() {
        let desk = Desk::set();
        let done = desk.done("certificates");
        let expected = json!({
            "Shown": { "Exact": 0, "Wildcard": 0, "Default": 0 },
            "Refused": {
                "NoServerName": 0, "UnknownName": 0, "NoUsableCertificate": 0, "Expired": 0,
            },
        });
        assert_eq!(done["Handshakes"], expected);
        assert_eq!(done["FailedRenewals"], 0);
    }

    #[test]
    fn a_renewal_that_failed_is_told_until_the_file_is_good_again() {
        let desk = Desk::set();
        let file = desk.pki.server_certificate(FIRST_INSTANCE, "exact");
        let whole = fs::read_to_string(&file).unwrap();
        let before = rows(&desk, "certificates");
        let (half, _) = whole.split_at(whole.len() / 2);
        fs::write(&file, half).unwrap();
        desk.door.instances.reload();
        let done = desk.done("certificates");
        assert_eq!(done["FailedRenewals"], 1);
        let is_told = |row: &Value| row["FailedRenewal"] != Value::Null;
        for row in done["Data"]["ServedCertificates"].as_array().unwrap() {
            assert_eq!(is_told(row), row["CertificateId"] == "exact", "{row}");
            if is_told(row) {
                let since = row["FailedRenewal"]["Since"].as_str().unwrap();
                assert!(since.ends_with("000"), "{since}");
                let reason = row["FailedRenewal"]["Reason"].as_str().unwrap();
                assert!(!reason.is_empty() && !reason.contains("PRIVATE KEY"), "{reason}");
            }
        }
        fs::write(&file, whole).unwrap();
        desk.door.instances.reload();
        assert_eq!(rows(&desk, "certificates"), before);
        assert_eq!(desk.done("certificates")["FailedRenewals"], 1);
    }

    #[test]
    fn a_list_ends_at_its_limit_and_counts_all() {
        let desk = Desk::set();
        let names = (0..MAX_LISTED).map(|number| format!("n{number}.mqtt.example.test#wildcard"));
        let config = names.collect::<Vec<_>>().join(";");
        desk.done(&format!("SetSniConfig DefaultCertificate=default SniConfig={config}"));
        let data = desk.done("certificates")["Data"].take();
        assert_eq!(data["Total"], MAX_LISTED + 1);
        assert_eq!(data["ServedCertificates"].as_array().unwrap().len(), MAX_LISTED);
    }

    #[test]
    fn what_cannot_be_listed_is_refused_with_a_reason() {
        let desk = Desk::set();
        for (parameters, code, status, reason) in [
            ("Sn=1", "ParameterFieldCheckFailed", 400, "not one of MqttInstanceId"),
            ("MqttInstanceId=", "ParameterFieldCheckFailed", 400, "MqttInstanceId"),
            ("MqttInstanceId=no", "MqttInstanceNotFound", 500, "there is no instance no"),
        ] {
            let answer = desk.answer(&format!("certificates {parameters}"));
            assert_eq!(answer["Code"], code, "{parameters}: {answer}");
            assert_eq!(answer["HttpStatus"], status, "{parameters}");
            assert!(answer["Reason"].as_str().unwrap().contains(reason), "{answer}");
        }
    }

    /// Neither one that is right nor one that is not.
    #[test]
    fn passwords_are_never_told() {
        let desk = Desk::set();
        let encrypted =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/pair_encrypted_pbkdf2.pem");
        fs::copy(encrypted, desk.pki.server_certificate(FIRST_INSTANCE, "secret")).unwrap();
        let change = |operation: &str, password: &str| {
            let config = format!("eu.mqtt.example.test#secret#{password}");
            desk.answer(&format!("{operation} DefaultCertificate=default SniConfig={config}"))
        };
        let wrong = [change("plan", "hunter3"), change("SetSniConfig", "hunter3")];
        assert_eq!(wrong[0]["Errors"]["Total"], 1, "{}", wrong[0]);
        assert_eq!(wrong[1]["Code"], "ParameterFieldCheckFailed");
        let right = [change("plan", "hunter2"), change("SetSniConfig", "hunter2")];
        assert_eq!(right[0]["Changes"], "True", "{}", right[0]);
        assert_eq!(right[1]["Success"], "True", "{}", right[1]);
        let served = [
            desk.answer("certificates"),
            desk.answer("explain ServerName=eu.mqtt.example.test"),
            change("plan", "hunter3"),
        ];
        assert_eq!(served[1]["Shown"]["CertificateId"], "secret");
        for answer in wrong.iter().chain(&right).chain(&served) {
            assert!(!answer.to_string().contains("hunter"), "{answer}");
        }
    }
}
