//! Revocation lists that `openssl ca` makes, and the devices on them and beside them.

use std::path::Path;

use serde_json::{Value, json};

use crate::authority::Authority;
use crate::harness::{Broker, found};
use crate::sessions::Handshake;

/// With a saved session or without, on TLS 1.2 and 1.3, from PEM and DER.
#[test]
fn openssl_is_refused_with_a_device_on_a_list_of_openssls_and_with_no_other() {
    if !found("openssl") {
        return;
    }
    let ca = Authority::make();
    let mut broker = Broker::start_changed(|pki| ca.take_over(pki));
    for (format, version) in ["-tls1_2", "-tls1_3"].into_iter().enumerate() {
        let file = |name: &str| broker.file(&format!("{name}{version}"));
        let [old, others, spare] = ["old", "others", "spare"].map(file);
        assert_eq!(broker.admitted(ONE, version, None, &old), Handshake::Full);
        assert_eq!(broker.admitted(TWO, version, None, &others), Handshake::Full);

        broker.loads(&ca.list(Some(ONE))[format], 1);
        broker.refused(ONE, version, &old);
        let (status, text) = broker.refused_s_client(Some(ONE), &[version]);
        assert_eq!(status.code(), Some(1), "{version}\n{text}");
        assert!(text.contains("SSL alert number 48"), "{version}: not unknown_ca\n{text}");
        assert_eq!(broker.admitted(TWO, version, None, &spare), Handshake::Full);
        assert_eq!(broker.admitted(TWO, version, Some(&others), &spare), Handshake::Resumed);

        broker.loads(&ca.list(None)[1 - format], 0);
        assert_eq!(broker.admitted(ONE, version, Some(&old), &spare), Handshake::Resumed);
        assert_eq!(broker.admitted(ONE, version, None, &spare), Handshake::Full);
    }
}

#[test]
fn a_subscriber_is_cut_by_a_list_of_openssls_and_another_one_is_not() {
    if !["openssl", "mosquitto_pub", "mosquitto_sub", "stdbuf"].into_iter().all(found) {
        return;
    }
    let ca = Authority::make();
    let mut broker = Broker::start_changed(|pki| ca.take_over(pki));
    for (version, told) in [("mqttv5", Some("received disconnect (152)")), ("mqttv311", None)] {
        let mut one = broker.subscribed(ONE, version, TOPIC);
        let mut two = broker.subscribed(TWO, version, TOPIC);
        broker.published(TWO, version, "before");
        one.hears("before");
        two.hears("before");

        let answer = broker.loads(&ca.list(Some(ONE))[0], 1);
        assert_eq!(answer["Connections"], json!({ "Ended": 1, "Kept": 0 }), "{version}");
        broker.published(TWO, version, "after");
        two.hears("after");
        one.ends_without("after", told);
        let refused = broker.publish(ONE, version, TOPIC, "refused");
        assert!(!refused.status.success(), "{version}: {refused:?}");

        broker.loads(&ca.list(None)[0], 0);
        broker.published(ONE, version, "back");
        two.hears("back");
    }
}

impl Broker {
    /// Loads a list of the devices' CA that revokes so many.
    fn loads(&mut self, list: &Path, revokes: usize) -> Value {
        let cas = self.operate("ListCaCertificate");
        let cas = cas["Data"]["CaCertificateVOS"].as_array().unwrap();
        let ca = cas.iter().find(|it| it["CaName"] == "device-ca").unwrap();
        let (sn, file) = (ca["Sn"].as_str().unwrap(), list.display());
        let answer = self.operate(&format!("LoadRevocationList Sn={sn} File={file}"));
        assert_eq!((&answer["Changed"], &answer["Revokes"]), (&json!("True"), &json!(revokes)));
        answer
    }
}

const ONE: &str = "device-1";
const TWO: &str = "device-2";
const TOPIC: &str = "demo/cut";
