//! MQTT with the clients of Mosquitto.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::harness::{Broker, found};

#[test]
fn mosquitto_clients_exchange_messages_of_qos_1() {
    if !found("mosquitto_pub") || !found("mosquitto_sub") || !found("stdbuf") {
        return;
    }
    let broker = Broker::start();
    for version in ["mqttv311", "mqttv5"] {
        let topic = format!("demo/{version}");
        // By lines, or else it keeps what it says about SUBACK to itself until it ends.
        let mut subscriber = broker
            .mosquitto(&["stdbuf", "-oL", "mosquitto_sub"], "device-1", version)
            .args(["-q", "1", "-C", "1", "-W", "20", "-d", "-t", &topic])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(subscriber.stdout.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("SUBACK")), "{version}: not subscribed");
        let published = broker.publish("device-2", version, &topic, "one message");
        assert!(published.status.success(), "{version}: {published:?}");
        let heard: Vec<String> = said.map(Result::unwrap).collect();
        assert!(heard.iter().any(|line| line == "one message"), "{version}: {heard:?}");
        assert!(subscriber.wait().unwrap().success(), "{version}");
    }
}

#[test]
fn a_retired_device_comes_in_only_while_its_ca_is_active() {
    if !found("mosquitto_pub") {
        return;
    }
    let mut broker = Broker::start();
    for version in ["mqttv311", "mqttv5"] {
        let mut comes_in = |operation: Option<&str>| {
            if let Some(operation) = operation {
                broker.operate_on_retired_ca(operation);
            }
            broker.publish("retired-device", version, "demo/retired", "?").status.success()
        };
        assert!(!comes_in(None), "{version}");
        assert!(comes_in(Some("ActiveCaCertificate")), "{version}");
        assert!(!comes_in(Some("InactivateCaCertificate")), "{version}");
    }
}
