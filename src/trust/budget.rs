//! A limit on the signature checks that one handshake may cost.

use std::sync::atomic::{AtomicU32, Ordering};

use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

/// The certificate-signature checks of one handshake, counted as they are asked for.
///
/// webpki's own limit of 100 checks a call holds for one anchor and costs milliseconds; this one
/// holds over all anchors that are tried. Six intermediates whose names alternate cost 82 checks
/// without it.
#[derive(Debug)]
pub(super) struct Budget {
    asked: AtomicU32,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { asked: AtomicU32::new(0) }
    }

    /// Whether a check was refused because none was left.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > MAX_CHECKS
    }

    /// How many checks were computed.
    pub(super) fn spent(&self) -> u32 {
        self.asked.load(Ordering::Relaxed).min(MAX_CHECKS)
    }

    /// The algorithms, each counting against this budget.
    pub(super) fn meter<'a>(
        &'a self,
        algorithms: &'a [&'static dyn SignatureVerificationAlgorithm],
    ) -> Vec<Metered<'a>> {
        algorithms.iter().map(|inner| Metered { inner: *inner, budget: self }).collect()
    }

    fn spend(&self) -> Result<(), InvalidSignature> {
        let before = self.asked.fetch_add(1, Ordering::Relaxed);
        if before < MAX_CHECKS { Ok(()) } else { Err(InvalidSignature) }
    }
}

/// A signature algorithm that refuses without computing once the budget is spent.
#[derive(Debug)]
pub(super) struct Metered<'a> {
    inner: &'static dyn SignatureVerificationAlgorithm,
    budget: &'a Budget,
}

impl SignatureVerificationAlgorithm for Metered<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        self.budget.spend()?;
        self.inner.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.inner.fips()
    }
}

/// One path needs one check for each of its certificates but the anchor, so at most nine here; the
/// rest is room for candidates that share a name.
const MAX_CHECKS: u32 = 16;
