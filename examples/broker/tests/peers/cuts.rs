//! Live connections whose CA is deactivated, as their clients see it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

use serde_json::json;

use crate::harness::{Broker, finish, found, wait_until};

#[test]
fn a_subscriber_is_cut_with_its_ca_and_hears_nothing_more() {
    if !found("mosquitto_pub") || !found("mosquitto_sub") || !found("stdbuf") {
        return;
    }
    let mut broker = Broker::start();
    // MQTT 5 has words for it, 152 being an administrative action; MQTT 3.1.1 has none.
    for (version, told) in [("mqttv5", Some("received disconnect (152)")), ("mqttv311", None)] {
        broker.operate_on_retired_ca("ActiveCaCertificate");
        let mut subscriber = broker
            .mosquitto(&["stdbuf", "-oL", "mosquitto_sub"], DEVICE, version)
            .args(["-q", "1", "-W", "20", "-d", "-t", TOPIC])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(subscriber.stdout.take().unwrap()).lines();
        let mut until = |words: &str| said.any(|line| line.unwrap().contains(words));
        assert!(until("SUBACK"), "{version}: not subscribed");
        broker.published(version, "before");
        assert!(until("before"), "{version}: the message before the cut is lost");

        let answer = broker.operate_on_retired_ca("InactivateCaCertificate");
        assert_eq!(answer["Connections"], json!({ "Ended": 1, "Kept": 0 }), "{version}");
        broker.published(version, "after");
        let heard: Vec<String> = said.map(|line| line.unwrap().to_lowercase()).collect();
        assert!(!heard.iter().any(|line| line.contains("after")), "{version}: {heard:?}");
        let disconnect = heard.iter().find(|line| line.contains("received disconnect"));
        match (disconnect, told) {
            (Some(line), Some(told)) => assert!(line.contains(told), "{version}: {line}"),
            (None, None) => {}
            _ => panic!("{version}: {heard:?}"),
        }
        // 27 is its own limit of time: nobody has cut it.
        assert_ne!(finish(subscriber).status.code(), Some(27), "{version}: it was still there");
    }
}

impl Broker {
    /// A message that the broker took from another device.
    fn published(&self, version: &str, message: &str) {
        let published = self.publish("device-1", version, TOPIC, message);
        assert!(published.status.success(), "{version}: {published:?}");
    }
}

/// What the broker writes to its end, with no client between that would interpret it.
#[test]
fn the_last_bytes_are_a_disconnect_for_mqtt_5_and_for_nobody_else() {
    if !found("openssl") {
        return;
    }
    let mut broker = Broker::start();
    let cases: [(&[u8], &[u8]); 3] =
        [(CONNECT_5, DISCONNECT), (CONNECT_3_1_1, &[]), (NO_CONNECT, &[])];
    for version in ["-tls1_2", "-tls1_3"] {
        for (connect, last) in cases {
            broker.operate_on_retired_ca("ActiveCaCertificate");
            let mut client = broker.openssl(Some(DEVICE), &[version, "-quiet"]).spawn().unwrap();
            if connect == NO_CONNECT {
                wait_until("the connection is up", || {
                    let answer = broker.operate_on_retired_ca("dry-run InactivateCaCertificate");
                    answer["Connections"] == json!({ "Ended": 1, "Kept": 0 })
                });
            } else {
                until_a_ping_is_answered(&mut client, connect);
            }
            let answer = broker.operate_on_retired_ca("InactivateCaCertificate");
            assert_eq!(answer["Connections"], json!({ "Ended": 1, "Kept": 0 }), "{connect:x?}");
            let input = client.stdin.take();
            assert_eq!(finish(client).stdout, last, "{version} after {connect:x?}");
            drop(input);
        }
    }
}

/// Connects and pings; when the ping is answered the broker is through with CONNECT.
fn until_a_ping_is_answered(client: &mut Child, connect: &[u8]) {
    let input = client.stdin.as_mut().unwrap();
    input.write_all(&[connect, PINGREQ].concat()).unwrap();
    let output = client.stdout.as_mut().unwrap();
    let mut read = Vec::new();
    while !read.ends_with(PINGRESP) {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        read.extend(byte);
    }
    assert_eq!(read.first(), Some(&CONNACK), "{read:x?}");
}

const DEVICE: &str = "retired-device";
const TOPIC: &str = "demo/cut";

/// Client identifier `a`, a clean start, a minute's keep alive.
const CONNECT_5: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01a";
const CONNECT_3_1_1: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a";
const NO_CONNECT: &[u8] = b"";

const CONNACK: u8 = 0x20;
const PINGREQ: &[u8] = &[0xc0, 0];
const PINGRESP: &[u8] = &[0xd0, 0];

/// The reason code is 0x98, an administrative action.
const DISCONNECT: &[u8] = &[0xe0, 1, 0x98];
