//! A panic in a handshake costs one connection and nothing else.

use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use mqtls::instance::Outcome;
use mqtls::{CaStatus, ClientAuth, Refused};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use tracing::Level;

use crate::listener::Tally;
use crate::support::{Door, Log, TestCa, VERSIONS, client, provider};

/// The chain's signature, then the one with which the client proves that it holds the key.
const CHECKS: [u32; 2] = [1, 2];

#[tokio::test(start_paused = true)]
async fn c04_a_panic_in_a_handshake_costs_that_connection_only() {
    for version in VERSIONS {
        let mut door = Door::unconfigured(ClientAuth::Required, panicking_provider());
        door.put("default", &door.server_ca.server(&["localhost"]));
        door.set_sni("default", "").unwrap();
        // One place of each kind: had it not come back, nobody could come in after.
        door.acceptor = door.acceptor.clone().hellos(1).permits(1).waiting(0);
        let ca = TestCa::root("fleet");
        door.register(&ca, CaStatus::Active).unwrap();
        let device = ca.device("device-1");
        let mut tally = Tally::of(&door);
        let log = Log::start();
        for check in CHECKS {
            door.knock(Some(&device), version).await.admitted().await;
            tally.expect(Outcome::Admitted);

            PANICS_AT.set(Some(check));
            let visit = door.visit(client(Some(&device), version), "localhost").await;
            assert_eq!(PANICS_AT.take(), None, "it has panicked");
            assert!(matches!(visit.server.unwrap_err(), Refused::Panicked));
            assert_eq!(visit.client.unwrap_err(), None, "closed without an alert");
            tally.expect(Outcome::Panicked);
        }
        door.knock(Some(&device), version).await.admitted().await;
        tally.expect(Outcome::Admitted);
        let drained = door.acceptor.drain(std::time::Duration::ZERO).await;
        assert_eq!((drained.finished, drained.cut), (0, 0), "nothing counts as under way");
        for logged in log.so_far() {
            assert!(logged.level >= Level::DEBUG, "{logged:?}");
            assert!(!logged.text.contains("injected"), "{logged:?}");
        }
    }
}

thread_local! {
    /// At which of the next signature checks on this thread to panic.
    static PANICS_AT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The usual provider, but for its P-256 signature checks, which panic when they are told to.
fn panicking_provider() -> Arc<CryptoProvider> {
    static PANICS: LazyLock<&Panics> = LazyLock::new(|| {
        let all = provider().signature_verification_algorithms.all;
        let p256 = |known: &&&dyn SignatureVerificationAlgorithm| {
            known.signature_alg_id() == alg_id::ECDSA_SHA256
                && known.public_key_alg_id() == alg_id::ECDSA_P256
        };
        Box::leak(Box::new(Panics(*all.iter().find(p256).unwrap())))
    });
    let panics: &'static [&'static dyn SignatureVerificationAlgorithm] =
        Box::leak(Box::new([*PANICS as &dyn SignatureVerificationAlgorithm]));
    let scheme = rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
    let algorithms =
        WebPkiSupportedAlgorithms { all: panics, mapping: Box::leak(Box::new([(scheme, panics)])) };
    Arc::new(CryptoProvider {
        signature_verification_algorithms: algorithms,
        ..provider().as_ref().clone()
    })
}

#[derive(Debug)]
struct Panics(&'static dyn SignatureVerificationAlgorithm);

impl SignatureVerificationAlgorithm for Panics {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0.signature_alg_id()
    }

    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        match PANICS_AT.get() {
            Some(1) => {
                PANICS_AT.set(None);
                panic!("injected");
            }
            left => PANICS_AT.set(left.map(|left| left - 1)),
        }
        self.0.verify_signature(public_key, message, signature)
    }
}
