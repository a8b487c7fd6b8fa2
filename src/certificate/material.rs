//! A chain and its private key as bytes, before a provider has made a signing key of them.

use std::fmt;

use rustls_pki_types::pem::SectionKind;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::encrypted_key::EncryptedKeyError;
use super::fingerprint::Sha256;
use super::password::Password;
use super::pem::{self, PemError};

/// What a [`CertificateSource`](super::CertificateSource) hands out: a certificate chain, the end
/// entity first, and the end entity's private key. Nothing is checked yet but the outer form.
///
/// `Debug` does not show the key, and dropping wipes it.
pub struct CertificateMaterial {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: Zeroizing<PrivateKeyDer<'static>>,
}

impl CertificateMaterial {
    /// Reads a chain (end entity first) and one private key (PKCS#8, also encrypted, PKCS#1 or
    /// SEC 1), in one PEM text, the key before, between or after the certificates.
    ///
    /// # Errors
    ///
    /// When the text is not such a PEM, when the key is encrypted and `password` is missing or does
    /// not open it, and when a password is given for a key that is not encrypted.
    ///
    /// Opening an encrypted key is slow on purpose: up to about a second.
    pub fn from_pem(text: &[u8], password: Option<&Password>) -> Result<Self, MaterialError> {
        let sections = pem::sections(text).map_err(|error| match is_pkcs12(text) {
            true => MaterialError::Pkcs12,
            false => error.into(),
        })?;
        let mut chain = Vec::new();
        let mut keys = Vec::new();
        for (kind, mut der) in sections.plain {
            let mut der = || std::mem::take(&mut *der);
            let key = match kind {
                SectionKind::Certificate => {
                    chain.push(CertificateDer::from(der()));
                    continue;
                }
                SectionKind::PrivateKey => PrivateKeyDer::Pkcs8(der().into()),
                SectionKind::RsaPrivateKey => PrivateKeyDer::Pkcs1(der().into()),
                SectionKind::EcPrivateKey => PrivateKeyDer::Sec1(der().into()),
                _ => return Err(MaterialError::UnexpectedSection(kind)),
            };
            keys.push(Zeroizing::new(key));
        }
        let count = keys.len() + sections.encrypted_keys.len();
        if count > 1 {
            return Err(MaterialError::SeveralKeys(count));
        }
        let key = match (keys.pop(), sections.encrypted_keys.first(), password) {
            (Some(key), _, None) => key,
            (Some(_), _, Some(_)) => return Err(MaterialError::PasswordForPlainKey),
            (None, Some(key), Some(password)) => key.open(password)?,
            (None, Some(_), None) => return Err(EncryptedKeyError::NoPassword.into()),
            (None, None, _) => return Err(MaterialError::NoKey),
        };
        if chain.is_empty() {
            return Err(MaterialError::NoCertificate);
        }
        Ok(Self { chain, key })
    }

    /// Takes a chain (end entity first) and its key as they are.
    ///
    /// # Errors
    ///
    /// When the chain is empty.
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, MaterialError> {
        if chain.is_empty() {
            return Err(MaterialError::NoCertificate);
        }
        Ok(Self { chain, key: Zeroizing::new(key) })
    }
}

impl CertificateMaterial {
    /// The SHA-256 of chain and key, by which two materials are the same. Never shown.
    pub(crate) fn content(&self) -> Sha256 {
        let key: &[u8] = self.key.secret_der();
        let parts = self.chain.iter().map(|der| &**der);
        Sha256::of_all(&parts.chain([key]).collect::<Vec<_>>())
    }
}

impl Clone for CertificateMaterial {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: Zeroizing::new(self.key.clone_key()) }
    }
}

impl fmt::Debug for CertificateMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateMaterial")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// Why bytes are no chain with its key.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MaterialError {
    /// The text is no PEM that is understood.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The private key is encrypted and was not opened.
    #[error(transparent)]
    EncryptedKey(#[from] EncryptedKeyError),
    /// A PKCS#12 file (`.p12`, `.pfx`).
    #[error(
        "this is a PKCS#12 file: convert it with `openssl pkcs12 -in old.p12 -out new.pem -nodes`, \
         or without -nodes to keep the key encrypted"
    )]
    Pkcs12,
    /// A section that is neither a certificate nor a private key.
    #[error("the PEM text holds a section of kind {0:?} beside certificates and key")]
    UnexpectedSection(SectionKind),
    /// No certificate.
    #[error("there is no certificate")]
    NoCertificate,
    /// No private key.
    #[error("there is no private key")]
    NoKey,
    /// More than one private key.
    #[error("there are {0} private keys, there must be one")]
    SeveralKeys(usize),
    /// A password was given, and the key is not encrypted.
    #[error("a password was given, but the private key is not encrypted: leave the password out")]
    PasswordForPlainKey,
}

/// Whether what is no PEM looks like a PKCS#12 file: a DER SEQUENCE that begins with version 3
/// ([RFC 7292 section 4](https://www.rfc-editor.org/rfc/rfc7292#section-4)). Only for a better error:
/// it is refused either way.
fn is_pkcs12(text: &[u8]) -> bool {
    const SEQUENCE: u8 = 0x30;
    const VERSION_3: &[u8] = &[0x02, 0x01, 0x03];
    let head = text.get(..text.len().min(8)).unwrap_or_default();
    head.first() == Some(&SEQUENCE) && head.windows(VERSION_3.len()).any(|bytes| bytes == VERSION_3)
}
