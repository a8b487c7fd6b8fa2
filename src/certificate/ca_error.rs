//! What keeps bytes from being a CA certificate.

use rustls_pki_types::pem::SectionKind;

use super::pem::{NotOnlyCertificates, PemError};
use super::serial::SerialError;

/// Why bytes are no CA certificate that could be registered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CaCertificateError {
    /// More bytes than any certificate needs.
    #[error("the CA certificate has {length} bytes, at most {limit} are allowed")]
    TooLarge {
        /// How many bytes were given.
        length: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The text is no PEM that is understood.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A private key beside the certificate: it must not be handed to anyone.
    #[error("the PEM text holds a private key: register the certificate alone")]
    PrivateKey,
    /// A section that is not a certificate.
    #[error("the PEM text holds a section of kind {0:?}")]
    UnexpectedSection(SectionKind),
    /// More than one certificate.
    #[error("the PEM text holds {0} certificates: register each CA by itself")]
    SeveralCertificates(usize),
    /// Not DER, or not the DER of a certificate.
    #[error("the CA certificate is malformed")]
    Malformed,
    /// Bytes behind the certificate.
    #[error("something follows the CA certificate")]
    TrailingData,
    /// X.509 v1 or v2, which cannot say that it is a CA.
    #[error("the certificate is X.509 version {0}, a CA certificate is version 3")]
    Version(u32),
    /// A serial number that cannot be a key here.
    #[error("the CA certificate's serial number cannot be used")]
    Serial(#[from] SerialError),
    /// No subject: no certificate could name it as its issuer.
    #[error("the CA certificate has an empty subject")]
    EmptySubject,
    /// No basic constraints, or cA is false.
    #[error("the certificate is not a CA's: its basic constraints do not say cA")]
    NotACa,
    /// A key usage without keyCertSign.
    #[error("the certificate's key usage does not allow it to sign certificates")]
    NoKeyCertSign,
    /// An extended key usage without client authentication: it may not vouch for devices.
    #[error("the certificate's extended key usage does not allow client authentication")]
    NotForClientAuth,
    /// A public key that is malformed, or encoded in another way than usual (for an EC key: other
    /// than as an uncompressed point), by which it could not be told from other keys.
    #[error("the CA certificate's public key is malformed or in an unusual encoding")]
    KeyEncoding,
    /// A critical extension that a verifier would have to understand, by its object identifier.
    #[error("the CA certificate holds the critical extension {0}, which is not supported")]
    UnknownCriticalExtension(String),
}

impl From<NotOnlyCertificates> for CaCertificateError {
    fn from(error: NotOnlyCertificates) -> Self {
        match error {
            NotOnlyCertificates::Pem(error) => Self::Pem(error),
            NotOnlyCertificates::PrivateKey => Self::PrivateKey,
            NotOnlyCertificates::Other(kind) => Self::UnexpectedSection(kind),
        }
    }
}
