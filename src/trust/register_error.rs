//! Why a CA is not registered.

use std::ops::RangeInclusive;

use super::state::CaStatus;
use crate::certificate::{SerialNumber, Validity};

/// Why a CA is not registered. What was registered before stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The very same certificate is registered. Its status does not change.
    #[error("CA {serial} is already registered and {status}")]
    AlreadyRegistered {
        /// Its serial number.
        serial: SerialNumber,
        /// The status that it has and keeps.
        status: CaStatus,
    },
    /// Another certificate is registered under the serial number: a serial is unique for its
    /// issuer only.
    #[error("another CA is registered under serial number {0}")]
    SerialInUse(SerialNumber),
    /// The certificate has expired.
    #[error("the certificate of CA {serial} has expired")]
    Expired {
        /// Its serial number.
        serial: SerialNumber,
        /// From when until when it was valid.
        validity: Validity,
    },
    /// The crypto provider cannot verify signatures of such a key.
    #[error("the crypto provider cannot verify signatures by the key of CA {0}")]
    UnsupportedKey(SerialNumber),
    /// An RSA key that no handshake would accept.
    #[error("CA {serial} has an RSA key of {bits} bits, {min} to {max} are supported", min = RSA_BITS.start(), max = RSA_BITS.end())]
    RsaKeySize {
        /// Its serial number.
        serial: SerialNumber,
        /// The size of its key.
        bits: usize,
    },
    /// It says that it signed itself, and did not: it is damaged, or its key is none that works.
    #[error("the signature by which CA {0} signed its own certificate is not good")]
    BadSelfSignature(SerialNumber),
    /// As many CAs are registered as the instance may have.
    #[error("{0} CAs are registered, and the instance may have no more")]
    TooManyCas(usize),
    /// As many certificates with this subject and key are registered as may be.
    #[error("{max} certificates with the subject and key of CA {0} are registered already", max = MAX_TWINS)]
    TooManyTwins(SerialNumber),
}

/// How many certificates of one subject and key may be registered: each costs the path a look.
pub(super) const MAX_TWINS: usize = 8;
/// What rustls' providers verify.
pub(super) const RSA_BITS: RangeInclusive<usize> = 2048..=8192;
