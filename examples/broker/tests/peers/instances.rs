//! Two instances on one port, each a stranger to the other's devices.

use std::process::Stdio;

use crate::harness::{Broker, finish, first_certificate, found};

#[test]
fn openssl_comes_in_under_names_of_its_own_instance_only() {
    if !found("openssl") {
        return;
    }
    let broker = Broker::start();
    let (own, other): (&[&str], &[&str]) =
        (&["-servername", "eu.second.example.test"], &["-servername", "eu.mqtt.example.test"]);
    for version in ["-tls1_2", "-tls1_3"] {
        let (status, text) = broker.s_client(SECOND, &[own, &[version]].concat());
        assert!(status.success(), "{version}\n{text}");
        assert_eq!(first_certificate(&text), broker.shown_by("mqtt-second", "wildcard"));
        assert!(text.contains("Verify return code: 0 (ok)"), "{version}\n{text}");
        for (device, name) in [
            (SECOND, other),
            (SECOND, &["-servername", "nobody.example.test"]),
            (SECOND, &["-noservername"]),
            ("device-1", own),
        ] {
            let options = [name, &[version]].concat();
            let (status, text) = broker.refused_s_client(Some(device), &options);
            assert_eq!(status.code(), Some(1), "{device} {options:?}\n{text}");
            assert!(text.contains("SSL alert number 48"), "{device} {options:?}\n{text}");
        }
    }
}

/// Mosquitto names no server when it calls an address.
#[test]
fn mosquitto_at_an_address_comes_to_the_first_instance() {
    if !found("mosquitto_pub") {
        return;
    }
    let broker = Broker::start();
    for version in ["mqttv311", "mqttv5"] {
        for (device, comes_in) in [("device-1", true), (SECOND, false)] {
            let mut command = broker.mosquitto_at("127.0.0.1", &["mosquitto_pub"], device, version);
            command.args(["-q", "1", "-t", "demo/address", "-m", "here"]);
            let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let output = finish(process);
            assert_eq!(output.status.success(), comes_in, "{version} {device}: {output:?}");
        }
    }
}

const SECOND: &str = "mqtt-second/device-1";
