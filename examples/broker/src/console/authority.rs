//! Operations on CAs.

use mqtls::control::CaRecord;
use mqtls::{
    ActiveCaCertificate, Caller, DeleteCaCertificate, InactivateCaCertificate, Instances,
    ListCaCertificate,
};
use serde_json::{Value, json};

use super::answer::{Outcome, ca_status, milliseconds, serials, with_effect};
use super::line::Mode;
use super::typed::Typed;

/// `ActiveCaCertificate`.
pub(super) fn activate(from: Typed, _: Mode, to: &Instances, me: &Caller) -> Outcome {
    let done = ActiveCaCertificate::from_parameters(&from.into())?.apply(to, me)?;
    Ok(json!({ "RequestId": done.request_id.to_string(), "Sn": done.sn.to_string() }))
}

/// `InactivateCaCertificate`.
pub(super) fn inactivate(from: Typed, mode: Mode, to: &Instances, me: &Caller) -> Outcome {
    let request = InactivateCaCertificate::from_parameters(&from.into())?;
    let done = match mode {
        Mode::Apply => request.apply(to, me)?,
        Mode::DryRun => request.dry_run(to, me)?,
    };
    let answer = json!({
        "RequestId": done.request_id.to_string(),
        "Sn": done.sn.to_string(),
        TWINS: serials(&done.active_twins),
    });
    Ok(with_effect(answer, mode, done.connections))
}

/// `DeleteCaCertificate`.
pub(super) fn delete(from: Typed, mode: Mode, to: &Instances, me: &Caller) -> Outcome {
    let request = DeleteCaCertificate::from_parameters(&from.into())?;
    let done = match mode {
        Mode::Apply => request.apply(to, me)?,
        Mode::DryRun => request.dry_run(to, me)?,
    };
    let answer = json!({
        "RequestId": done.request_id.to_string(),
        "Sn": done.sn.to_string(),
        "Devices": { "Forgotten": done.devices, "Inactive": done.inactive_devices },
        TWINS: serials(&done.active_twins),
    });
    Ok(with_effect(answer, mode, done.connections))
}

/// `ListCaCertificate`: all pages in one answer, since a console's user has no use for a cursor.
pub(super) fn list(from: Typed, _: Mode, to: &Instances, me: &Caller) -> Outcome {
    let mut request = ListCaCertificate::from_parameters(&from.into())?;
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
    json!({
        "CaName": ca.name,
        "Sn": ca.sn.to_string(),
        "Status": ca_status(ca.status),
        "ValidBegin": milliseconds(ca.certificate.validity().not_before),
        "ValidEnd": milliseconds(ca.certificate.validity().not_after),
    })
}

/// What the answer calls the CAs through which devices stay in.
const TWINS: &str = "ActiveTwins";
