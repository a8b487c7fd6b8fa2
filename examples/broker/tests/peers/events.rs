//! What the broker tells of its own accord.

use serde_json::{Value, json};

use crate::harness::{Broker, found};

#[test]
fn events_are_told_beside_the_answers_where_they_are_asked_for() {
    if !found("openssl") {
        return;
    }
    let mut broker = Broker::start_with(&["--events"]);
    let (status, text) = broker.s_client("device-1", &["-tls1_3"]);
    assert!(status.success(), "{text}");
    let recorded = broker.says();
    assert_eq!(recorded["Event"], "DeviceRecorded", "{recorded}");
    assert_eq!(recorded["MqttInstanceId"], "mqtt-demo", "{recorded}");

    broker.refused_s_client(Some("retired-device"), &["-tls1_3"]);
    let refused = broker.says();
    assert_eq!(refused["Event"], "Refused", "{refused}");
    assert_eq!(refused["Outcome"], "InactiveCa", "{refused}");
    let reason = format!("CA {} is inactive", broker.retired_ca);
    assert_eq!(refused["Reason"], reason, "{refused}");

    let sn = broker.retired_ca.clone();
    broker.types(&format!("ActiveCaCertificate Sn={sn}"));
    // In either order, and each is a line of its own.
    let is_event = |line: &Value| line.get("Event").is_some();
    let (event, answer): (Vec<_>, Vec<_>) =
        [broker.says(), broker.says()].into_iter().partition(is_event);
    let expected = json!({
        "Event": "CaStatusChanged", "MqttInstanceId": "mqtt-demo", "CaSn": sn, "Status": "1",
    });
    assert_eq!(event, [expected]);
    assert_eq!(answer[0]["Sn"], sn, "{answer:?}");
    assert!(answer[0]["RequestId"].is_string(), "{answer:?}");
}
