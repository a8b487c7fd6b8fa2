//! Operations on devices on record.

use mqtls::control::{DeviceRecord, RequestId};
use mqtls::trust::DeviceCursor;
use mqtls::{
    ActiveDeviceCertificate, Caller, DeleteDeviceCertificate, GetDeviceCertificate,
    InactivateDeviceCertificate, Instances, ListDeviceCertificate, ListDeviceCertificateByCaSn,
    OperationError,
};
use serde_json::{Value, json};

use super::answer::{Outcome, device_status, milliseconds, serials, with_effect, yes_or_no};
use super::line::Mode;
use super::typed::Typed;

/// `GetDeviceCertificate`.
pub(super) fn get(from: Typed, _: Mode, to: &Instances, me: &Caller) -> Outcome {
    let found = GetDeviceCertificate::from_parameters(&from.into())?.apply(to, me)?;
    let data = record(&found.device);
    Ok(json!({ "RequestId": found.request_id.to_string(), "Data": data }))
}

/// `ListDeviceCertificate`: the first pages in one answer.
pub(super) fn list(from: Typed, _: Mode, to: &Instances, me: &Caller) -> Outcome {
    let mut request = ListDeviceCertificate::from_parameters(&from.into())?;
    listed(|after| {
        request.after = after;
        let page = request.apply(to, me)?;
        Ok((page.request_id, page.total, page.devices, page.next))
    })
}

/// `ListDeviceCertificateByCaSn`: the same of one CA.
pub(super) fn list_by_ca_sn(from: Typed, _: Mode, to: &Instances, me: &Caller) -> Outcome {
    let mut request = ListDeviceCertificateByCaSn::from_parameters(&from.into())?;
    listed(|after| {
        request.after = after;
        let page = request.apply(to, me)?;
        Ok((page.request_id, page.total, page.devices, page.next))
    })
}

/// `ActiveDeviceCertificate`.
pub(super) fn activate(from: Typed, _: Mode, to: &Instances, me: &Caller) -> Outcome {
    let done = ActiveDeviceCertificate::from_parameters(&from.into())?.apply(to, me)?;
    Ok(json!({
        "RequestId": done.request_id.to_string(),
        "DeviceSn": done.device_sn.to_string(),
        "LetIn": yes_or_no(done.let_in),
        ALSO_UNDER: serials(&done.also_under),
    }))
}

/// `InactivateDeviceCertificate`.
pub(super) fn inactivate(from: Typed, mode: Mode, to: &Instances, me: &Caller) -> Outcome {
    let request = InactivateDeviceCertificate::from_parameters(&from.into())?;
    let done = match mode {
        Mode::Apply => request.apply(to, me)?,
        Mode::DryRun => request.dry_run(to, me)?,
    };
    let (id, sn) = (done.request_id.to_string(), done.device_sn.to_string());
    let also_under = serials(&done.also_under);
    let answer = json!({ "RequestId": id, "DeviceSn": sn, ALSO_UNDER: also_under });
    Ok(with_effect(answer, mode, done.connections))
}

/// `DeleteDeviceCertificate`.
pub(super) fn delete(from: Typed, mode: Mode, to: &Instances, me: &Caller) -> Outcome {
    let request = DeleteDeviceCertificate::from_parameters(&from.into())?;
    let done = match mode {
        Mode::Apply => request.apply(to, me)?,
        Mode::DryRun => request.dry_run(to, me)?,
    };
    let (id, sn) = (done.request_id.to_string(), done.device_sn.to_string());
    let also_under = serials(&done.also_under);
    let answer = json!({ "RequestId": id, "DeviceSn": sn, ALSO_UNDER: also_under });
    Ok(with_effect(answer, mode, done.connections))
}

/// Page after page, up to a limit; `Total` counts also what is beyond it.
fn listed(mut page: impl FnMut(Option<DeviceCursor>) -> Result<Page, OperationError>) -> Outcome {
    let (mut records, mut after) = (Vec::new(), None);
    loop {
        let (request_id, total, devices, next) = page(after)?;
        records.extend(devices.iter().map(record));
        after = next;
        if after.is_none() || records.len() >= MAX_LISTED {
            let data = json!({ "Total": total, "DeviceCertificateVOS": records });
            return Ok(json!({ "RequestId": request_id.to_string(), "Data": data }));
        }
    }
}

/// What both lists have in common: the request's id, how many there are, and a page of them.
type Page = (RequestId, usize, Vec<DeviceRecord>, Option<DeviceCursor>);

/// A device as the cloud shows it, without its certificate, and what the cloud does not show.
fn record(device: &DeviceRecord) -> Value {
    json!({
        "DeviceName": device.name,
        "CaSn": device.ca_sn.to_string(),
        "DeviceSn": device.device_sn.to_string(),
        "Status": device_status(device.status),
        "LetIn": yes_or_no(device.let_in),
        "ValidBegin": milliseconds(device.validity.not_before),
        "ValidEnd": milliseconds(device.validity.not_after),
        "FirstSeen": device.first_seen.map(milliseconds),
        "LastSeen": device.last_seen.map(milliseconds),
        "Connections": { "Total": device.connections, "Live": device.live_connections },
    })
}

/// What the answer calls the other CAs under which a device's certificate is on record.
const ALSO_UNDER: &str = "AlsoUnder";

/// How many devices one answer shows: an instance may have a million of them.
pub(super) const MAX_LISTED: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::desk::Desk;

    #[test]
    fn an_operation_is_for_the_device_under_its_ca_and_for_no_other() {
        let desk = Desk::set();
        let (ca, other_ca) = (desk.door.device_ca.to_string(), desk.door.retired_ca.to_string());
        let [one, two] = ["device-1", "device-2"].map(|name| desk.register(name));
        let states = || {
            let list = desk.answer(&format!("ListDeviceCertificateByCaSn CaSn={ca}"));
            let rows = list["Data"]["DeviceCertificateVOS"].as_array().unwrap().clone();
            assert_eq!(list["Data"]["Total"], rows.len());
            let state = |row: &Value| ["DeviceName", "DeviceSn", "Status"].map(|it| text(&row[it]));
            rows.iter().map(state).collect::<Vec<_>>()
        };
        let row = |name: &str, sn: &str, status: &str| [name, sn, status].map(ToOwned::to_owned);
        let both = vec![row("device-1", &one, "1"), row("device-2", &two, "1")];
        assert_eq!(states(), both);

        let second = "MqttInstanceId=mqtt-second";
        for operation in ["Get", "Inactivate", "Active", "Delete", "dry-run Inactivate"] {
            for whose in [
                format!("CaSn={other_ca} DeviceSn={one}"),
                format!("CaSn={ca} DeviceSn={ca}"),
                format!("CaSn={ca} DeviceSn={one} {second}"),
            ] {
                let answer = desk.answer(&format!("{operation}DeviceCertificate {whose}"));
                assert_eq!(answer["Code"], "FindDeviceBySnError", "{operation} {whose}");
            }
        }
        assert_eq!(states(), both);

        desk.done(&format!("InactivateDeviceCertificate CaSn={ca} DeviceSn={one}"));
        assert_eq!(states(), [row("device-1", &one, "0"), row("device-2", &two, "1")]);
        desk.done(&format!("ActiveDeviceCertificate CaSn={ca} DeviceSn={one}"));
        assert_eq!(states(), both);
        desk.done(&format!("DeleteDeviceCertificate CaSn={ca} DeviceSn={one}"));
        assert_eq!(states(), [row("device-2", &two, "1")]);
        let empty = json!({ "Total": 0, "DeviceCertificateVOS": [] });
        for list in [
            format!("ListDeviceCertificate {second}"),
            format!("ListDeviceCertificateByCaSn CaSn={other_ca}"),
            format!("ListDeviceCertificateByCaSn CaSn={ca} {second}"),
        ] {
            assert_eq!(desk.answer(&list)["Data"], empty, "{list}");
        }
    }

    #[test]
    fn a_device_is_shown_with_what_was_seen_of_it() {
        let desk = Desk::set();
        let ca = desk.door.device_ca.to_string();
        let sn = desk.register("device-1");
        let mut shown =
            desk.answer(&format!("GetDeviceCertificate CaSn={ca} DeviceSn={sn}"))["Data"].take();
        assert_eq!(desk.answer("ListDeviceCertificate")["Data"]["DeviceCertificateVOS"][0], shown);
        for time in ["ValidBegin", "ValidEnd"] {
            let time = text(&shown.as_object_mut().unwrap().remove(time).unwrap());
            assert!(time.parse::<u64>().is_ok() && time.ends_with("000"), "{time}");
        }
        let expected = json!({
            "DeviceName": "device-1", "CaSn": ca, "DeviceSn": sn, "Status": "1", "LetIn": "True",
            "FirstSeen": null, "LastSeen": null, "Connections": { "Total": 0, "Live": 0 },
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_dry_run_answers_like_the_operation_and_changes_nothing() {
        let desk = Desk::set();
        let (ca, sn) = (desk.door.device_ca.to_string(), desk.register("device-1"));
        for operation in ["InactivateDeviceCertificate", "DeleteDeviceCertificate"] {
            let line = format!("{operation} CaSn={ca} DeviceSn={sn}");
            let before = desk.done("ListDeviceCertificate");
            let mut foreseen = desk.done(&format!("dry-run {line}"));
            assert_eq!(foreseen.as_object_mut().unwrap().remove("DryRun"), Some(json!("True")));
            assert_eq!(desk.done("ListDeviceCertificate"), before, "{operation}");
            let done = desk.done(&line);
            assert_eq!(foreseen, done, "{operation}");
            let nobody = json!({ "Ended": 0, "Kept": 0 });
            assert_eq!(done, json!({ "DeviceSn": sn, "Connections": nobody, "AlsoUnder": [] }));
            assert_ne!(desk.done("ListDeviceCertificate"), before, "{operation}");
        }
        assert_eq!(desk.answer("ListDeviceCertificate")["Data"]["Total"], 0);
    }

    #[test]
    fn a_list_shows_pages_up_to_its_limit_and_counts_all() {
        let desk = Desk::set();
        let ca = desk.register_many(MAX_LISTED + 1);
        let list = format!("ListDeviceCertificateByCaSn CaSn={ca}");
        for list in ["ListDeviceCertificate", &list] {
            let data = &desk.answer(list)["Data"];
            assert_eq!(data["Total"], MAX_LISTED + 1, "{list}");
            let rows = data["DeviceCertificateVOS"].as_array().unwrap();
            let mut names: Vec<_> = rows.iter().map(|row| text(&row["DeviceName"])).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), MAX_LISTED, "{list}");
        }
    }

    fn text(value: &Value) -> String {
        value.as_str().unwrap().to_owned()
    }
}
