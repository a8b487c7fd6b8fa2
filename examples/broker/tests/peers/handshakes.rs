//! Certificates shown and refusals told, as `openssl s_client` sees them.

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
