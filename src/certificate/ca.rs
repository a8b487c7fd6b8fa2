//! A CA's certificate, as an operator registers it.

use std::fmt;

use rustls_pki_types::pem::SectionKind;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::EndEntityCert;
use x509_parser::certificate::{TbsCertificate, X509Certificate};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Version;

use super::fingerprint::Sha256;
use super::identity::CaIdentity;
use super::pem::{self, PemError};
use super::serial::{SerialError, SerialNumber};
use super::validity::Validity;

/// One X.509 v3 certificate of a certificate authority, parsed once.
///
/// Having the value proves that the certificate may sign others (cA, keyCertSign), that every
/// critical extension in it is understood, and that it has a serial number and a subject. What
/// depends on the time and on the crypto provider (expiry, kind of key) is checked when it is
/// registered, and again where it matters, at each handshake.
#[derive(Clone)]
pub struct CaCertificate {
    der: CertificateDer<'static>,
    serial: SerialNumber,
    subject: Box<str>,
    identity: CaIdentity,
    /// As a trust anchor has it: the DER without the outer SEQUENCE.
    public_key: Box<[u8]>,
    name_constraints: Option<Box<[u8]>>,
    key_id: Option<Box<[u8]>>,
    rsa_bits: Option<usize>,
    path_length: Option<u32>,
    constrains_other_names: bool,
    validity: Validity,
    sha256: Sha256,
}

impl CaCertificate {
    /// Reads a PEM text that holds exactly one certificate and nothing else but text before it.
    ///
    /// # Errors
    ///
    /// Each fault has its own variant of [`CaCertificateError`].
    pub fn from_pem(text: &[u8]) -> Result<Self, CaCertificateError> {
        if text.len() > MAX_PEM {
            return Err(CaCertificateError::TooLarge { length: text.len(), limit: MAX_PEM });
        }
        let sections = pem::sections(text).map_err(|error| match error {
            PemError::LegacyEncryption => CaCertificateError::PrivateKey,
            other => CaCertificateError::Pem(other),
        })?;
        if !sections.encrypted_keys.is_empty() {
            return Err(CaCertificateError::PrivateKey);
        }
        let mut sections = sections.plain;
        let strangers = |(kind, _): &(SectionKind, Vec<u8>)| match kind {
            SectionKind::Certificate => None,
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                Some(CaCertificateError::PrivateKey)
            }
            _ => Some(CaCertificateError::UnexpectedSection(*kind)),
        };
        if let Some(error) = sections.iter().find_map(strangers) {
            return Err(error);
        }
        let count = sections.len();
        match sections.pop() {
            Some((_, der)) if count == 1 => Self::from_der(&der),
            _ => Err(CaCertificateError::SeveralCertificates(count)),
        }
    }

    /// Reads one DER certificate.
    ///
    /// # Errors
    ///
    /// Each fault has its own variant of [`CaCertificateError`].
    pub fn from_der(der: &[u8]) -> Result<Self, CaCertificateError> {
        if der.len() > MAX_DER {
            return Err(CaCertificateError::TooLarge { length: der.len(), limit: MAX_DER });
        }
        let (rest, x509) =
            X509Certificate::from_der(der).map_err(|_| CaCertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CaCertificateError::TrailingData);
        }
        let extensions = Extensions::of(&x509)?;
        let serial = SerialNumber::from_der_content(x509.raw_serial())?;
        if x509.subject().iter().next().is_none() {
            return Err(CaCertificateError::EmptySubject);
        }

        let owned = CertificateDer::from(der.to_vec());
        // The handshake reads it with webpki: what webpki cannot read is refused here.
        let certificate =
            EndEntityCert::try_from(&owned).map_err(|_| CaCertificateError::Malformed)?;
        let identity = CaIdentity::of(&certificate).ok_or(CaCertificateError::KeyEncoding)?;
        let anchor =
            webpki::anchor_from_trusted_cert(&owned).map_err(|_| CaCertificateError::Malformed)?;
        Ok(Self {
            serial,
            subject: x509.subject().to_string().into_boxed_str(),
            identity,
            public_key: anchor.subject_public_key_info.as_ref().into(),
            name_constraints: anchor.name_constraints.as_ref().map(|der| der.as_ref().into()),
            key_id: extensions.key_id,
            rsa_bits: rsa_bits(&x509),
            path_length: extensions.path_length,
            constrains_other_names: constrains_other_names(&x509)?,
            validity: Validity::of(&x509),
            sha256: Sha256::of(der),
            der: owned,
        })
    }

    /// The serial number, under which it is registered.
    pub fn serial(&self) -> &SerialNumber {
        &self.serial
    }

    /// The subject, as `CN=…, O=…`. Whoever made the certificate chose the text.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// From when until when it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The SHA-256 of its DER.
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// Its DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    pub(crate) fn identity(&self) -> &CaIdentity {
        &self.identity
    }

    /// The subject key identifier: a hint for ordering, which proves nothing.
    pub(crate) fn key_id(&self) -> Option<&[u8]> {
        self.key_id.as_deref()
    }

    /// How many intermediates may stand below it, where it says so.
    pub(crate) fn path_length(&self) -> Option<u32> {
        self.path_length
    }

    /// The size of its key, where that is an RSA key.
    pub(crate) fn rsa_bits(&self) -> Option<usize> {
        self.rsa_bits
    }

    /// Whether it constrains names of a kind that webpki does not compare, and therefore refuses.
    pub(crate) fn constrains_other_names(&self) -> bool {
        self.constrains_other_names
    }

    pub(crate) fn anchor(&self) -> TrustAnchor<'_> {
        TrustAnchor {
            subject: self.identity.subject().into(),
            subject_public_key_info: self.public_key.as_ref().into(),
            name_constraints: self.name_constraints.as_deref().map(Into::into),
        }
    }
}

impl fmt::Debug for CaCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaCertificate")
            .field("serial", &self.serial)
            .field("subject", &self.subject)
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

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

struct Extensions {
    key_id: Option<Box<[u8]>>,
    path_length: Option<u32>,
}

impl Extensions {
    fn of(certificate: &X509Certificate<'_>) -> Result<Self, CaCertificateError> {
        if certificate.version() != X509Version::V3 {
            return Err(CaCertificateError::Version(certificate.version().0.saturating_add(1)));
        }
        check_critical(certificate)?;
        // "the keyCertSign bit ... is asserted when the subject public key is used for verifying
        // signatures on public key certificates" (RFC 5280 section 4.2.1.3). Section 6.1.4 (n)
        // asks for it where a key usage is present.
        let usage = certificate.key_usage().map_err(|_| CaCertificateError::Malformed)?;
        let constraints =
            certificate.basic_constraints().map_err(|_| CaCertificateError::Malformed)?;
        let constraints = constraints.map(|extension| extension.value);
        let Some(constraints) = constraints.filter(|constraints| constraints.ca) else {
            return Err(CaCertificateError::NotACa);
        };
        if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(CaCertificateError::NoKeyCertSign);
        }
        // webpki asks this of an intermediate, and takes an anchor as it is.
        let purpose =
            certificate.extended_key_usage().map_err(|_| CaCertificateError::Malformed)?;
        if purpose.is_some_and(|purpose| !purpose.value.client_auth && !purpose.value.any) {
            return Err(CaCertificateError::NotForClientAuth);
        }
        Ok(Self {
            key_id: key_id(certificate).map(Into::into),
            path_length: constraints.path_len_constraint,
        })
    }
}

fn check_critical(certificate: &TbsCertificate<'_>) -> Result<(), CaCertificateError> {
    let unknown = certificate.extensions().iter().find(|extension| {
        let oid = extension.oid.to_id_string();
        extension.critical && !UNDERSTOOD.contains(&oid.as_str())
    });
    match unknown {
        None => Ok(()),
        Some(extension) => {
            Err(CaCertificateError::UnknownCriticalExtension(extension.oid.to_id_string()))
        }
    }
}

fn key_id<'a>(certificate: &'a TbsCertificate<'_>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

/// Name constraints on anything but DNS names and IP addresses.
fn constrains_other_names(certificate: &TbsCertificate<'_>) -> Result<bool, CaCertificateError> {
    let constraints = certificate.name_constraints().map_err(|_| CaCertificateError::Malformed)?;
    let constraints = constraints.map(|extension| extension.value);
    let subtrees = constraints.iter().flat_map(|constraints| {
        let both = [&constraints.permitted_subtrees, &constraints.excluded_subtrees];
        both.into_iter().flatten().flatten()
    });
    let supported = |name: &GeneralName<'_>| {
        matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_))
    };
    Ok(subtrees.into_iter().any(|subtree| !supported(&subtree.base)))
}

fn rsa_bits(certificate: &TbsCertificate<'_>) -> Option<usize> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => Some(key.key_size()),
        Ok(_) | Err(_) => None,
    }
}

/// The extensions that webpki acts on: key usage, subject alternative name, basic constraints,
/// name constraints, CRL distribution points, extended key usage.
const UNDERSTOOD: [&str; 6] =
    ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.37"];
const MAX_DER: usize = 0xffff;
const MAX_PEM: usize = 2 * MAX_DER;
