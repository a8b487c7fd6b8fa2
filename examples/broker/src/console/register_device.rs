//! The operation that records a device before its first handshake.
//!
//! The cloud does not know it, so the library does not read it from parameters.

use std::str::FromStr;

use mqtls::{Caller, DeviceStatus, Instances, RegisterDeviceCertificate};
use serde_json::json;
use thiserror::Error;

use super::answer::{Outcome, ended_or_kept, yes_or_no};
use super::file;
use super::line::Mode;
use super::typed::{FILE, INSTANCE, Typed};

/// `RegisterDeviceCertificate`.
pub(super) fn register(from: Typed, _: Mode, to: &Instances, me: &Caller) -> Outcome {
    from.check_names(&[INSTANCE, CA_SN, FILE, STATUS])?;
    let request = RegisterDeviceCertificate {
        mqtt_instance_id: from.required(INSTANCE)?,
        ca_sn: from.required(CA_SN)?,
        status: from.optional(STATUS)?.map(|WireStatus(status)| status).unwrap_or_default(),
        certificate: file::device_certificate(&from.required::<String>(FILE)?)?,
    };
    let done = request.apply(to, me)?;
    Ok(json!({
        "RequestId": done.request_id.to_string(),
        "DeviceSn": done.device_sn.to_string(),
        "LetIn": yes_or_no(done.let_in),
        "Connections": ended_or_kept(done.connections),
    }))
}

/// A status as the cloud writes it.
struct WireStatus(DeviceStatus);

impl FromStr for WireStatus {
    type Err = NoStatus;

    fn from_str(text: &str) -> Result<Self, NoStatus> {
        match text {
            "1" => Ok(Self(DeviceStatus::Active)),
            "0" => Ok(Self(DeviceStatus::Inactive)),
            _ => Err(NoStatus),
        }
    }
}

#[derive(Debug, Error)]
#[error("a status is 1 for active or 0 for inactive")]
struct NoStatus;

const CA_SN: &str = "CaSn";
const STATUS: &str = "Status";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::console::desk::Desk;

    #[test]
    fn a_device_is_registered_from_its_file_with_the_status_asked_for() {
        let desk = Desk::set();
        let ca = desk.door.device_ca.to_string();
        for (device, status, let_in) in
            [("device-1", " Status=0", "False"), ("device-2", "", "True")]
        {
            let file = desk.pki.path(&format!("{device}.pem"));
            let file = file.display();
            let line = format!("RegisterDeviceCertificate CaSn={ca} File={file}{status}");
            let mut done = desk.done(&line);
            let sn = done["DeviceSn"].take();
            let nobody = json!({ "Ended": 0, "Kept": 0 });
            assert_eq!(done, json!({ "DeviceSn": null, "LetIn": let_in, "Connections": nobody }));
            let sn = sn.as_str().unwrap();
            let data = desk.answer(&format!("GetDeviceCertificate CaSn={ca} DeviceSn={sn}"));
            assert_eq!(data["Data"]["DeviceName"], device);
            assert_eq!(data["Data"]["LetIn"], let_in);
            assert_eq!(desk.answer(&line)["Code"], "SnNotUnique");
        }
    }

    #[test]
    fn what_cannot_be_registered_is_refused_with_a_reason() {
        let desk = Desk::set();
        let (ca, retired) = (desk.door.device_ca.to_string(), desk.door.retired_ca.to_string());
        let path = |name: &str| desk.pki.path(name).display().to_string();
        let large = path("large.pem");
        fs::write(&large, vec![b'x'; 2 * 1024 * 1024]).unwrap();
        let device = path("device-1.pem");
        let bad = "ParameterFieldCheckFailed";
        for (parameters, code, reason) in [
            (format!("CaSn={ca}"), bad, "File"),
            (format!("File={device}"), bad, "CaSn"),
            (format!("CaSn=xyz File={device}"), bad, "CaSn"),
            (format!("CaSn={ca} File={device} Status=2"), bad, "1 for active"),
            (format!("CaSn={ca} File={device} Sn=1"), bad, "not one of MqttInstanceId, CaSn"),
            (format!("CaSn={ca} File={}", path("none.pem")), bad, "cannot read"),
            (format!("CaSn={ca} File={}", path("")), bad, "cannot read"),
            (format!("CaSn={ca} File={large}"), bad, "longer than"),
            (format!("CaSn={ca} File={}", path("device-1.key")), bad, "private key"),
            (format!("CaSn={retired} File={device}"), "CertificateContentError", "below this CA"),
            (format!("CaSn=00ff File={device}"), "FindCaBySnError", "00ff"),
            (format!("CaSn={ca} File={device} MqttInstanceId=no"), "MqttInstanceNotFound", "no"),
        ] {
            let answer = desk.answer(&format!("RegisterDeviceCertificate {parameters}"));
            assert_eq!(answer["Code"], code, "{parameters}: {answer}");
            assert!(answer["Reason"].as_str().unwrap().contains(reason), "{answer}");
        }
        assert_eq!(desk.answer("ListDeviceCertificate")["Data"]["Total"], 0);
    }
}
