//! Why a revocation list is not put in force.

use rustls_pki_types::UnixTime;

use crate::certificate::{ListNumber, SerialNumber};

/// Why a revocation list is not put in force for a CA. The one that was stays in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// Its issuer has another name than the CA.
    #[error("the revocation list is by {:?}, which is not the subject of CA {serial}", cut(.issuer))]
    OtherIssuer {
        /// The serial number of the CA.
        serial: SerialNumber,
        /// Who made the list, as `CN=…, O=…`.
        issuer: String,
    },
    /// The CA's certificate has a key usage without cRLSign.
    #[error("the key usage of CA {0} does not allow it to sign revocation lists")]
    NoCrlSign(SerialNumber),
    /// The crypto provider does not know the algorithm by which it is signed.
    #[error("the revocation list is signed by the algorithm {0:.200}, which is not supported")]
    UnsupportedAlgorithm(String),
    /// The CA's key did not sign it: it is damaged, forged, or by another CA of the same name.
    #[error("the signature of the revocation list is not by the key of CA {0}")]
    BadSignature(SerialNumber),
    /// It was made in the future.
    #[error("the revocation list is not valid yet")]
    NotYetValid {
        /// When it was made.
        this_update: UnixTime,
    },
    /// The next one should be there, and the instance does not
    /// [accept](crate::InstanceSpec::accept_stale_revocation_lists) one that is out of date.
    #[error("the revocation list is stale: the next one should be there")]
    Stale {
        /// By when the next one was announced.
        next_update: UnixTime,
    },
    /// It is not later than the one in force, by its number or, where that one has none, by its date:
    /// whoever was revoked in between would be let in again.
    #[error("the revocation list is not later than the one in force")]
    NotLater {
        /// Its number, where it has one.
        number: Option<ListNumber>,
        /// The number of the one in force.
        in_force: Option<ListNumber>,
    },
}

/// As much of a text as belongs in a line; whoever made the list chose it, so it is shown escaped.
fn cut(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

const MAX_SHOWN: usize = 200;
