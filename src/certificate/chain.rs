//! What is to look at in the chain of a server certificate.

use std::collections::BTreeSet;

use x509_parser::asn1_rs::{Oid, oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{
    OID_MD5_WITH_RSA, OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA1WITHRSA,
    OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS, OID_SHA1_WITH_RSA, OID_SIG_DSA_WITH_SHA1,
};
use x509_parser::public_key::PublicKey;
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::AlgorithmIdentifier;

/// Something in the chain of a [`ServerCertificate`](super::ServerCertificate) for which clients may
/// refuse it. It keeps nothing from being shown.
///
/// Certificates of the chain are counted from 1, the end entity. Issuers are found by name, their
/// signatures are not checked, and which roots a client has is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainFinding {
    /// An RSA key below 2048 bits, or an elliptic curve below 256: less than 112 bits of security, or
    /// a curve that TLS 1.3 does not have
    /// ([NIST SP 800-57 part 1](https://doi.org/10.6028/NIST.SP.800-57pt1r5), table 2).
    #[error("certificate {position} of the chain has a weak key of {bits} bits")]
    WeakKey {
        /// Which certificate.
        position: usize,
        /// The size of its key; of a curve, that of its coordinates in whole bytes.
        bits: usize,
    },
    /// A signature over SHA-1 or MD5. Those that a certificate made itself are not looked at: nobody
    /// relies on them ([RFC 8446 section 4.4.2.4](https://www.rfc-editor.org/rfc/rfc8446#section-4.4.2.4)).
    #[error("certificate {position} of the chain is signed with SHA-1 or MD5")]
    WeakSignature {
        /// Which certificate.
        position: usize,
    },
    /// "Each following certificate MUST directly certify the one immediately preceding it"
    /// ([RFC 5246 section 7.4.2](https://www.rfc-editor.org/rfc/rfc5246#section-7.4.2)); the issuer of
    /// this one stands elsewhere in the chain.
    #[error(
        "certificate {position} of the chain is not followed by its issuer, which stands elsewhere in it"
    )]
    OutOfOrder {
        /// Which certificate.
        position: usize,
    },
    /// The issuer of this certificate is missing, and certificates to which it does not lead follow. Or
    /// the end entity stands alone and says where its issuer is to be had (authority information access,
    /// [RFC 5280 section 4.2.2.1](https://www.rfc-editor.org/rfc/rfc5280#section-4.2.2.1)), where few
    /// clients look. One that does not say so may well be issued by a root that clients have.
    #[error("the issuer of certificate {position} of the chain is missing")]
    Incomplete {
        /// Which certificate.
        position: usize,
    },
}

/// Looks a chain over: its keys and signatures, then which issuers are missing or out of place.
pub(super) fn inspect(chain: &[X509Certificate<'_>]) -> Box<[ChainFinding]> {
    let mut findings = Vec::new();
    for (position, certificate) in (1..).zip(chain) {
        if let Some(bits) = weak_key(certificate) {
            findings.push(ChainFinding::WeakKey { position, bits });
        }
        if !is_self_issued(certificate) && is_weak(&certificate.signature_algorithm) {
            findings.push(ChainFinding::WeakSignature { position });
        }
    }
    findings.extend(astray(chain));
    findings.into()
}

fn astray(chain: &[X509Certificate<'_>]) -> Vec<ChainFinding> {
    if let [alone] = chain {
        let misses_its_issuer = !is_self_issued(alone) && tells_of_its_issuer(alone);
        return Vec::from_iter(
            misses_its_issuer.then_some(ChainFinding::Incomplete { position: 1 }),
        );
    }
    let followed = (1..).zip(chain.iter().zip(chain.iter().skip(1)));
    let mut astray = followed
        .filter(|(_, (certificate, next))| {
            !is_self_issued(certificate) && !is_issued_by(certificate, next)
        })
        .peekable();
    if astray.peek().is_none() {
        return vec![];
    }
    let subjects: BTreeSet<_> = chain.iter().map(|it| it.subject().as_raw()).collect();
    let lacks_its_issuer = |it: &X509Certificate<'_>| !subjects.contains(it.issuer().as_raw());
    let ends = chain.iter().filter(|it| is_self_issued(it) || lacks_its_issuer(it));
    let ends: BTreeSet<_> = ends.map(|it| it.subject().as_raw()).collect();
    astray
        .filter_map(|(position, (certificate, _))| match lacks_its_issuer(certificate) {
            false => Some(ChainFinding::OutOfOrder { position }),
            // A chain may end without its root, which clients have, wherever in it that end stands. Where
            // it has another end this certificate does not lead to that one.
            true => (ends.len() > 1).then_some(ChainFinding::Incomplete { position }),
        })
        .collect()
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    is_issued_by(certificate, certificate)
}

fn is_issued_by(certificate: &X509Certificate<'_>, other: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == other.subject().as_raw()
}

/// The size of a key that is too small. Keys of other kinds, and those that cannot be read, are not
/// judged.
fn weak_key(certificate: &X509Certificate<'_>) -> Option<usize> {
    let (bits, enough) = match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(key) => (bits_of(key.modulus), STRONG_RSA_BITS),
        PublicKey::EC(point) => (point.key_size(), STRONG_EC_BITS),
        PublicKey::DSA(_)
        | PublicKey::GostR3410(_)
        | PublicKey::GostR3410_2012(_)
        | PublicKey::Unknown(_) => return None,
    };
    (1..enough).contains(&bits).then_some(bits)
}

/// How many bits a number has. The parser takes the first byte for a sign, which it is not in a
/// number of 2047 bits.
fn bits_of(number: &[u8]) -> usize {
    let mut number = number.iter().skip_while(|octet| **octet == 0);
    let first = number.next().map_or(0, |octet| u8::BITS - octet.leading_zeros());
    first as usize + 8 * number.count()
}

fn is_weak(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    if algorithm.algorithm == OID_PKCS1_RSASSAPSS {
        let parsed = SignatureAlgorithm::try_from(algorithm);
        return matches!(parsed, Ok(SignatureAlgorithm::RSASSA_PSS(parameters))
            if WEAK_HASHES.contains(parameters.hash_algorithm_oid()));
    }
    WEAK_SIGNATURES.contains(&algorithm.algorithm)
}

fn tells_of_its_issuer(certificate: &X509Certificate<'_>) -> bool {
    certificate.extensions().iter().any(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => {
            access.iter().any(|it| it.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS)
        }
        _ => false,
    })
}

const STRONG_RSA_BITS: usize = 2048;
const STRONG_EC_BITS: usize = 256;
const WEAK_SIGNATURES: [Oid<'static>; 6] = [
    OID_PKCS1_MD5WITHRSAENC,
    OID_PKCS1_SHA1WITHRSA,
    OID_SIG_DSA_WITH_SHA1,
    // ecdsa-with-SHA1.
    oid!(1.2.840.10045.4.1),
    // As they were written before PKCS #1 named them.
    OID_MD5_WITH_RSA,
    OID_SHA1_WITH_RSA,
];
/// MD5 and SHA-1.
const WEAK_HASHES: [Oid<'static>; 2] = [oid!(1.2.840.113549.2.5), oid!(1.3.14.3.2.26)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_as_many_bits_as_its_highest_one_says() {
        let cases: [(&[u8], usize); 7] = [
            (&[], 0),
            (&[0, 0], 0),
            (&[1], 1),
            (&[0, 0x80], 8),
            (&[0x7f, 0xff], 15),
            (&[0, 0x80, 0], 16),
            (&[0, 0, 1, 0], 9),
        ];
        for (number, bits) in cases {
            assert_eq!(bits_of(number), bits, "{number:?}");
        }
    }
}
