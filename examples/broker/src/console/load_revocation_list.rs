//! The operation that puts a CA's revocation list in force.
//!
//! The cloud does not know it, so the library does not read it from parameters.

use mqtls::{Caller, Instances, LoadRevocationList};
use serde_json::json;

use super::answer::{Outcome, with_effect, yes_or_no};
use super::file;
use super::line::Mode;
use super::typed::{FILE, INSTANCE, Typed};

/// `LoadRevocationList`.
pub(super) fn load(from: Typed, mode: Mode, to: &Instances, me: &Caller) -> Outcome {
    from.check_names(&[INSTANCE, SN, FILE])?;
    let request = LoadRevocationList {
        mqtt_instance_id: from.required(INSTANCE)?,
        sn: from.required(SN)?,
        revocation_list: file::revocation_list(&from.required::<String>(FILE)?)?,
    };
    let done = match mode {
        Mode::Apply => request.apply(to, me)?,
        Mode::DryRun => request.dry_run(to, me)?,
    };
    let answer = json!({
        "RequestId": done.request_id.to_string(),
        "Sn": done.sn.to_string(),
        "Changed": yes_or_no(done.changed),
        "Number": request.revocation_list.number().map(|number| number.to_string()),
        "Revokes": request.revocation_list.len(),
    });
    Ok(with_effect(answer, mode, done.connections))
}

const SN: &str = "Sn";

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use rustls::pki_types::CertificateRevocationListDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::console::desk::Desk;
    use crate::pki::{DEVICE_1_REVOKED, NOBODY_REVOKED, OLDER_LIST};

    fn der(desk: &Desk, list: &str) -> Vec<u8> {
        CertificateRevocationListDer::from_pem_file(desk.pki.path(list)).unwrap().to_vec()
    }

    #[test]
    fn a_list_is_loaded_from_pem_or_der_and_a_dry_run_answers_alike() {
        let desk = Desk::set();
        let ca = desk.door.device_ca.to_string();
        let pem = |list: &str| fs::read(desk.pki.path(list)).unwrap();
        for (content, number, revokes) in [
            (pem(OLDER_LIST), "0x1", 0),
            (der(&desk, DEVICE_1_REVOKED), "0x2", 1),
            // 0 is what a SEQUENCE begins with, too.
            ([b"0 is text before it\n", &*pem(NOBODY_REVOKED)].concat(), "0x3", 0),
        ] {
            let file = desk.pki.path("list");
            fs::write(&file, content).unwrap();
            let line = format!("LoadRevocationList Sn={ca} File={}", file.display());
            let answer = |changed: &str| {
                let nobody = json!({ "Ended": 0, "Kept": 0 });
                json!({
                    "Sn": ca, "Changed": changed, "Number": number, "Revokes": revokes,
                    "Connections": nobody,
                })
            };
            for changed in ["True", "False"] {
                // The second one, too, since the first one changes nothing.
                for _ in 0..2 {
                    let mut foreseen = desk.done(&format!("dry-run {line}"));
                    let mode = foreseen.as_object_mut().unwrap().remove("DryRun");
                    assert_eq!((mode, foreseen), (Some(json!("True")), answer(changed)));
                }
                assert_eq!(desk.done(&line), answer(changed));
            }
        }
    }

    #[test]
    fn what_cannot_be_loaded_is_refused_with_a_reason_and_the_list_before_stays() {
        let desk = Desk::set();
        let (ca, retired) = (desk.door.device_ca.to_string(), desk.door.retired_ca.to_string());
        let path = |name: &str| desk.pki.path(name).display().to_string();
        let written = |name: &str, content: &[u8]| {
            fs::write(path(name), content).unwrap();
            path(name)
        };
        let [older, list, newer] = [OLDER_LIST, DEVICE_1_REVOKED, NOBODY_REVOKED].map(path);
        let in_force = format!("LoadRevocationList Sn={ca} File={list}");
        assert_eq!(desk.done(&in_force)["Changed"], "True");

        let both = [&older, &list].map(|file| fs::read(file).unwrap()).concat();
        let both = written("both", &both);
        let mut damaged = der(&desk, NOBODY_REVOKED);
        *damaged.last_mut().unwrap() ^= 1;
        let damaged = written("damaged", &damaged);
        let garbage = written("garbage", b"\x1b[2Jnobody is revoked");
        let large = path("large");
        File::create(&large).unwrap().set_len(100 * 1024 * 1024).unwrap();
        let (device, key) = (path("device-1.pem"), path("device-1.key"));
        let bad = "ParameterFieldCheckFailed";
        for (parameters, code, reason) in [
            (format!("Sn={ca}"), bad, "File"),
            (format!("File={list}"), bad, "Sn is missing"),
            (format!("Sn=xyz File={list}"), bad, "Sn"),
            (format!("CaSn={ca} File={list}"), bad, "not one of MqttInstanceId, Sn, File"),
            (format!("Sn={ca} File={}", path("none")), bad, "cannot read"),
            (format!("Sn={ca} File={}", path("")), bad, "cannot read"),
            (format!("Sn={ca} File={large}"), bad, "longer than"),
            (format!("Sn={ca} File={device}"), bad, "holds a certificate"),
            (format!("Sn={ca} File={key}"), bad, "private key"),
            (format!("Sn={ca} File={both}"), bad, "2 revocation lists"),
            (format!("Sn={ca} File={garbage}"), bad, "malformed"),
            (format!("Sn={ca} File={damaged}"), bad, "not by the key of CA"),
            (format!("Sn={ca} File={older}"), bad, "not later than the one in force"),
            (format!("Sn={retired} File={newer}"), bad, "not the subject of CA"),
            (format!("Sn=00ff File={newer}"), "FindCaBySnError", "00ff"),
            (format!("Sn={ca} File={newer} MqttInstanceId=mqtt-second"), "FindCaBySnError", &ca),
            (format!("Sn={ca} File={newer} MqttInstanceId=no"), "MqttInstanceNotFound", "no"),
        ] {
            for mode in ["", "dry-run "] {
                let answer = desk.answer(&format!("{mode}LoadRevocationList {parameters}"));
                assert_eq!(answer["Code"], code, "{parameters}: {answer}");
                assert!(answer["Reason"].as_str().unwrap().contains(reason), "{answer}");
            }
        }
        assert_eq!(desk.done(&in_force)["Changed"], "False");
    }
}
