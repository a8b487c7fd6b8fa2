//! What the extensions of a CA certificate must say, and what else is read from them.

use x509_parser::certificate::{TbsCertificate, X509Certificate};
use x509_parser::extensions::{GeneralName, KeyUsage, ParsedExtension};
use x509_parser::x509::X509Version;

use super::ca_error::CaCertificateError;

/// What a CA certificate says of itself, once that lets it be one.
pub(super) struct Extensions {
    pub(super) key_id: Option<Box<[u8]>>,
    pub(super) path_length: Option<u32>,
    /// Whether it may sign revocation lists.
    pub(super) may_sign_lists: bool,
    /// Whether it constrains names of a kind that webpki does not compare.
    pub(super) constrains_other_names: bool,
}

impl Extensions {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Result<Self, CaCertificateError> {
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
        let usage = usage.map(|extension| extension.value);
        if usage.is_some_and(|usage| !usage.key_cert_sign()) {
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
            may_sign_lists: usage.is_none_or(KeyUsage::crl_sign),
            constrains_other_names: constrains_other_names(certificate)?,
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

/// The extensions that webpki acts on: key usage, subject alternative name, basic constraints,
/// name constraints, CRL distribution points, extended key usage.
const UNDERSTOOD: [&str; 6] =
    ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.37"];
