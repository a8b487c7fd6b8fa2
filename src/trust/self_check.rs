//! Whether a CA that is about to be registered can work in a handshake.

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::UnixTime;
use webpki::{EndEntityCert, Error};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::register_error::{RSA_BITS, RegisterError};
use super::signature::{Signature, SignatureCheck};
use crate::certificate::CaCertificate;

/// Refuses what no handshake would accept, asked of the same provider in the same way: expired, a
/// key that the provider does not verify, and a self-signed certificate whose own signature, the
/// only one by its key that is at hand, is not good.
pub(super) fn check_usable(
    certificate: &CaCertificate,
    algorithms: &WebPkiSupportedAlgorithms,
    now: UnixTime,
) -> Result<(), RegisterError> {
    let serial = || certificate.serial().clone();
    let validity = certificate.validity();
    if validity.is_expired(now) {
        return Err(RegisterError::Expired { serial: serial(), validity });
    }
    if let Some(bits) = certificate.rsa_bits().filter(|bits| !RSA_BITS.contains(bits)) {
        return Err(RegisterError::RsaKeySize { serial: serial(), bits });
    }
    let unsupported = || RegisterError::UnsupportedKey(serial());
    let webpki = EndEntityCert::try_from(certificate.der()).map_err(|_| unsupported())?;
    if !can_verify(&webpki, algorithms) {
        return Err(unsupported());
    }
    if has_bad_self_signature(certificate, &webpki, algorithms) {
        return Err(RegisterError::BadSelfSignature(serial()));
    }
    Ok(())
}

/// Whether one of the provider's algorithms is for the kind of key in the certificate. A signature
/// that is none tells: the wrong kind of key is refused before it is looked at.
fn can_verify(certificate: &EndEntityCert<'_>, algorithms: &WebPkiSupportedAlgorithms) -> bool {
    algorithms.all.iter().any(|algorithm| {
        !matches!(
            certificate.verify_signature(*algorithm, &[], &[]),
            Err(Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_))
        )
    })
}

/// Whether the certificate says that it signed itself, by an algorithm that the provider knows,
/// and did not. Nobody else's signature is looked at, and SHA-1 in an old root's own does no harm:
/// a trust anchor is believed for being registered.
fn has_bad_self_signature(
    certificate: &CaCertificate,
    webpki: &EndEntityCert<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> bool {
    let Ok((_, x509)) = X509Certificate::from_der(certificate.der()) else {
        return true;
    };
    // A key's rollover makes certificates with one name as subject and issuer that another key
    // signed (RFC 4210 section 4.4): they name that key.
    let issuers_key_id =
        x509.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
            _ => None,
        });
    let names_itself = issuers_key_id.is_none_or(|id| Some(id.0) == certificate.key_id());
    if webpki.subject() != webpki.issuer() || !names_itself {
        return false;
    }
    let signature = Signature {
        message: x509.tbs_certificate.as_ref(),
        algorithm: &x509.signature_algorithm,
        octets: &x509.signature_value.data,
    };
    match signature.check(webpki, algorithms) {
        SignatureCheck::Bad => true,
        SignatureCheck::Good | SignatureCheck::UnknownAlgorithm => false,
    }
}
