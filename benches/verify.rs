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
//! **The cases**: how many CAs are registered (P-256, active, each with a name and key of its own),
//! with a device that one of them issued; then through an intermediate that the device sends along;
//! then a device of nobody's, which is held to a time, and where the baseline holds one anchor that
//! is not its issuer's. `one-subject` are that many CAs of one name, which only the key identifier
//! in the device's certificate tells apart.
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use std::cell::LazyCell;
use std::process::ExitCode;
use std::time::Duration;

use fleet::Fleet;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use side_by_side::{Bar, Contenders, SideBySide, Terms, whole};
use support::{Identity, NOW, TestCa, provider};
use webpki::{EndEntityCert, KeyUsage};

mod fleet;
mod side_by_side;
#[expect(clippy::panic, clippy::indexing_slicing, reason = "written for tests")]
#[path = "../tests/api/support.rs"]
mod support;

fn main() -> ExitCode {
    let mut benches = SideBySide::from_args("verify");
    for size in [1, 100, 10_000, 100_000] {
        let fleet = LazyCell::new(|| Fleet::of(size));
        benches.compare(size, BELIEVED, || contenders(&fleet, fleet.ca.device("device"), true));
        benches.compare(format!("{size}-intermediate"), BELIEVED, || {
            let intermediate = fleet.ca.child("intermediate");
            let device = intermediate.device("device").with_chain(&[&intermediate]);
            contenders(&fleet, device, true)
        });
        benches.compare(format!("{size}-unknown-issuer"), UNKNOWN, || {
            contenders(&fleet, TestCa::root("nobody").device("device"), false)
        });
    }
    for size in [1_000, 5_000] {
        benches.compare(format!("{size}-one-subject"), ONE_SUBJECT, || {
            let fleet = Fleet::of_one_subject(size);
            contenders(&fleet, fleet.ca.device("device"), true)
        });
    }
    benches.finish()
}

/// Both decide about the chain, and both as they should.
fn contenders(
    fleet: &Fleet,
    device: Identity,
    believed: bool,
) -> Contenders<impl FnMut(u64) -> Duration + use<>, impl FnMut(u64) -> Duration + use<>> {
    let verifier = fleet.door.instance.verifier();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    let ca = fleet.ca.der.clone();
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

/// Slices of about half a millisecond.
const BELIEVED: Terms = Terms::new(8, Bar::Ratio(1.05));
const ONE_SUBJECT: Terms = Terms::new(8, Bar::Ratio(1.10));
/// Refused without a signature check.
const UNKNOWN: Terms = Terms::new(256, Bar::Time(Duration::from_micros(2)));
