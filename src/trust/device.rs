//! What a device's certificate says about it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::Any;
use x509_parser::extensions::{GeneralName, SubjectAlternativeName};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::refusal::Refusal;
use crate::certificate::{SerialNumber, Sha256, Validity};

/// The identity of a device, from the certificate whose key it has proven to hold. Cheap to clone.
///
/// Every text in it was chosen by whoever made the certificate: escape it before it reaches a log
/// line, a topic or a path. A common name is unique for its CA at most: tell devices apart by
/// [`ca_serial`](Self::ca_serial) with [`serial`](Self::serial), or by [`sha256`](Self::sha256).
#[derive(Clone, Debug)]
pub struct Device(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    subject: String,
    common_name: Option<String>,
    subject_alt_names: Vec<SubjectAltName>,
    serial: SerialNumber,
    validity: Validity,
    sha256: Sha256,
    ca_serial: SerialNumber,
}

impl Device {
    pub(super) fn read(
        der: &CertificateDer<'_>,
        ca_serial: &SerialNumber,
    ) -> Result<Self, Refusal> {
        let fields = Fields::of(der)?;
        let names = fields.subject_alt_names.map(SubjectAlternativeName::from_der).transpose();
        let names = names.map_err(|_| Refusal::Unreadable)?;
        let names = names.iter().flat_map(|(_, names)| &names.general_names);
        Ok(Self(Arc::new(Facts {
            subject: fields.subject.to_string(),
            common_name: only_common_name(&fields.subject),
            subject_alt_names: names.filter_map(SubjectAltName::of).collect(),
            serial: SerialNumber::from_der_content(fields.serial)
                .map_err(|_| Refusal::Unreadable)?,
            validity: Validity::of_field(&fields.validity),
            sha256: Sha256::of(der),
            ca_serial: ca_serial.clone(),
        })))
    }

    /// The subject, as `CN=…, O=…`.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The common name, where the subject has exactly one.
    pub fn common_name(&self) -> Option<&str> {
        self.0.common_name.as_deref()
    }

    /// The subject alternative names of the kinds that [`SubjectAltName`] knows.
    pub fn subject_alt_names(&self) -> &[SubjectAltName] {
        &self.0.subject_alt_names
    }

    /// The certificate's serial number, unique for its issuer only.
    pub fn serial(&self) -> &SerialNumber {
        &self.0.serial
    }

    /// From when until when the certificate is valid.
    pub fn validity(&self) -> Validity {
        self.0.validity
    }

    /// The SHA-256 of the certificate.
    pub fn sha256(&self) -> Sha256 {
        self.0.sha256
    }

    /// The serial number of the registered CA that admitted the device: the one nearest to it,
    /// which is not the certificate's own issuer where unregistered intermediates lie between.
    pub fn ca_serial(&self) -> &SerialNumber {
        &self.0.ca_serial
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

/// The fields of a certificate that tell about its device, out of a certificate that webpki has
/// read whole: the others are stepped over, at half of what reading them once more costs.
struct Fields<'a> {
    serial: &'a [u8],
    validity: x509_parser::certificate::Validity,
    subject: X509Name<'a>,
    subject_alt_names: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// In the order of [RFC 5280 section 4.1](https://www.rfc-editor.org/rfc/rfc5280#section-4.1).
    fn of(mut der: &'a [u8]) -> Result<Self, Refusal> {
        let mut certificate = next(&mut der)?;
        let mut tbs = next(&mut certificate)?;
        let _version = next(&mut tbs)?;
        let serial = next(&mut tbs)?;
        let (_signature, _issuer) = (next(&mut tbs)?, next(&mut tbs)?);
        let (rest, validity) =
            x509_parser::certificate::Validity::from_der(tbs).map_err(|_| Refusal::Unreadable)?;
        let (mut rest, subject) = X509Name::from_der(rest).map_err(|_| Refusal::Unreadable)?;
        let _public_key = next(&mut rest)?;
        let subject_alt_names = match rest.is_empty() {
            true => None,
            false => subject_alt_names(next(&mut rest)?)?,
        };
        Ok(Self { serial, validity, subject, subject_alt_names })
    }
}

/// The value of the extension, which stands in a certificate once at most.
fn subject_alt_names(mut tagged: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    let mut extensions = next(&mut tagged)?;
    let mut found = None;
    while !extensions.is_empty() {
        let mut extension = next(&mut extensions)?;
        let id = next(&mut extension)?;
        let mut value = next(&mut extension)?;
        if !extension.is_empty() {
            // That was whether it is critical.
            value = next(&mut extension)?;
        }
        if id == OID_X509_EXT_SUBJECT_ALT_NAME.as_bytes() && found.replace(value).is_some() {
            return Err(Refusal::Unreadable);
        }
    }
    Ok(found)
}

/// Takes one element off and returns what is in it.
fn next<'a>(elements: &mut &'a [u8]) -> Result<&'a [u8], Refusal> {
    let (rest, element) = Any::from_der(elements).map_err(|_| Refusal::Unreadable)?;
    *elements = rest;
    Ok(element.data)
}

fn only_common_name(subject: &X509Name<'_>) -> Option<String> {
    let mut names = subject.iter_common_name();
    match (names.next(), names.next()) {
        (Some(only), None) => only.as_str().ok().map(ToOwned::to_owned),
        _ => None,
    }
}
