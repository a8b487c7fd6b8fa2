//! Which certificates of a CA are revoked, as the CA says.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::UnixTime;
use rustls_pki_types::pem::SectionKind;
use webpki::{BorrowedCertRevocationList, CertRevocationList, Error};

use super::fingerprint::Sha256;
use super::list_number::ListNumber;
use super::pem::{self, PemError};
use super::revocation_list_error::RevocationListError;
use super::revocation_list_fields::Fields;
use super::serial::{SerialError, SerialNumber};
use super::serial_set::SerialSet;

/// One complete X.509 v2 certificate revocation list, parsed once
/// ([RFC 5280 section 5](https://www.rfc-editor.org/rfc/rfc5280#section-5)). Cheap to clone.
///
/// Having the value proves that the list covers all that its issuer issued, that every critical
/// extension in it is understood, and that it says when the next one comes. Whether a CA signed it,
/// and whether it is still fresh, is checked when it is loaded for that CA.
///
/// # Costs
///
/// Reading takes time in proportion to the length, and sorts the entries. The value holds 20 bytes
/// for each entry, and all the bytes that are signed; the copy that is in force does without these.
#[derive(Clone)]
pub struct RevocationList {
    contents: Arc<Contents>,
    /// None once the signature was found to be good: it may have 64 MiB.
    signed: Option<Arc<Signed>>,
}

struct Contents {
    issuer: Box<str>,
    /// As [`CaIdentity::subject`](super::CaIdentity::subject) has it.
    issuer_der: Box<[u8]>,
    number: Option<ListNumber>,
    this_update: UnixTime,
    next_update: UnixTime,
    serials: SerialSet,
    sha256: Sha256,
}

/// What a list's issuer signed, and how.
pub(crate) struct Signed {
    pub(crate) message: Box<[u8]>,
    /// The DER of an AlgorithmIdentifier: the one in the message is the same.
    pub(crate) algorithm: Box<[u8]>,
    pub(crate) signature: Box<[u8]>,
}

impl RevocationList {
    /// Reads a PEM text that holds exactly one list, of at most 64 MiB of DER, and nothing else but text
    /// before it.
    ///
    /// # Errors
    ///
    /// Each fault has its own variant of [`RevocationListError`].
    pub fn from_pem(text: &[u8]) -> Result<Self, RevocationListError> {
        if text.len() > MAX_PEM {
            return Err(RevocationListError::TooLarge { length: text.len(), limit: MAX_PEM });
        }
        let sections = pem::sections(text).map_err(|error| match error {
            PemError::LegacyEncryption => RevocationListError::PrivateKey,
            other => RevocationListError::Pem(other),
        })?;
        if !sections.encrypted_keys.is_empty() {
            return Err(RevocationListError::PrivateKey);
        }
        let mut sections = sections.plain;
        let strangers = |(kind, _): &(SectionKind, _)| match kind {
            SectionKind::Crl => None,
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                Some(RevocationListError::PrivateKey)
            }
            SectionKind::Certificate => Some(RevocationListError::Certificate),
            _ => Some(RevocationListError::UnexpectedSection(*kind)),
        };
        if let Some(error) = sections.iter().find_map(strangers) {
            return Err(error);
        }
        let count = sections.len();
        match sections.pop() {
            Some((_, der)) if count == 1 => Self::from_der(&der),
            _ => Err(RevocationListError::SeveralLists(count)),
        }
    }

    /// Reads one DER list of at most 64 MiB.
    ///
    /// # Errors
    ///
    /// Each fault has its own variant of [`RevocationListError`].
    pub fn from_der(der: &[u8]) -> Result<Self, RevocationListError> {
        if der.len() > MAX_DER {
            return Err(RevocationListError::TooLarge { length: der.len(), limit: MAX_DER });
        }
        let fields = Fields::of(der)?;
        // What webpki cannot read, or would not use, is refused here.
        let list = BorrowedCertRevocationList::from_der(der).map_err(|error| match error {
            Error::SignatureAlgorithmMismatch => RevocationListError::TwoAlgorithms,
            _ => RevocationListError::Malformed,
        })?;
        let contents = Contents {
            issuer: fields.issuer.to_string().into_boxed_str(),
            number: fields.number,
            this_update: fields.this_update,
            next_update: fields.next_update,
            serials: serials(&list)?,
            sha256: Sha256::of(der),
            issuer_der: CertRevocationList::from(list).issuer().into(),
        };
        let signed = Signed {
            message: fields.message.into(),
            algorithm: fields.algorithm.into(),
            signature: fields.signature.data.into(),
        };
        Ok(Self { contents: contents.into(), signed: Some(signed.into()) })
    }

    /// Who made it, as `CN=…, O=…`. Whoever made it chose the text: escape it where it is shown.
    pub fn issuer(&self) -> &str {
        &self.contents.issuer
    }

    /// Its number, where it has one: a later list of the same CA has a higher one. Where lists have none,
    /// [`this_update`](Self::this_update) tells the later one.
    pub fn number(&self) -> Option<ListNumber> {
        self.contents.number
    }

    /// When it was made.
    pub fn this_update(&self) -> UnixTime {
        self.contents.this_update
    }

    /// By when the next one comes: from the second after this one on, this list is out of date.
    pub fn next_update(&self) -> UnixTime {
        self.contents.next_update
    }

    /// How many serial numbers it revokes. One that stands there twice counts once, and one that no
    /// certificate here could have, since it is no [`SerialNumber`], does not count.
    pub fn len(&self) -> usize {
        self.contents.serials.len()
    }

    /// Whether it revokes nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether its issuer revoked the certificate with this serial number, for whatever reason. One
    /// on hold counts as revoked.
    ///
    /// One binary search: some 20 steps among a million.
    pub fn revokes(&self, serial: &SerialNumber) -> bool {
        self.contents.serials.contains(serial)
    }

    /// All that it revokes, each once.
    pub(crate) fn serials(&self) -> impl Iterator<Item = SerialNumber> {
        self.contents.serials.iter()
    }

    /// The SHA-256 of its DER.
    pub fn sha256(&self) -> Sha256 {
        self.contents.sha256
    }

    /// The issuer's DER, comparable with [`CaIdentity::subject`](super::CaIdentity::subject).
    pub(crate) fn issuer_der(&self) -> &[u8] {
        &self.contents.issuer_der
    }

    /// What its issuer signed; `None` once it is [in force](Self::into_force).
    pub(crate) fn signed(&self) -> Option<&Signed> {
        self.signed.as_deref()
    }

    /// The same without what only the check of its signature needs.
    pub(crate) fn into_force(self) -> Self {
        Self { signed: None, ..self }
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationList")
            .field("issuer", &self.issuer())
            .field("number", &self.number())
            .field("len", &self.len())
            .field("sha256", &self.sha256())
            .finish_non_exhaustive()
    }
}

/// Every serial number that a certificate here could have.
fn serials(list: &BorrowedCertRevocationList<'_>) -> Result<SerialSet, RevocationListError> {
    let entries = list.into_iter().enumerate();
    let serials = entries.map(|(at, entry)| {
        let entry = entry.map_err(|error| match error {
            Error::UnsupportedIndirectCrl => RevocationListError::Indirect,
            Error::UnsupportedCriticalExtension => {
                RevocationListError::UnknownCriticalEntryExtension { position: at + 1 }
            }
            _ => RevocationListError::Malformed,
        })?;
        match SerialNumber::from_der_content(entry.serial_number) {
            Ok(serial) => Ok(Some(serial)),
            // Whoever shows a certificate with such a serial number is refused for that. A CA that
            // once issued one goes on revoking everything else.
            Err(SerialError::Negative | SerialError::TooLong { .. }) => Ok(None),
            Err(SerialError::Empty | SerialError::Character(_) | SerialError::Colon) => {
                Err(RevocationListError::Malformed)
            }
        }
    });
    serials.filter_map(Result::transpose).collect()
}

const MAX_DER: usize = 64 * 1024 * 1024;
/// Four letters for three bytes, in lines of 64 letters.
const MAX_PEM: usize = MAX_DER / 5 * 7;
