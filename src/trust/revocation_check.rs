//! Whether a revocation list may be put in force for a registered CA.

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::UnixTime;
use webpki::EndEntityCert;
use x509_parser::prelude::FromDer;
use x509_parser::x509::AlgorithmIdentifier;

use super::revocation_error::RevocationError;
use super::signature::{Signature, SignatureCheck};
use crate::certificate::{CaCertificate, ListNumber, RevocationList};

/// What putting a list in force would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loading {
    /// It takes the place of the one in force, or of none.
    New,
    /// The very same list is in force.
    Unchanged,
}

/// Refuses a list that the CA did not make or may not make, one that is not for now (unless it is
/// only stale, and that is accepted), and one that is not later than the one in force.
pub(super) fn check_list(
    list: &RevocationList,
    issuer: &CaCertificate,
    in_force: Option<&RevocationList>,
    algorithms: &WebPkiSupportedAlgorithms,
    now: UnixTime,
    accept_stale: bool,
) -> Result<Loading, RevocationError> {
    check_issuer(list, issuer)?;
    let same = in_force.is_some_and(|in_force| in_force.sha256() == list.sha256());
    // What is in force was checked, and holds no signature anymore.
    if !same {
        check_signature(list, issuer, algorithms)?;
    }
    let (this_update, next_update) = (list.this_update(), list.next_update());
    if now < this_update {
        return Err(RevocationError::NotYetValid { this_update });
    }
    if next_update < now && !accept_stale {
        return Err(RevocationError::Stale { next_update });
    }
    match in_force {
        Some(_) if same => Ok(Loading::Unchanged),
        Some(in_force) if !Age::of(list).is_later_than(Age::of(in_force)) => {
            let (number, in_force) = (list.number(), in_force.number());
            Err(RevocationError::NotLater { number, in_force })
        }
        Some(_) | None => Ok(Loading::New),
    }
}

fn check_issuer(list: &RevocationList, ca: &CaCertificate) -> Result<(), RevocationError> {
    let serial = || ca.serial().clone();
    if list.issuer_der() != ca.identity().subject() {
        let issuer = list.issuer().to_owned();
        return Err(RevocationError::OtherIssuer { serial: serial(), issuer });
    }
    // "If a key usage extension is present in the CRL issuer's certificate, verify that the cRLSign
    // bit is set" (RFC 5280 section 6.3.3 (f)).
    if !ca.may_sign_lists() {
        return Err(RevocationError::NoCrlSign(serial()));
    }
    Ok(())
}

fn check_signature(
    list: &RevocationList,
    ca: &CaCertificate,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), RevocationError> {
    let bad = || RevocationError::BadSignature(ca.serial().clone());
    let signed = list.signed().ok_or_else(bad)?;
    let key = EndEntityCert::try_from(ca.der()).map_err(|_| bad())?;
    let (_, algorithm) = AlgorithmIdentifier::from_der(&signed.algorithm).map_err(|_| bad())?;
    let signature =
        Signature { message: &signed.message, algorithm: &algorithm, octets: &signed.signature };
    match signature.check(&key, algorithms) {
        SignatureCheck::Good => Ok(()),
        SignatureCheck::Bad => Err(bad()),
        SignatureCheck::UnknownAlgorithm => {
            Err(RevocationError::UnsupportedAlgorithm(algorithm.algorithm.to_id_string()))
        }
    }
}

/// What tells which of two lists is the later one.
#[derive(Clone, Copy)]
struct Age {
    number: Option<ListNumber>,
    this_update: UnixTime,
}

impl Age {
    fn of(list: &RevocationList) -> Self {
        Self { number: list.number(), this_update: list.this_update() }
    }

    /// "CRL numbers also provide a way to determine when one CRL supersedes another" (RFC 5280
    /// section 5.2.3): two lists with one number are not one later than the other. A CA that gave
    /// its lists numbers goes on doing so. Before that the date tells.
    fn is_later_than(self, in_force: Self) -> bool {
        match (self.number, in_force.number) {
            (Some(number), Some(in_force)) => number > in_force,
            (None, Some(_)) => false,
            (Some(_) | None, None) => self.this_update > in_force.this_update,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn age(number: Option<u8>, this_update: u64) -> Age {
        let number = number.map(|octet| ListNumber::from_der_content(&[0, octet]).unwrap());
        Age { number, this_update: UnixTime::since_unix_epoch(Duration::from_secs(this_update)) }
    }

    #[test]
    fn the_number_tells_the_later_list_and_the_date_where_there_was_none() {
        let cases = [
            // The number counts by its value, whatever the dates say.
            ((Some(8), 10), (Some(7), 10), true),
            ((Some(8), 9), (Some(7), 10), true),
            ((Some(0x80), 10), (Some(0x7f), 10), true),
            ((Some(7), 11), (Some(7), 10), false),
            ((Some(7), 10), (Some(7), 10), false),
            ((Some(6), 11), (Some(7), 10), false),
            // Numbers are not given up.
            ((None, 11), (Some(0), 10), false),
            // The date tells before there are numbers.
            ((None, 11), (None, 10), true),
            ((None, 10), (None, 10), false),
            ((None, 9), (None, 10), false),
            ((Some(0), 11), (None, 10), true),
            ((Some(9), 10), (None, 10), false),
            ((Some(9), 9), (None, 10), false),
        ];
        for (list, in_force, expected) in cases {
            let later = age(list.0, list.1).is_later_than(age(in_force.0, in_force.1));
            assert_eq!(later, expected, "{list:?} after {in_force:?}");
        }
    }
}
