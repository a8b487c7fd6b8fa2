//! What keeps bytes from being a revocation list.

use rustls_pki_types::UnixTime;
use rustls_pki_types::pem::SectionKind;

use super::list_number::ListNumberError;
use super::pem::PemError;

/// Why bytes are no revocation list that could be loaded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationListError {
    /// More bytes than are read.
    #[error("the revocation list has {length} bytes, at most {limit} are allowed")]
    TooLarge {
        /// How many bytes were given.
        length: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The text is no PEM that is understood.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A private key beside the list: it must not be handed to anyone.
    #[error("the PEM text holds a private key: load the revocation list alone")]
    PrivateKey,
    /// A certificate beside the list, or in its place.
    #[error("the PEM text holds a certificate: load the revocation list alone")]
    Certificate,
    /// A section that is no revocation list.
    #[error("the PEM text holds a section of kind {0:?}")]
    UnexpectedSection(SectionKind),
    /// More than one list.
    #[error("the PEM text holds {0} revocation lists: load each by itself")]
    SeveralLists(usize),
    /// Not DER, or not the DER of a revocation list.
    #[error("the revocation list is malformed")]
    Malformed,
    /// Bytes behind the list.
    #[error("something follows the revocation list")]
    TrailingData,
    /// X.509 v1, or a version that does not exist.
    #[error("the revocation list is X.509 version {0}, only version 2 is read")]
    Version(u32),
    /// No extensions, though "conforming CRL issuers are REQUIRED to include" two of them (RFC 5280
    /// section 5.2).
    #[error("the revocation list has no extensions")]
    NoExtensions,
    /// It does not say when the next one comes: nobody could tell when it is stale.
    #[error("the revocation list has no next update")]
    NoNextUpdate,
    /// The next one comes before this one.
    #[error("the next update of the revocation list comes before its own")]
    NextUpdateBeforeThis {
        /// When it was made.
        this_update: UnixTime,
        /// When the next one comes.
        next_update: UnixTime,
    },
    /// A number that no list may have.
    #[error("the number of the revocation list cannot be used")]
    Number(#[from] ListNumberError),
    /// It tells what changed since another list.
    #[error("the revocation list is a delta: load complete lists")]
    Delta,
    /// It revokes certificates of other issuers than its own.
    #[error("the revocation list is an indirect one: load the list of each CA by itself")]
    Indirect,
    /// An issuing distribution point: it covers a part of what its issuer issued. In the place of a
    /// whole one it would let in who is revoked.
    #[error("the revocation list covers a part of what its issuer issued: load complete lists")]
    Partial,
    /// The algorithm that is signed is not the one beside the signature.
    #[error("the revocation list names two different signature algorithms")]
    TwoAlgorithms,
    /// A critical extension that has to be understood, by its object identifier.
    #[error("the revocation list holds the critical extension {0}, which is not supported")]
    UnknownCriticalExtension(String),
    /// An entry with a critical extension that has to be understood.
    #[error("entry {position} of the revocation list holds a critical extension that is unknown")]
    UnknownCriticalEntryExtension {
        /// Which entry, counted from 1.
        position: usize,
    },
}
