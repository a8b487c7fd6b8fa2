//! PEM sections ([RFC 7468](https://www.rfc-editor.org/rfc/rfc7468)), with nothing passed over.
//!
//! `rustls-pki-types` decodes; it skips sections whose label it does not know, so those are looked
//! for here: encrypted keys are handed out, all others refused by name.

use rustls_pki_types::pem::{SectionKind, SliceIter};
use zeroize::Zeroizing;

use super::encrypted_key::EncryptedKey;

/// What a PEM text holds.
pub(super) struct Sections {
    /// Kind and DER of each section but the encrypted keys, in order.
    pub(super) plain: Vec<(SectionKind, Zeroizing<Vec<u8>>)>,
    pub(super) encrypted_keys: Vec<EncryptedKey>,
}

/// Why a text is no PEM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// No section at all.
    #[error("the text holds no PEM section")]
    NoSection,
    /// A section that is not closed, or whose first line or base64 is wrong.
    #[error("PEM section {position} is malformed")]
    Malformed {
        /// Which section, counted from 1.
        position: usize,
    },
    /// A section with a label that has no business here.
    #[error("the PEM text holds a section {0:?}, which is not understood")]
    UnknownSection(String),
    /// A private key that is encrypted in the way of before PKCS#8, told by a `Proc-Type` line.
    #[error(
        "the private key is encrypted in an old way: convert it with \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc -in old.pem -out new.pem`"
    )]
    LegacyEncryption,
    /// Anything but blanks behind the last section.
    #[error("something follows the last PEM section")]
    TrailingData,
}

/// Decodes every section. Text before a section is allowed, as tools write it.
pub(super) fn sections(text: &[u8]) -> Result<Sections, PemError> {
    refuse_strangers(text)?;
    let mut plain = Vec::new();
    for section in SliceIter::<(SectionKind, Vec<u8>)>::new(text) {
        let position = plain.len() + 1;
        let (kind, der) = section.map_err(|_| PemError::Malformed { position })?;
        // Any may be a private key, whatever becomes of the text.
        plain.push((kind, Zeroizing::new(der)));
    }
    let encrypted_keys = encrypted_keys(text)?;
    if plain.is_empty() && encrypted_keys.is_empty() {
        return Err(PemError::NoSection);
    }
    let last_line = lines(text).rfind(|line| !line.trim_ascii().is_empty());
    if last_line.is_some_and(|line| !is_end(line)) {
        return Err(PemError::TrailingData);
    }
    Ok(Sections { plain, encrypted_keys })
}

/// The certificates in a text that holds nothing else, in order.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, NotOnlyCertificates> {
    let sections = sections(text).map_err(|error| match error {
        PemError::LegacyEncryption => NotOnlyCertificates::PrivateKey,
        other => NotOnlyCertificates::Pem(other),
    })?;
    if !sections.encrypted_keys.is_empty() {
        return Err(NotOnlyCertificates::PrivateKey);
    }
    let certificate = |(kind, der): (SectionKind, Zeroizing<Vec<u8>>)| match kind {
        SectionKind::Certificate => Ok(der.to_vec()),
        SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
            Err(NotOnlyCertificates::PrivateKey)
        }
        _ => Err(NotOnlyCertificates::Other(kind)),
    };
    sections.plain.into_iter().map(certificate).collect()
}

/// Why a text does not hold certificates alone.
pub(super) enum NotOnlyCertificates {
    Pem(PemError),
    PrivateKey,
    Other(SectionKind),
}

fn encrypted_keys(text: &[u8]) -> Result<Vec<EncryptedKey>, PemError> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(start) = find(rest, BEGIN_ENCRYPTED) {
        let position = keys.len() + 1;
        let malformed = PemError::Malformed { position };
        let from = rest.get(start..).unwrap_or_default();
        let length = find(from, END_ENCRYPTED).ok_or_else(|| malformed.clone())?;
        let (section, behind) = from.split_at(length + END_ENCRYPTED.len());
        let section = std::str::from_utf8(section).map_err(|_| malformed.clone())?;
        keys.push(EncryptedKey::from_pem(section).ok_or(malformed)?);
        rest = behind;
    }
    Ok(keys)
}

fn refuse_strangers(text: &[u8]) -> Result<(), PemError> {
    for line in lines(text) {
        if line.starts_with(b"Proc-Type:") && find(line, b"ENCRYPTED").is_some() {
            return Err(PemError::LegacyEncryption);
        }
        let Some(label) = line.strip_prefix(b"-----BEGIN ") else {
            continue;
        };
        let label = label.trim_ascii_end().strip_suffix(b"-----");
        if !label.is_some_and(is_known) {
            return Err(PemError::UnknownSection(label.map_or_else(String::new, shown)));
        }
    }
    Ok(())
}

/// A label as an error shows it: nothing, where it is not made of what labels are made of. A file that
/// has lost its line ends has a key in that place.
fn shown(label: &[u8]) -> String {
    let is_usual = |byte: &u8| byte.is_ascii_uppercase() || b" 0123456789".contains(byte);
    let is_label = label.len() <= MAX_LABEL_SHOWN && label.iter().all(is_usual);
    if is_label { String::from_utf8_lossy(label).into_owned() } else { String::new() }
}

/// Whether a section ends here and nothing else stands in the line. The decoder is content with a
/// line that begins so.
fn is_end(line: &[u8]) -> bool {
    let label = line.trim_ascii_end().strip_prefix(b"-----END ");
    label.and_then(|label| label.strip_suffix(b"-----")).is_some_and(is_known)
}

fn is_known(label: &[u8]) -> bool {
    [EC_PARAMETERS, ENCRYPTED_KEY].contains(&label) || SectionKind::try_from(label).is_ok()
}

fn lines(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n' || byte == b'\r')
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

/// Stands before the key in what `openssl ecparam -genkey` writes, and says what the key says.
const EC_PARAMETERS: &[u8] = b"EC PARAMETERS";
const ENCRYPTED_KEY: &[u8] = b"ENCRYPTED PRIVATE KEY";
const BEGIN_ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END_ENCRYPTED: &[u8] = b"-----END ENCRYPTED PRIVATE KEY-----";
const MAX_LABEL_SHOWN: usize = 32;
