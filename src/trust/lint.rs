//! What an operator should know about a CA that is registered all the same.

use rustls_pki_types::UnixTime;

use super::index::CaIndex;
use crate::certificate::{CaCertificate, SerialNumber, Validity};

/// Something to look at in a CA that keeps it from nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationWarning {
    /// A CA with the same subject and key is registered: a renewed certificate, with which the CA
    /// goes on when the other is deactivated.
    #[error(
        "the same subject and key are registered under serial number {0}: deactivate both to keep its devices out"
    )]
    Twin(SerialNumber),
    /// The same key is registered under another subject: deactivating one keeps the key out under
    /// all subjects but those of active records.
    #[error("the same key is registered under serial number {0} with another subject")]
    SameKey(SerialNumber),
    /// Another CA bears the same subject: devices without a key identifier cost more to verify.
    #[error("another CA with the same subject is registered under serial number {0}")]
    SameSubject(SerialNumber),
    /// It has no subject key identifier, by which it would be told from CAs of its name.
    #[error("the CA certificate has no subject key identifier")]
    NoKeyId,
    /// An RSA key of less than 3072 bits, which is 112 bits of security
    /// ([NIST SP 800-57 part 1](https://doi.org/10.6028/NIST.SP.800-57pt1r5), table 2).
    #[error("the CA's RSA key has {bits} bits: take 3072, or an EC key, for a new CA")]
    WeakKey {
        /// The size of its key.
        bits: usize,
    },
    /// Its name constraints are of a kind that is not compared here, of directory names, URIs or
    /// e-mail addresses: devices that have such a name are refused. Every device has a directory
    /// name, its subject.
    #[error(
        "the CA's name constraints are of a kind that is not compared: devices with such names will be refused"
    )]
    NameConstraints,
    /// It is not valid yet: its devices are refused until then.
    #[error("the CA certificate is not valid yet")]
    NotYetValid(Validity),
    /// It expires within 30 days: its devices are refused from then on.
    #[error("the CA certificate expires within 30 days")]
    ExpiresSoon(Validity),
}

/// Looks a certificate over, beside those that are registered already.
pub(super) fn lint(
    certificate: &CaCertificate,
    registered: &CaIndex,
    now: UnixTime,
) -> Vec<RegistrationWarning> {
    let validity = certificate.validity();
    let soon = now.as_secs().saturating_add(SOON);
    let weak = certificate.rsa_bits().filter(|bits| *bits < STRONG_RSA_BITS);
    let kin = registered.kin(certificate.identity());
    [
        kin.twin.map(RegistrationWarning::Twin),
        kin.same_key.map(RegistrationWarning::SameKey),
        kin.same_subject.map(RegistrationWarning::SameSubject),
        certificate.key_id().is_none().then_some(RegistrationWarning::NoKeyId),
        weak.map(|bits| RegistrationWarning::WeakKey { bits }),
        certificate.constrains_other_names().then_some(RegistrationWarning::NameConstraints),
        validity.is_early(now).then_some(RegistrationWarning::NotYetValid(validity)),
        (validity.not_after.as_secs() < soon).then_some(RegistrationWarning::ExpiresSoon(validity)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const STRONG_RSA_BITS: usize = 3072;
/// 30 days.
const SOON: u64 = 30 * 24 * 60 * 60;
