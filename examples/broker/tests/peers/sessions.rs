//! Saved sessions, and the CA and the device that they rest on: `openssl s_client -sess_out` and `-sess_in`.

use std::fs;
use std::path::Path;

use crate::harness::{Broker, found, wait_until};

#[test]
fn a_saved_session_resumes_only_while_its_ca_stays_active() {
    if !found("openssl") {
        return;
    }
    let mut broker = Broker::start();
    for version in ["-tls1_2", "-tls1_3"] {
        let file = |name: &str| broker.file(&format!("{name}{version}"));
        let (old, new, spare) = (file("old"), file("new"), file("spare"));
        broker.operate_on_retired_ca("ActiveCaCertificate");
        assert_eq!(broker.admitted(DEVICE, version, None, &old), Handshake::Full, "{version}");
        // The same ticket again: on TLS 1.2 a client is brought no other one so soon.
        for _ in 0..2 {
            let comes_back = broker.admitted(DEVICE, version, Some(&old), &spare);
            assert_eq!(comes_back, Handshake::Resumed, "{version}");
        }

        broker.operate_on_retired_ca("InactivateCaCertificate");
        broker.refused(DEVICE, version, &old);

        broker.operate_on_retired_ca("ActiveCaCertificate");
        assert_eq!(
            broker.admitted(DEVICE, version, Some(&old), &new),
            Handshake::Full,
            "{version}"
        );
        assert_eq!(
            broker.admitted(DEVICE, version, Some(&new), &spare),
            Handshake::Resumed,
            "{version}"
        );
        broker.operate_on_retired_ca("InactivateCaCertificate");
    }
}

/// A device has a session of its own, and nobody else's changes anything about it.
#[test]
fn a_saved_session_resumes_only_while_its_device_stays_active() {
    if !found("openssl") {
        return;
    }
    let mut broker = Broker::start();
    for version in ["-tls1_2", "-tls1_3"] {
        let file = |name: &str| broker.file(&format!("{name}{version}"));
        let [old, new, others, spare] = ["old", "new", "others", "spare"].map(file);
        assert_eq!(broker.admitted(ONE, version, None, &old), Handshake::Full);
        assert_eq!(broker.admitted(ONE, version, Some(&old), &spare), Handshake::Resumed);
        assert_eq!(broker.admitted(TWO, version, None, &others), Handshake::Full);

        broker.operate_on_device("InactivateDeviceCertificate", ONE);
        broker.refused(ONE, version, &old);
        assert_eq!(broker.admitted(TWO, version, Some(&others), &spare), Handshake::Resumed);

        broker.operate_on_device("ActiveDeviceCertificate", ONE);
        assert_eq!(broker.admitted(ONE, version, Some(&old), &new), Handshake::Full);
        assert_eq!(broker.admitted(ONE, version, Some(&new), &spare), Handshake::Resumed);
        assert_eq!(broker.admitted(TWO, version, Some(&others), &spare), Handshake::Resumed);
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    Full,
    Resumed,
}

impl Broker {
    /// How a device comes in, with a saved session or without, saving the one that it is given.
    pub(crate) fn admitted(
        &self,
        device: &str,
        version: &str,
        with: Option<&Path>,
        save: &Path,
    ) -> Handshake {
        let mut options = vec![version, "-sess_out", save.to_str().unwrap()];
        if let Some(with) = with {
            options.extend(["-sess_in", with.to_str().unwrap()]);
        }
        let (status, text) = self.s_client_until(device, &options, || {
            // A TLS 1.3 server sends tickets behind the handshake, and only to whom it lets in. On
            // TLS 1.2 they are part of it, and what a resumed handshake brings is not saved.
            if version == "-tls1_3" {
                wait_until("a ticket to save", || is_complete(save));
            }
        });
        assert!(status.success(), "{version}\n{text}");
        match (text.contains("New, "), text.contains("Reused, ")) {
            (true, false) => Handshake::Full,
            (false, true) => Handshake::Resumed,
            _ => panic!("{version}: neither new nor reused\n{text}"),
        }
    }

    /// A device with a saved session is told, in a full handshake, that its CA is not known.
    pub(crate) fn refused(&self, device: &str, version: &str, with: &Path) {
        let options = [version, "-sess_in", with.to_str().unwrap()];
        let (status, text) = self.refused_s_client(Some(device), &options);
        assert_eq!(status.code(), Some(1), "{version}\n{text}");
        assert!(text.contains("SSL alert number 48"), "{version}: not unknown_ca\n{text}");
        assert!(!text.contains("Reused, "), "{version}\n{text}");
    }
}

/// Whether a session file is written to its end.
fn is_complete(session: &Path) -> bool {
    fs::read_to_string(session).is_ok_and(|text| text.contains("END SSL SESSION PARAMETERS"))
}

const DEVICE: &str = "retired-device";
const ONE: &str = "device-1";
const TWO: &str = "device-2";
