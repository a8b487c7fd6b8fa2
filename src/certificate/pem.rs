//! PEM sections ([RFC 7468](https://www.rfc-editor.org/rfc/rfc7468)), with nothing passed over.
//!
//! `rustls-pki-types` decodes; it skips sections whose label it does not know, such as
//! `ENCRYPTED PRIVATE KEY`, so those are looked for here and refused by name.

use rustls_pki_types::pem::{SectionKind, SliceIter};

/// One decoded section: its kind and its DER.
pub(super) type Section = (SectionKind, Vec<u8>);

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
    /// An encrypted private key (PKCS#8, or the older kind with a `Proc-Type` line).
    #[error(
        "the private key is encrypted: store it decrypted, as `openssl pkey -in old.pem -out new.pem` writes it"
    )]
    EncryptedKey,
    /// Anything but blanks behind the last section.
    #[error("something follows the last PEM section")]
    TrailingData,
}

/// Decodes every section, in order. Text before a section is allowed, as tools write it.
pub(super) fn sections(text: &[u8]) -> Result<Vec<Section>, PemError> {
    refuse_strangers(text)?;
    let mut sections = Vec::new();
    for section in SliceIter::<Section>::new(text) {
        let position = sections.len() + 1;
        sections.push(section.map_err(|_| PemError::Malformed { position })?);
    }
    if sections.is_empty() {
        return Err(PemError::NoSection);
    }
    let last_line = lines(text).rfind(|line| !line.trim_ascii().is_empty());
    if last_line.is_some_and(|line| !is_end(line)) {
        return Err(PemError::TrailingData);
    }
    Ok(sections)
}

fn refuse_strangers(text: &[u8]) -> Result<(), PemError> {
    for line in lines(text) {
        if line.starts_with(b"Proc-Type:") && contains(line, b"ENCRYPTED") {
            return Err(PemError::EncryptedKey);
        }
        let Some(label) = line.strip_prefix(b"-----BEGIN ") else {
            continue;
        };
        let label = label.trim_ascii_end();
        let label = label.strip_suffix(b"-----").unwrap_or(label);
        if label == b"ENCRYPTED PRIVATE KEY" {
            return Err(PemError::EncryptedKey);
        }
        if !is_known(label) {
            let shown: Vec<u8> = label.iter().take(MAX_LABEL_SHOWN).copied().collect();
            return Err(PemError::UnknownSection(String::from_utf8_lossy(&shown).into_owned()));
        }
    }
    Ok(())
}

/// Whether a section ends here and nothing else stands in the line. The decoder is content with a
/// line that begins so.
fn is_end(line: &[u8]) -> bool {
    let label = line.trim_ascii_end().strip_prefix(b"-----END ");
    label.and_then(|label| label.strip_suffix(b"-----")).is_some_and(is_known)
}

fn is_known(label: &[u8]) -> bool {
    label == EC_PARAMETERS || SectionKind::try_from(label).is_ok()
}

fn lines(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n' || byte == b'\r')
}

fn contains(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|window| window == word)
}

/// Stands before the key in what `openssl ecparam -genkey` writes, and says what the key says.
const EC_PARAMETERS: &[u8] = b"EC PARAMETERS";
const MAX_LABEL_SHOWN: usize = 64;
