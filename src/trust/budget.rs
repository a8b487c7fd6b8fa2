//! Limits on the work that one handshake may cost.

use std::sync::atomic::{AtomicU32, Ordering};

use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use webpki::{ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage};

use super::refusal::Refusal;

/// The certificate-signature checks of one handshake and the steps of its search, counted as they
/// are asked for.
///
/// webpki's own limit of 100 checks a call holds for one anchor and costs milliseconds; these hold
/// over all anchors that are tried. Without them six intermediates whose names alternate cost 82
/// checks, and eight that lead nowhere 400 steps without a single check, each of which reads all
/// intermediates anew.
#[derive(Debug, Default)]
pub(super) struct Budget {
    checks: AtomicU32,
    steps: AtomicU32,
}

impl Budget {
    /// What a search is refused with that asked for more than there was.
    pub(super) fn overdrawn(&self) -> Option<Refusal> {
        if self.checks.load(Ordering::Relaxed) > MAX_CHECKS {
            return Some(Refusal::TooManySignatureChecks);
        }
        (self.steps.load(Ordering::Relaxed) > MAX_STEPS).then_some(Refusal::SearchTooLong)
    }

    /// How many checks were computed.
    pub(super) fn spent(&self) -> u32 {
        self.checks.load(Ordering::Relaxed).min(MAX_CHECKS)
    }

    /// The algorithms, each counting against this budget.
    pub(super) fn meter<'a>(
        &'a self,
        algorithms: &'a [&'static dyn SignatureVerificationAlgorithm],
    ) -> Vec<Metered<'a>> {
        algorithms.iter().map(|inner| Metered { inner: *inner, budget: self }).collect()
    }

    /// Client authentication as the usage of a path, each step counting against this budget.
    pub(super) fn client_auth(&self) -> MeteredUsage<'_> {
        MeteredUsage(self)
    }

    fn spend(&self) -> Result<(), InvalidSignature> {
        let before = self.checks.fetch_add(1, Ordering::Relaxed);
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

/// Asked by webpki at each certificate that it comes to in its search, and so the place to stop it:
/// the error ends the whole search, where that of a signature ends one branch of it.
#[derive(Debug)]
pub(super) struct MeteredUsage<'a>(&'a Budget);

impl ExtendedKeyUsageValidator for MeteredUsage<'_> {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        self.0.steps.fetch_add(1, Ordering::Relaxed);
        if self.0.overdrawn().is_some() {
            return Err(webpki::Error::MaximumPathBuildCallsExceeded);
        }
        KeyUsage::client_auth().validate(purposes)
    }
}

/// One path needs one check for each of its certificates but the anchor, so at most seven; the
/// rest is room for candidates that share a name.
const MAX_CHECKS: u32 = 16;
/// One path takes a step for each of its certificates but the anchor, so at most seven; the rest is
/// room for candidates that share a name, and for cross-signed ones.
const MAX_STEPS: u32 = 48;
