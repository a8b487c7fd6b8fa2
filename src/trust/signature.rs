//! Whether a key signed something, asked of the crypto provider.

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::SignatureVerificationAlgorithm;
use webpki::EndEntityCert;
use x509_parser::asn1_rs::{Any, Oid};
use x509_parser::prelude::FromDer;
use x509_parser::x509::AlgorithmIdentifier;

/// What is signed, and how.
pub(super) struct Signature<'a> {
    pub(super) message: &'a [u8],
    pub(super) algorithm: &'a AlgorithmIdentifier<'a>,
    pub(super) octets: &'a [u8],
}

/// What the provider says to a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignatureCheck {
    Good,
    Bad,
    /// The provider does not verify signatures by this algorithm, with whatever key.
    UnknownAlgorithm,
}

impl Signature<'_> {
    /// Whether the key in the certificate made it.
    pub(super) fn check(
        &self,
        key: &EndEntityCert<'_>,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> SignatureCheck {
        let is_good = |algorithm: &dyn SignatureVerificationAlgorithm| {
            key.verify_signature(algorithm, self.message, self.octets).is_ok()
        };
        let mut known =
            algorithms.all.iter().filter(|algorithm| self.is_by(**algorithm)).peekable();
        if known.peek().is_none() {
            return SignatureCheck::UnknownAlgorithm;
        }
        if known.any(|algorithm| is_good(*algorithm)) {
            SignatureCheck::Good
        } else {
            SignatureCheck::Bad
        }
    }

    fn is_by(&self, algorithm: &dyn SignatureVerificationAlgorithm) -> bool {
        let id = algorithm.signature_alg_id();
        Oid::from_der(&id).is_ok_and(|(parameters, oid)| {
            let parameters = Any::from_der(parameters).ok().map(|(_, any)| any);
            oid == self.algorithm.algorithm && parameters == self.algorithm.parameters
        })
    }
}
