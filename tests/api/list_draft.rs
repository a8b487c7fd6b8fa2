//! Revocation lists field by field, for what `rcgen` does not make.

use rcgen::SigningKey;

use crate::support::TestCa;

/// The fields of a list, each as its DER, which may be none.
#[derive(Clone)]
pub(crate) struct ListDraft {
    pub(crate) version: Vec<u8>,
    /// The algorithm in what is signed, and the one beside the signature.
    pub(crate) algorithms: [Vec<u8>; 2],
    pub(crate) issuer: Vec<u8>,
    pub(crate) this_update: Vec<u8>,
    pub(crate) next_update: Vec<u8>,
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) extensions: Vec<Vec<u8>>,
    /// What stands behind the extensions.
    pub(crate) rest: Vec<u8>,
}

impl ListDraft {
    /// A list of 2026-01-01 for a week, by the CA of this common name, with number 1.
    pub(crate) fn by(common_name: &str) -> Self {
        let name = [&[6, 3, 0x55, 4, 3][..], &tlv(UTF8_STRING, common_name.as_bytes())].concat();
        Self {
            version: integer(&[1]),
            algorithms: [ECDSA_WITH_SHA256, ECDSA_WITH_SHA256].map(|oid| sequence(&[tlv(6, oid)])),
            issuer: sequence(&[tlv(SET, &sequence(&[name]))]),
            this_update: time("260101000000Z"),
            next_update: time("260108000000Z"),
            entries: Vec::new(),
            extensions: vec![number(&[1])],
            rest: Vec::new(),
        }
    }

    /// The list with octets in the place of a signature.
    pub(crate) fn unsigned(&self) -> Vec<u8> {
        self.signed_with(|_| vec![0; 64])
    }

    /// The list with a signature by the CA, whose key is for ECDSA with SHA-256.
    pub(crate) fn signed_by(&self, ca: &TestCa) -> Vec<u8> {
        self.signed_with(|message| ca.key.sign(message).unwrap())
    }

    fn signed_with(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let [inner, outer] = &self.algorithms;
        let mut fields = vec![self.version.clone(), inner.clone(), self.issuer.clone()];
        fields.extend([self.this_update.clone(), self.next_update.clone()]);
        if !self.entries.is_empty() {
            fields.push(sequence(&self.entries));
        }
        if !self.extensions.is_empty() {
            fields.push(tlv(EXTENSIONS, &sequence(&self.extensions)));
        }
        fields.push(self.rest.clone());
        let message = sequence(&fields);
        let signature = tlv(BIT_STRING, &[vec![0], sign(&message)].concat());
        sequence(&[message, outer.clone(), signature])
    }
}

/// An entry of this serial number's content octets, revoked on 2026-01-01.
pub(crate) fn entry(serial: &[u8]) -> Vec<u8> {
    sequence(&[integer(serial), time("260101000000Z")])
}

/// The same with extensions.
pub(crate) fn entry_with(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    sequence(&[integer(serial), time("260101000000Z"), sequence(extensions)])
}

/// The extension of a list's number, by its content octets.
pub(crate) fn number(octets: &[u8]) -> Vec<u8> {
    extension(&[0x55, 0x1d, 20], false, &integer(octets))
}

/// An extension by the content octets of its object identifier.
pub(crate) fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(1, &[0xff]) } else { Vec::new() };
    sequence(&[tlv(6, oid), critical, tlv(4, value)])
}

pub(crate) fn integer(octets: &[u8]) -> Vec<u8> {
    tlv(2, octets)
}

/// A UTCTime.
pub(crate) fn time(text: &str) -> Vec<u8> {
    tlv(23, text.as_bytes())
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let octets = length.to_be_bytes();
    let zeros = octets.iter().take_while(|&&octet| octet == 0).count();
    let length = match length {
        0..0x80 => vec![u8::try_from(length).unwrap()],
        _ => [&[0x80 + u8::try_from(octets.len() - zeros).unwrap()], &octets[zeros..]].concat(),
    };
    [&[tag], length.as_slice(), content].concat()
}

const UTF8_STRING: u8 = 12;
const SET: u8 = 0x31;
const BIT_STRING: u8 = 3;
const EXTENSIONS: u8 = 0xa0;
/// 1.2.840.10045.4.3.2
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
