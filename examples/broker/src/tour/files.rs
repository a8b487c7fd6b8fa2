//! What the tour's client holds: PEM files and nothing of the broker's memory.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

/// SHA-256 of a certificate's DER, taken by the tour itself: from a file on one side, from the
/// wire on the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// Of the first certificate in a PEM file.
    pub(super) fn of_file(path: &Path) -> Result<Self> {
        let first = CertificateDer::from_pem_file(path);
        Ok(Self::of(&first.with_context(|| format!("no certificate in {}", path.display()))?))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The certificates in a PEM file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .with_context(|| format!("no certificates in {}", path.display()))
}

/// The private key in a PEM file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| format!("no key in {}", path.display()))
}
