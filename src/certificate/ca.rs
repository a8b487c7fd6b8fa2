//! A CA's certificate, as an operator registers it.

use std::fmt;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::EndEntityCert;
use x509_parser::certificate::{TbsCertificate, X509Certificate};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use super::ca_error::CaCertificateError;
use super::ca_extensions::Extensions;
use super::fingerprint::Sha256;
use super::identity::CaIdentity;
use super::pem;
use super::serial::SerialNumber;
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
    may_sign_lists: bool,
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
        let mut certificates = pem::certificates(text)?;
        let count = certificates.len();
        match certificates.pop() {
            Some(der) if count == 1 => Self::from_der(&der),
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
            may_sign_lists: extensions.may_sign_lists,
            constrains_other_names: extensions.constrains_other_names,
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

    /// Whether it may sign revocation lists.
    pub(crate) fn may_sign_lists(&self) -> bool {
        self.may_sign_lists
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

fn rsa_bits(certificate: &TbsCertificate<'_>) -> Option<usize> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => Some(key.key_size()),
        Ok(_) | Err(_) => None,
    }
}

const MAX_DER: usize = 0xffff;
const MAX_PEM: usize = 2 * MAX_DER;
