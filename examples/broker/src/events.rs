//! What happens, told on standard output: one line of JSON for each event.
//!
//! An answer of the console has a `RequestId`. A line of these has an `Event`, and nobody asked for it.

use std::io;
use std::thread;

use mqtls::{Event, Events};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::console::{ca_status, device_status, print};

/// Prints each event until there are no more or nobody reads them.
///
/// They are written on a thread of its own, as the console's input is read: a write that blocks would
/// hold up the runtime. Behind a slow reader only this waits, and is told how many it missed.
///
/// # Errors
/// When there is no thread to write with.
pub(crate) async fn tell(mut events: Events) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel(1);
    thread::Builder::new().name("events".to_owned()).spawn(move || {
        while let Some(event) = receiver.blocking_recv() {
            if let Err(error) = print(&event) {
                tracing::warn!(%error, "nobody reads the events");
                return;
            }
        }
    })?;
    while let Some(event) = events.next().await {
        if sender.send(told(&event)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// An event in the words of the console's answers. Of what was deleted the `Status` is null.
fn told(event: &Event) -> Value {
    match event {
        Event::DeviceRecorded { instance, ca_serial, serial } => json!({
            "Event": "DeviceRecorded",
            "MqttInstanceId": instance.as_str(),
            "CaSn": ca_serial.to_string(),
            "DeviceSn": serial.to_string(),
        }),
        Event::Refused { instance, outcome, refusal } => json!({
            "Event": "Refused",
            "MqttInstanceId": instance.as_ref().map(|instance| instance.as_str()),
            "Outcome": format!("{outcome:?}"),
            "Reason": refusal.as_ref().map(ToString::to_string),
        }),
        Event::CaStatusChanged { instance, ca_serial, status } => json!({
            "Event": "CaStatusChanged",
            "MqttInstanceId": instance.as_str(),
            "CaSn": ca_serial.to_string(),
            "Status": status.map(ca_status),
        }),
        Event::DeviceStatusChanged { instance, ca_serial, serial, status } => json!({
            "Event": "DeviceStatusChanged",
            "MqttInstanceId": instance.as_str(),
            "CaSn": ca_serial.to_string(),
            "DeviceSn": serial.to_string(),
            "Status": status.map(device_status),
        }),
        Event::RevocationListLoaded { instance, ca_serial } => json!({
            "Event": "RevocationListLoaded",
            "MqttInstanceId": instance.as_str(),
            "CaSn": ca_serial.to_string(),
        }),
        Event::ConnectionsEnded { instance, why, count } => json!({
            "Event": "ConnectionsEnded",
            "MqttInstanceId": instance.as_str(),
            "Reason": why.to_string(),
            "Count": count,
        }),
        Event::CertificatesChanged { instance, generation } => json!({
            "Event": "CertificatesChanged",
            "MqttInstanceId": instance.as_str(),
            "Generation": generation,
        }),
        Event::CertificateNotRenewed { instance, certificate_id, reason } => json!({
            "Event": "CertificateNotRenewed",
            "MqttInstanceId": instance.as_str(),
            "CertificateId": certificate_id.as_str(),
            "Reason": reason,
        }),
        Event::InstanceRemoved { instance } => {
            json!({ "Event": "InstanceRemoved", "MqttInstanceId": instance.as_str() })
        }
        Event::Missed { count } => json!({ "Event": "Missed", "Count": count }),
        // A later version of the library may know more.
        other => json!({ "Event": "Other", "Reason": format!("{other:?}") }),
    }
}

#[cfg(test)]
mod tests {
    use mqtls::{CaStatus, DeviceStatus, Ended, InstanceId, Outcome, Refusal, SerialNumber};

    use super::*;
    use crate::console::printed;

    fn instance() -> InstanceId {
        "mqtt-demo".parse().unwrap()
    }

    fn ca_serial() -> SerialNumber {
        "00f2".parse().unwrap()
    }

    fn serial() -> SerialNumber {
        "35".parse().unwrap()
    }

    /// Each event is told with its name, these fields, and the instance where it says one.
    fn assert_told<const N: usize>(cases: [(Event, &str, Value); N]) {
        for (event, name, mut fields) in cases {
            let object = fields.as_object_mut().unwrap();
            object.insert("Event".to_owned(), json!(name));
            if !matches!(event, Event::Missed { .. } | Event::Refused { instance: None, .. }) {
                object.insert("MqttInstanceId".to_owned(), json!("mqtt-demo"));
            }
            assert_eq!(told(&event), fields);
            assert_eq!(serde_json::from_str::<Value>(&printed(&fields)).unwrap(), fields);
        }
    }

    #[test]
    fn what_becomes_of_devices_is_told_with_who_and_why() {
        let device = json!({ "CaSn": "00f2", "DeviceSn": "35" });
        let revoked = Refusal::Revoked { ca_serial: ca_serial(), serial: serial() };
        let why = Ended::Revoked(ca_serial());
        assert_told([
            (
                Event::DeviceRecorded {
                    instance: instance(),
                    ca_serial: ca_serial(),
                    serial: serial(),
                },
                "DeviceRecorded",
                device,
            ),
            (
                Event::Refused {
                    instance: Some(instance()),
                    outcome: Outcome::Revoked,
                    refusal: Some(revoked),
                },
                "Refused",
                json!({ "Outcome": "Revoked", "Reason": "certificate 35 is revoked by CA 00f2" }),
            ),
            (
                Event::Refused { instance: None, outcome: Outcome::HelloTimeout, refusal: None },
                "Refused",
                json!({ "MqttInstanceId": null, "Outcome": "HelloTimeout", "Reason": null }),
            ),
            (
                Event::ConnectionsEnded { instance: instance(), why: why.clone(), count: 2 },
                "ConnectionsEnded",
                json!({ "Count": 2, "Reason": why.to_string() }),
            ),
        ]);
    }

    #[test]
    fn a_status_is_told_as_the_operations_tell_it_and_as_null_of_what_is_gone() {
        for (ca, device, text) in [
            (Some(CaStatus::Active), Some(DeviceStatus::Active), json!("1")),
            (Some(CaStatus::Inactive), Some(DeviceStatus::Inactive), json!("0")),
            (None, None, Value::Null),
        ] {
            assert_told([
                (
                    Event::CaStatusChanged {
                        instance: instance(),
                        ca_serial: ca_serial(),
                        status: ca,
                    },
                    "CaStatusChanged",
                    json!({ "CaSn": "00f2", "Status": text }),
                ),
                (
                    Event::DeviceStatusChanged {
                        instance: instance(),
                        ca_serial: ca_serial(),
                        serial: serial(),
                        status: device,
                    },
                    "DeviceStatusChanged",
                    json!({ "CaSn": "00f2", "DeviceSn": "35", "Status": text }),
                ),
            ]);
        }
    }

    #[test]
    fn everything_else_is_told_too_and_so_is_what_was_missed() {
        assert_told([
            (
                Event::RevocationListLoaded { instance: instance(), ca_serial: ca_serial() },
                "RevocationListLoaded",
                json!({ "CaSn": "00f2" }),
            ),
            (
                Event::CertificatesChanged { instance: instance(), generation: 7 },
                "CertificatesChanged",
                json!({ "Generation": 7 }),
            ),
            (
                Event::CertificateNotRenewed {
                    instance: instance(),
                    certificate_id: "exact".parse().unwrap(),
                    reason: "it has expired".to_owned(),
                },
                "CertificateNotRenewed",
                json!({ "CertificateId": "exact", "Reason": "it has expired" }),
            ),
            (Event::InstanceRemoved { instance: instance() }, "InstanceRemoved", json!({})),
            (Event::Missed { count: 3 }, "Missed", json!({ "Count": 3 })),
        ]);
    }
}
