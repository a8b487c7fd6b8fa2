//! Certificates shown and refusals told, as `openssl s_client` sees them.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::harness::{Broker, first_certificate, found};

/// Which file's certificate each client is shown.
#[test]
fn openssl_is_shown_the_certificate_for_its_server_name() {
    if !found("openssl") {
        return;
    }
    let broker = Broker::start();
    let cases: [(&[&str], &str); 5] = [
        (&["-servername", "eu.mqtt.example.test"], "exact"),
        (&["-servername", "EU.mqtt.example.test"], "exact"),
        (&["-servername", "a.mqtt.example.test"], "wildcard"),
        (&["-servername", "b.a.mqtt.example.test"], "default"),
        (&["-noservername"], "default"),
    ];
    let rsa_suites_only: (&[&str], &str) = (
        &["-servername", "eu.mqtt.example.test", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
        "exact-rsa",
    );
    for (version, more) in [("-tls1_2", Some(rsa_suites_only)), ("-tls1_3", None)] {
        for (options, file) in cases.into_iter().chain(more) {
            let (status, text) = broker.s_client("device-1", &[options, &[version]].concat());
            assert!(status.success(), "{version} {options:?}\n{text}");
            assert_eq!(first_certificate(&text), broker.shown(file), "{version} {options:?}");
            assert!(text.contains("Verify return code: 0 (ok)"), "{version} {options:?}\n{text}");
        }
    }
}

#[test]
fn openssl_reads_the_alert_that_it_deserves() {
    if !found("openssl") {
        return;
    }
    let broker = Broker::start();
    for version in ["-tls1_2", "-tls1_3"] {
        let (status, text) = broker.refused_s_client(Some("retired-device"), &[version]);
        assert_eq!(status.code(), Some(1), "{version}\n{text}");
        assert!(text.contains("SSL alert number 48"), "{version}: not unknown_ca\n{text}");
    }
    let (status, text) = broker.refused_s_client(None, &["-tls1_3"]);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("SSL alert number 116"), "not certificate_required\n{text}");
    let (status, text) = broker.refused_s_client(None, &["-tls1_2"]);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("SSL alert number"), "no alert at all\n{text}");
}

#[test]
fn openssl_is_shown_what_the_operator_is_told_that_it_is_shown() {
    if !found("openssl") {
        return;
    }
    let mut broker = Broker::start();
    // About its own key, which is ECDSA, the client does not mean it: or else it would come without
    // a certificate, and be gone in time only where it is quicker than the alert.
    let rsa = [
        "-sigalgs",
        "rsa_pss_rsae_sha256:rsa_pkcs1_sha256",
        "-client_sigalgs",
        "ecdsa_secp256r1_sha256",
    ];
    let cases: [(&str, &[&str], &str, &str); 5] = [
        ("eu.mqtt.example.test", &[], "any", "Exact"),
        ("eu.mqtt.example.test", &rsa, "rsa", "Exact"),
        ("a.mqtt.example.test", &[], "ecdsa", "Wildcard"),
        ("b.a.mqtt.example.test", &[], "any", "Default"),
        ("localhost", &[], "any", "Default"),
    ];
    let mut shown = Vec::new();
    for (name, options, client, rule) in cases {
        let (status, text) =
            broker.s_client("device-1", &[&["-servername", name], options].concat());
        assert!(status.success(), "{name}\n{text}");
        let explained = broker.operate(&format!("explain ServerName={name} Client={client}"));
        assert_eq!(explained["Shown"]["Sha256"], sha256(&text), "{name}: {explained}");
        assert_eq!(explained["Shown"]["Rule"], rule, "{name}");
        assert_eq!(explained["LeadsTo"], "mqtt-demo", "{name}");
        shown.push(explained["Shown"]["Sha256"].clone());
    }
    // With RSA alone it is another one.
    assert_ne!(shown[0], shown[1]);
    let listed = broker.operate("certificates");
    let expected = json!({ "Exact": 2, "Wildcard": 1, "Default": 2 });
    assert_eq!(listed["Handshakes"]["Shown"], expected, "{listed}");
    let rows = listed["Data"]["ServedCertificates"].as_array().unwrap();
    for sha256 in &shown {
        assert!(rows.iter().any(|row| row["Sha256"] == *sha256), "{listed}");
    }
}

/// Of the first certificate in a text, in lower case as the console has it.
fn sha256(text: &str) -> String {
    let certificate = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn openssl_is_shown_what_a_file_was_replaced_by_without_an_operation() {
    if !found("openssl") {
        return;
    }
    let broker = Broker::start_with(&["--events"]);
    let shown = || {
        let (_, text) = broker.s_client("device-1", &["-servername", "eu.mqtt.example.test"]);
        first_certificate(&text)
    };
    assert_eq!(shown(), broker.shown("exact"));
    // The next one comes beside it and takes its place in one step.
    let [wildcard, next, exact] = ["wildcard.pem", "next.pem", "exact.pem"]
        .map(|name| broker.file("certs/mqtt-demo").join(name));
    std::fs::copy(wildcard, &next).unwrap();
    std::fs::rename(next, exact).unwrap();
    while broker.says()["Event"] != "CertificatesChanged" {}
    assert_eq!(shown(), broker.shown("wildcard"));
}
