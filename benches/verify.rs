//! What does it cost to decide about a device's chain, beside one bare verification of it?
//!
//! **Timed** is what rustls asks of a verifier in a handshake: `verify_client_cert` of an
//! instance's `DeviceVerifier`, from the chain as it was sent to the verdict, with all that it
//! keeps of the device.
//!
//! **The baseline** is the least that anyone can do, and it has been told which CA is the right
//! one: webpki reads the end entity's DER and verifies it once, with exactly that anchor and the
//! same algorithms. It keeps nothing, and knows neither states nor other CAs.
//!
//! The cases: how many CAs are registered (P-256, active, each with a name and key of its own),
//! with a device that one of them issued; then through an intermediate that the device sends along;
//! then a device of nobody's, where the baseline holds one anchor that is not its issuer's.
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use std::time::Duration;

use mqtls::CaStatus;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use side_by_side::{Contenders, SideBySide, whole};
use support::{Door, Identity, NOW, TestCa, provider};
use webpki::{EndEntityCert, KeyUsage};

mod side_by_side;
#[expect(clippy::panic, clippy::indexing_slicing, reason = "written for tests")]
#[path = "../tests/api/support.rs"]
mod support;

fn main() {
    let mut benches = SideBySide::from_args("verify");
    for size in [1, 10_000] {
        benches.compare(size, SLICE, || {
            let fleet = Fleet::of(size);
            let device = fleet.ca.device("device");
            contenders(fleet, device, true)
        });
    }
    benches.compare("10000-intermediate", SLICE, || {
        let fleet = Fleet::of(10_000);
        let intermediate = fleet.ca.child("intermediate");
        let device = intermediate.device("device").with_chain(&[&intermediate]);
        contenders(fleet, device, true)
    });
    benches.compare("10000-unknown-issuer", CHEAP_SLICE, || {
        contenders(Fleet::of(10_000), TestCa::root("nobody").device("device"), false)
    });
    benches.finish();
}

/// An instance with registered CAs.
struct Fleet {
    door: Door,
    /// The one among them whose devices come.
    ca: TestCa,
}

impl Fleet {
    fn of(size: usize) -> Self {
        let door = Door::open();
        let ca = TestCa::root("fleet CA");
        door.register(&ca, CaStatus::Active).unwrap();
        for number in 1..size {
            let other = TestCa::root(&format!("fleet CA {number}"));
            door.register(&other, CaStatus::Active).unwrap();
        }
        Self { door, ca }
    }
}

/// Both decide about the chain, and both as they should.
fn contenders(
    fleet: Fleet,
    device: Identity,
    believed: bool,
) -> Contenders<impl FnMut(u64) -> Duration, impl FnMut(u64) -> Duration> {
    let verifier = fleet.door.instance.verifier();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    let ca = fleet.ca.der;
    let chain = device.chain;
    let sent = chain.clone();
    Contenders {
        mqtls: whole(move || {
            let (end_entity, intermediates) = sent.split_first().unwrap();
            let verdict = verifier.verify_client_cert(end_entity, intermediates, now);
            assert_eq!(verdict.is_ok(), believed);
            verdict
        }),
        baseline: {
            let anchors = [webpki::anchor_from_trusted_cert(&ca).unwrap().to_owned()];
            let algorithms = provider().signature_verification_algorithms.all;
            whole(move || {
                let (end_entity, intermediates): (&CertificateDer<'_>, _) =
                    chain.split_first().unwrap();
                let usage = KeyUsage::client_auth();
                let device = EndEntityCert::try_from(end_entity).unwrap();
                let verified = device.verify_for_usage(
                    algorithms,
                    &anchors,
                    intermediates,
                    now,
                    usage,
                    None,
                    None,
                );
                assert_eq!(verified.is_ok(), believed);
            })
        },
    }
}

/// About half a millisecond.
const SLICE: u64 = 8;
/// The same for a refusal without a signature check.
const CHEAP_SLICE: u64 = 256;
