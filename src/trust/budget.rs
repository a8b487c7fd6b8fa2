//! Limits on the work that one handshake may cost.

use std::sync::atomic::{AtomicU32, Ordering};

use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use webpki::{ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage};
use x509_parser::asn1_rs::{Oid, oid};

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
    /// What a step costs beyond one.
    surcharge: AtomicU32,
}

impl Budget {
    /// Makes the steps of a search dearer that has so many bytes of intermediates: each step reads
    /// them all.
    pub(super) fn charge_for(&self, bytes: usize) {
        let surcharge = u32::try_from(bytes / BYTES_PER_STEP).unwrap_or(MAX_STEPS);
        self.surcharge.store(surcharge, Ordering::Relaxed);
    }

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
        let cost = self.0.surcharge.load(Ordering::Relaxed).saturating_add(1);
        self.0.steps.fetch_add(cost, Ordering::Relaxed);
        if self.0.overdrawn().is_some() {
            return Err(webpki::Error::MaximumPathBuildCallsExceeded);
        }
        check_purposes(purposes)
    }
}

/// As webpki's own check, which copies every purpose of a certificate that lacks the one: there is
/// room for ten thousand, and each candidate would be asked about them again.
fn check_purposes(purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
    let mut purposes = purposes.take(MAX_PURPOSES).peekable();
    // "If the extension is present, then the certificate MUST only be used for one of the purposes
    // indicated" (RFC 5280 section 4.2.1.12).
    if purposes.peek().is_none() {
        return Ok(());
    }
    for purpose in purposes {
        if purpose? == KeyPurposeId::new(CLIENT_AUTH.as_bytes()) {
            return Ok(());
        }
    }
    let (required, present) = (KeyUsage::client_auth(), vec![]);
    let nothing_of_the_clients = webpki::RequiredEkuNotFoundContext { required, present };
    Err(webpki::Error::RequiredEkuNotFoundContext(nothing_of_the_clients))
}

/// One path needs one check for each of its certificates but the anchor, so at most seven; the
/// rest is room for candidates that share a name.
const MAX_CHECKS: u32 = 16;
/// One path takes a step for each of its certificates but the anchor, so at most seven; the rest is
/// room for candidates that share a name, and for cross-signed ones.
const MAX_STEPS: u32 = 48;
/// A chain of usual intermediates costs a step each; at the limit of 32 KiB it costs four.
const BYTES_PER_STEP: usize = 8 * 1024;
/// How many purposes of a certificate are looked at.
const MAX_PURPOSES: usize = 32;
/// id-kp-clientAuth (RFC 5280 section 4.2.1.12).
const CLIENT_AUTH: Oid<'static> = oid!(1.3.6.1.5.5.7.3.2);
