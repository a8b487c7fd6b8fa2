//! A device's certificate, as an operator registers it.

use std::fmt;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::SectionKind;

use super::fingerprint::Sha256;
use super::pem::{self, NotOnlyCertificates, PemError};

/// A device's certificate with the intermediates between it and a registered CA, if there are any.
///
/// Having the value proves nothing but its size: whether it is good is decided against the CA under
/// which it is registered.
#[derive(Clone)]
pub struct DeviceCertificate {
    chain: Vec<CertificateDer<'static>>,
}

impl DeviceCertificate {
    /// Reads a PEM text that holds the device's certificate first and its intermediates, if any, behind
    /// it in any order, and nothing else but text before each: at most 64 KiB, with 32 KiB of DER.
    ///
    /// # Errors
    ///
    /// Each fault has its own variant of [`DeviceCertificateError`].
    pub fn from_pem(text: &[u8]) -> Result<Self, DeviceCertificateError> {
        if text.len() > MAX_PEM {
            let length = text.len();
            return Err(DeviceCertificateError::TooLarge { length, limit: MAX_PEM });
        }
        Self::from_der(pem::certificates(text)?.into_iter().map(Into::into).collect())
    }

    /// Takes the DER of the device's certificate and behind it that of its intermediates, in any order.
    ///
    /// # Errors
    ///
    /// No certificate, or more than 32 KiB, which is what a handshake would look at.
    pub fn from_der(chain: Vec<CertificateDer<'static>>) -> Result<Self, DeviceCertificateError> {
        let length: usize = chain.iter().map(|der| der.len()).sum();
        if length > MAX_DER {
            return Err(DeviceCertificateError::TooLarge { length, limit: MAX_DER });
        }
        if chain.is_empty() { Err(DeviceCertificateError::Empty) } else { Ok(Self { chain }) }
    }

    /// The certificate, and behind it the intermediates.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

impl fmt::Debug for DeviceCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sha256 = self.chain.first().map(|der| Sha256::of(der));
        f.debug_struct("DeviceCertificate").field("sha256", &sha256).finish_non_exhaustive()
    }
}

/// Why bytes are no device's certificate that could be registered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceCertificateError {
    /// More bytes than a handshake would look at.
    #[error("the device's chain has {length} bytes, at most {limit} are looked at")]
    TooLarge {
        /// How many bytes were given.
        length: usize,
        /// How many there may be.
        limit: usize,
    },
    /// No certificate at all.
    #[error("there is no certificate")]
    Empty,
    /// The text is no PEM that is understood.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A private key beside the certificate: the device alone should have it.
    #[error("the PEM text holds a private key: register the certificate alone")]
    PrivateKey,
    /// A section that is not a certificate.
    #[error("the PEM text holds a section of kind {0:?}")]
    UnexpectedSection(SectionKind),
}

impl From<NotOnlyCertificates> for DeviceCertificateError {
    fn from(error: NotOnlyCertificates) -> Self {
        match error {
            NotOnlyCertificates::Pem(error) => Self::Pem(error),
            NotOnlyCertificates::PrivateKey => Self::PrivateKey,
            NotOnlyCertificates::Other(kind) => Self::UnexpectedSection(kind),
        }
    }
}

/// As much as a handshake looks at.
const MAX_DER: usize = 32 * 1024;
const MAX_PEM: usize = 2 * MAX_DER;
