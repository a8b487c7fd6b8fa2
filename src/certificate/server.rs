//! A server certificate that is ready to be shown.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::chain::{self, ChainFinding};
use super::fingerprint::Sha256;
use super::material::CertificateMaterial;
use super::validity::Validity;
use crate::name::NamePattern;

/// A certificate chain with its signing key, and the facts about it that decide when it may be
/// shown. Shared by every name that maps to it.
///
/// Having the value proves that the key belongs to the chain's first certificate. What it does
/// not prove: that the chain leads to a root which clients trust.
pub struct ServerCertificate {
    certified_key: Arc<CertifiedKey>,
    key_type: KeyType,
    schemes: Box<[SignatureScheme]>,
    names: Box<[NamePattern]>,
    validity: Validity,
    sha256: Sha256,
    chain_sha256: Sha256,
    /// Nearly always none.
    chain_findings: Box<[ChainFinding]>,
    /// How many tables' graveyards hold it: see `retire`.
    retired: AtomicUsize,
}

impl ServerCertificate {
    /// Makes a signing key of the material with `provider` and checks that it fits the chain.
    ///
    /// # Errors
    ///
    /// When a certificate cannot be read, when the provider cannot use the key, and when the key
    /// is another certificate's.
    pub fn new(
        material: &CertificateMaterial,
        provider: &CryptoProvider,
    ) -> Result<Self, ServerCertificateError> {
        let parsed = (1..).zip(&material.chain).map(|(position, certificate)| {
            parse(certificate).ok_or(ServerCertificateError::Malformed { position })
        });
        let chain = parsed.collect::<Result<Vec<_>, _>>()?;
        let x509 = chain.first().ok_or(ServerCertificateError::Malformed { position: 1 })?;
        let key = provider
            .key_provider
            .load_private_key(material.key.clone_key())
            .map_err(|_| ServerCertificateError::UnusableKey)?;
        let schemes = schemes_of(key.as_ref());
        if schemes.is_empty() {
            return Err(ServerCertificateError::UnusableKey);
        }
        let key_type = KeyType::of(key.as_ref());
        let certified_key = CertifiedKey::new(material.chain.clone(), key);
        certified_key.keys_match().map_err(|error| match error {
            Error::InconsistentKeys(_) => ServerCertificateError::OtherKey,
            _ => ServerCertificateError::Malformed { position: 1 },
        })?;
        Ok(Self {
            key_type,
            schemes,
            names: names_of(x509),
            validity: Validity::of(x509),
            sha256: Sha256::of(x509.as_raw()),
            chain_sha256: Sha256::of_all(&material.chain),
            chain_findings: chain::inspect(&chain),
            retired: AtomicUsize::new(0),
            certified_key: Arc::new(certified_key),
        })
    }

    /// The kind of key, by which two certificates may stand for one name.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The DNS names in its subject alternative name extension.
    pub fn names(&self) -> &[NamePattern] {
        &self.names
    }

    /// From when until when its end entity certificate is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The SHA-256 of its end entity certificate.
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// What is to look at in its chain, in the order of the chain.
    pub fn chain_findings(&self) -> &[ChainFinding] {
        &self.chain_findings
    }

    /// The chain and key in the form that rustls takes from a resolver.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified_key
    }

    /// Whether one of its names covers everything that `pattern` covers.
    pub fn is_for(&self, pattern: &NamePattern) -> bool {
        self.names.iter().any(|name| match pattern {
            NamePattern::Exact(host) => name.covers(host),
            NamePattern::Wildcard(_) => name == pattern,
        })
    }

    /// The signature schemes that its key can sign with.
    pub(crate) fn schemes(&self) -> &[SignatureScheme] {
        &self.schemes
    }

    /// Whether showing `other` instead would change nothing that a client can see: the same
    /// chain. Only one key fits a chain.
    pub(crate) fn same_chain(&self, other: &Self) -> bool {
        self.chain_sha256 == other.chain_sha256
    }

    /// Called by whoever takes a reference only to let go of it once nobody else has one.
    pub(crate) fn retire(&self) {
        self.retired.fetch_add(1, Ordering::SeqCst);
    }

    /// Called with that reference, before it is let go of.
    pub(crate) fn unretire(&self) {
        self.retired.fetch_sub(1, Ordering::SeqCst);
    }

    /// How many hold such a reference.
    pub(crate) fn retirements(&self) -> usize {
        self.retired.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("key_type", &self.key_type)
            .field("names", &self.names)
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

/// The kind of a certificate's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeyType {
    /// RSA.
    Rsa,
    /// ECDSA on any curve.
    Ecdsa,
    /// Ed25519 or Ed448.
    EdDsa,
    /// Anything else that the provider can sign with.
    Other,
}

impl KeyType {
    fn of(key: &dyn SigningKey) -> Self {
        match key.algorithm() {
            SignatureAlgorithm::RSA => Self::Rsa,
            SignatureAlgorithm::ECDSA => Self::Ecdsa,
            SignatureAlgorithm::ED25519 | SignatureAlgorithm::ED448 => Self::EdDsa,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa => "RSA",
            Self::Ecdsa => "ECDSA",
            Self::EdDsa => "EdDSA",
            Self::Other => "other",
        })
    }
}

/// Why a chain and a key cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerCertificateError {
    /// A certificate of the chain is no X.509 certificate, or has bytes behind it.
    #[error("certificate {position} of the chain is malformed")]
    Malformed {
        /// Which one, counted from 1, the end entity.
        position: usize,
    },
    /// The provider does not read the key, or cannot sign with it.
    #[error("the private key is malformed or of a kind that the crypto provider cannot use")]
    UnusableKey,
    /// The key is not the one in the end entity certificate.
    #[error("the private key does not belong to the chain's first certificate")]
    OtherKey,
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, x509)| x509)
}

fn names_of(certificate: &X509Certificate<'_>) -> Box<[NamePattern]> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative.iter().flat_map(|extension| &extension.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(text) => text.parse().ok(),
            _ => None,
        })
        .collect()
}

fn schemes_of(key: &dyn SigningKey) -> Box<[SignatureScheme]> {
    SIGNATURE_SCHEMES.into_iter().filter(|&scheme| key.choose_scheme(&[scheme]).is_some()).collect()
}

/// Every scheme that a key might sign with; the key itself is asked which.
pub(crate) const SIGNATURE_SCHEMES: [SignatureScheme; 14] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::ED448,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::ML_DSA_44,
    SignatureScheme::ML_DSA_65,
    SignatureScheme::ML_DSA_87,
];
