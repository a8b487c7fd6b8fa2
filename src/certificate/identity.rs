//! What makes two certificates those of one CA.

use rustls_pki_types::{CertificateDer, TrustAnchor};

/// Which CA a certificate speaks for: subject and public key together.
///
/// Two certificates of one CA (a renewed one, a cross-signed one) have the same identity. Made in
/// one way only, from webpki's trust anchor form, since encodings of the same name and key differ
/// between libraries by their outer SEQUENCE, and an index asked with the other form stays silent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CaIdentity {
    subject: Box<[u8]>,
    public_key: Box<[u8]>,
}

impl CaIdentity {
    /// The identity in a certificate that somebody presents.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, webpki::Error> {
        webpki::anchor_from_trusted_cert(certificate).map(|anchor| Self::from_anchor(&anchor))
    }

    pub(super) fn from_anchor(anchor: &TrustAnchor<'_>) -> Self {
        Self {
            subject: anchor.subject.as_ref().into(),
            public_key: anchor.subject_public_key_info.as_ref().into(),
        }
    }

    pub(crate) fn subject(&self) -> &[u8] {
        &self.subject
    }

    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }
}
