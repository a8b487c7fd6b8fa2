//! What makes two certificates those of one CA.

use webpki::Cert;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Which CA a certificate speaks for: subject and public key together.
///
/// Two certificates of one CA (a renewed one, a cross-signed one) have the same identity. Made in
/// one way only, [`of`](Self::of), since encodings of the same name differ between libraries by
/// their outer SEQUENCE, and an index asked with the other form stays silent. The key counts by its
/// value: crypto providers take the same key in more than one encoding, and an inactive CA's key
/// must not pass in another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CaIdentity {
    subject: Box<[u8]>,
    key: Box<[u8]>,
}

impl CaIdentity {
    /// The identity in a certificate; `None` where its key is malformed or in an encoding by which
    /// it could not be told from others.
    pub(crate) fn of(certificate: &Cert<'_>) -> Option<Self> {
        let info = certificate.subject_public_key_info();
        let (_, info) = SubjectPublicKeyInfo::from_der(&info).ok()?;
        Some(Self { subject: certificate.subject().into(), key: key_value(&info)? })
    }

    /// One that was [`of`](Self::of) a certificate and was written down in its parts.
    pub(crate) fn restored(subject: &[u8], key: &[u8]) -> Self {
        Self { subject: subject.into(), key: key.into() }
    }

    /// The subject's DER without the outer SEQUENCE.
    pub(crate) fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The public key's value.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }
}

fn key_value(info: &SubjectPublicKeyInfo<'_>) -> Option<Box<[u8]>> {
    match info.parsed().ok()? {
        PublicKey::RSA(key) => {
            let (modulus, exponent) = (magnitude(key.modulus), magnitude(key.exponent));
            let length = u32::try_from(modulus.len()).ok()?.to_be_bytes();
            Some([&length, modulus, exponent].concat().into())
        }
        // "The first octet of the OCTET STRING indicates whether the key is compressed or
        // uncompressed" (RFC 5480 section 2.2), and a point has one uncompressed form.
        PublicKey::EC(point) => {
            let uncompressed = point.data().first() == Some(&UNCOMPRESSED);
            uncompressed.then(|| point.data().into())
        }
        PublicKey::Unknown(bytes) if info.algorithm.algorithm.to_id_string() == ED25519 => {
            (bytes.len() == ED25519_LENGTH).then(|| bytes.into())
        }
        PublicKey::Unknown(bytes)
        | PublicKey::DSA(bytes)
        | PublicKey::GostR3410(bytes)
        | PublicKey::GostR3410_2012(bytes) => Some(bytes.into()),
    }
}

fn magnitude(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|&&octet| octet == 0).count();
    integer.get(zeros..).unwrap_or_default()
}

const UNCOMPRESSED: u8 = 4;
/// RFC 8410 sections 3 and 4.
const ED25519: &str = "1.3.101.112";
const ED25519_LENGTH: usize = 32;
