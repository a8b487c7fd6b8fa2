//! What a device's certificate says about it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, SubjectAlternativeName};
use x509_parser::nom::Parser;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::authority::Authority;
use super::refusal::Refusal;
use crate::certificate::{SerialNumber, Sha256, Validity};

/// The identity of a device, from the certificate whose key it has proven to hold. Cheap to clone.
///
/// Every text in it was chosen by whoever made the certificate: escape it before it reaches a log
/// line, a topic or a path. A common name is unique for its CA at most: tell devices apart by
/// [`ca_serial`](Self::ca_serial) with [`serial`](Self::serial), or by [`sha256`](Self::sha256).
#[derive(Clone)]
pub struct Device(Arc<Known>);

struct Known {
    /// Made when somebody first asks: it costs more than all else that a resumed handshake adds.
    sha256: OnceLock<Sha256>,
    authority: Arc<Authority>,
    /// Its DER, shared with the device's record.
    certificate: Arc<[u8]>,
    /// Read when the certificate is verified. In a resumed handshake it is not, and few brokers ask
    /// for more than they know of a device that comes back.
    facts: OnceLock<Box<Facts>>,
}

/// What is read in the certificate.
struct Facts {
    /// The subject's DER, and its text once somebody asks for it: few do, and making it costs a
    /// tenth of all that is read here.
    subject: (Box<[u8]>, OnceLock<String>),
    common_name: Option<String>,
    subject_alt_names: Vec<SubjectAltName>,
    serial: SerialNumber,
    validity: Validity,
    /// Where in the certificate that stands which its issuer has signed.
    signed: Range<usize>,
}

impl Device {
    pub(super) fn read(
        der: &CertificateDer<'_>,
        authority: &Arc<Authority>,
    ) -> Result<Self, Refusal> {
        let facts = Box::new(Facts::read(der).ok_or(Refusal::Unreadable)?).into();
        Ok(Self::new(der.as_ref().into(), authority, facts))
    }

    /// The device with this certificate, which was read in an earlier handshake.
    pub(super) fn remembered(certificate: Arc<[u8]>, authority: &Arc<Authority>) -> Self {
        Self::new(certificate, authority, OnceLock::new())
    }

    fn new(
        certificate: Arc<[u8]>,
        authority: &Arc<Authority>,
        facts: OnceLock<Box<Facts>>,
    ) -> Self {
        let (sha256, authority) = (OnceLock::new(), Arc::clone(authority));
        Self(Arc::new(Known { sha256, authority, certificate, facts }))
    }

    fn facts(&self) -> &Facts {
        // Never none: the same certificate was read once already.
        let read = || Facts::read(&self.0.certificate).unwrap_or_else(Facts::none);
        self.0.facts.get_or_init(|| Box::new(read()))
    }

    /// The subject, as `CN=…, O=…`.
    pub fn subject(&self) -> &str {
        let (der, text) = &self.facts().subject;
        // Never the default: it was read once already.
        let read = || X509Name::from_der(der).map(|(_, name)| name.to_string());
        text.get_or_init(|| read().unwrap_or_default())
    }

    /// The common name, where the subject has exactly one.
    pub fn common_name(&self) -> Option<&str> {
        self.facts().common_name.as_deref()
    }

    /// The subject alternative names of the kinds that [`SubjectAltName`] knows.
    pub fn subject_alt_names(&self) -> &[SubjectAltName] {
        &self.facts().subject_alt_names
    }

    /// The certificate's serial number, unique for its issuer only.
    pub fn serial(&self) -> &SerialNumber {
        &self.facts().serial
    }

    /// From when until when the certificate is valid.
    pub fn validity(&self) -> Validity {
        self.facts().validity
    }

    /// The SHA-256 of the certificate.
    pub fn sha256(&self) -> Sha256 {
        *self.0.sha256.get_or_init(|| Sha256::of(&self.0.certificate))
    }

    /// The certificate's DER.
    pub(crate) fn certificate(&self) -> &Arc<[u8]> {
        &self.0.certificate
    }

    /// What the issuer has signed of it. All of it, where that cannot be told.
    pub(super) fn signed_part(&self) -> &[u8] {
        let certificate = &self.0.certificate;
        certificate.get(self.facts().signed.clone()).unwrap_or(certificate)
    }

    /// The serial number of the registered CA that admitted the device: the one nearest to it,
    /// which is not the certificate's own issuer where unregistered intermediates lie between.
    pub fn ca_serial(&self) -> &SerialNumber {
        self.0.authority.certificate().serial()
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("subject", &self.subject())
            .field("subject_alt_names", &self.subject_alt_names())
            .field("serial", &self.serial())
            .field("validity", &self.validity())
            .field("sha256", &self.sha256())
            .field("ca_serial", &self.ca_serial())
            .finish()
    }
}

impl Facts {
    fn read(der: &[u8]) -> Option<Self> {
        // Of the extensions only the names are read.
        let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
        let (_, x509) = parser.parse(der).ok()?;
        let names = subject_alt_names(&x509).ok()?;
        Some(Self {
            subject: (x509.subject().as_raw().into(), OnceLock::new()),
            common_name: only_common_name(&x509),
            subject_alt_names: names.iter().filter_map(SubjectAltName::of).collect(),
            serial: SerialNumber::from_der_content(x509.raw_serial()).ok()?,
            validity: Validity::of(&x509),
            signed: signed(der, &x509)?,
        })
    }

    /// Names nobody, and was never valid.
    fn none() -> Self {
        let never = UnixTime::since_unix_epoch(Duration::ZERO);
        Self {
            subject: (Box::default(), OnceLock::new()),
            common_name: None,
            subject_alt_names: vec![],
            serial: SerialNumber::zero(),
            validity: Validity { not_before: never, not_after: never },
            signed: 0..usize::MAX,
        }
    }
}

/// One subject alternative name of a device
/// ([RFC 5280 section 4.2.1.6](https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.6)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubjectAltName {
    /// A DNS name, as it stands in the certificate.
    Dns(String),
    /// An e-mail address.
    Email(String),
    /// A URI, as in a SPIFFE identity.
    Uri(String),
    /// An IP address.
    Ip(IpAddr),
}

impl SubjectAltName {
    fn of(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(text) => Some(Self::Dns((*text).to_owned())),
            GeneralName::RFC822Name(text) => Some(Self::Email((*text).to_owned())),
            GeneralName::URI(text) => Some(Self::Uri((*text).to_owned())),
            GeneralName::IPAddress(octets) => {
                let v4 = <[u8; 4]>::try_from(*octets).map(|octets| Ipv4Addr::from(octets).into());
                let v6 = <[u8; 16]>::try_from(*octets).map(|octets| Ipv6Addr::from(octets).into());
                v4.or(v6).map(Self::Ip).ok()
            }
            _ => None,
        }
    }
}

impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(text) => write!(f, "DNS:{text}"),
            Self::Email(text) => write!(f, "email:{text}"),
            Self::Uri(text) => write!(f, "URI:{text}"),
            Self::Ip(address) => write!(f, "IP:{address}"),
        }
    }
}

fn subject_alt_names<'a>(
    certificate: &X509Certificate<'a>,
) -> Result<Vec<GeneralName<'a>>, X509Error> {
    match certificate.get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME)? {
        None => Ok(vec![]),
        Some(extension) => Ok(SubjectAlternativeName::from_der(extension.value)?.1.general_names),
    }
}

/// What the issuer signed of a certificate: all but the signature. The whole where it cannot be read.
pub(super) fn signed_part(certificate: &[u8]) -> &[u8] {
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    let part = parser.parse(certificate).ok().and_then(|(_, x509)| signed(certificate, &x509));
    part.and_then(|part| certificate.get(part)).unwrap_or(certificate)
}

/// Where in a certificate that stands which its issuer has signed. The parser lends that part itself for
/// as long as its own value lives only.
fn signed(certificate: &[u8], x509: &X509Certificate<'_>) -> Option<Range<usize>> {
    let signed = x509.tbs_certificate.as_ref();
    let start = signed.as_ptr().addr().checked_sub(certificate.as_ptr().addr())?;
    Some(start..start + signed.len())
}

fn only_common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut names = certificate.subject().iter_common_name();
    match (names.next(), names.next()) {
        (Some(only), None) => only.as_str().ok().map(ToOwned::to_owned),
        _ => None,
    }
}
