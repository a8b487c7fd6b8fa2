//! Live connections whose CA or device is deactivated, as their clients see it.

use std::io::{Read, Write};
use std::process::Child;

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
        let mut subscriber = broker.subscribed(DEVICE, version, TOPIC);
        broker.published("device-1", version, "before");
        subscriber.hears("before");

        let answer = broker.operate_on_retired_ca("InactivateCaCertificate");
        assert_eq!(answer["Connections"], json!({ "Ended": 1, "Kept": 0 }), "{version}");
        broker.published("device-1", version, "after");
        subscriber.ends_without("after", told);
    }
}

/// Another one, of the same CA, goes on.
#[test]
fn a_subscriber_is_cut_with_its_device_and_another_one_is_not() {
    if !found("mosquitto_pub") || !found("mosquitto_sub") || !found("stdbuf") {
        return;
    }
    let mut broker = Broker::start();
    for (version, told) in [("mqttv5", Some("received disconnect (152)")), ("mqttv311", None)] {
        let mut one = broker.subscribed("device-1", version, TOPIC);
        let mut two = broker.subscribed("device-2", version, TOPIC);
        broker.published("device-2", version, "before");
        one.hears("before");
        two.hears("before");

        let answer = broker.operate_on_device("InactivateDeviceCertificate", "device-1");
        assert_eq!(answer["Connections"], json!({ "Ended": 1, "Kept": 0 }), "{version}");
        broker.published("device-2", version, "after");
        two.hears("after");
        one.ends_without("after", told);
        let refused = broker.publish("device-1", version, TOPIC, "refused");
        assert!(!refused.status.success(), "{version}: {refused:?}");

        broker.operate_on_device("ActiveDeviceCertificate", "device-1");
        broker.published("device-1", version, "back");
        two.hears("back");
    }
}

impl Broker {
    /// A message that the broker took from a device.
    pub(crate) fn published(&self, device: &str, version: &str, message: &str) {
        let published = self.publish(device, version, TOPIC, message);
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
