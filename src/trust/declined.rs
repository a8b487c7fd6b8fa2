//! Why a ticket is declined.

use super::refusal::Refusal;
use crate::certificate::SerialNumber;

/// Why a ticket is declined. For the log: the client is told nothing, its handshake is a full one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Declined {
    /// Nobody observes the handshake, so that nobody would ask at its end whose it was.
    #[error("the handshake has no context")]
    NoContext,
    #[error("too many tickets were offered in one handshake")]
    TooMany,
    #[error("it is larger than any that was issued")]
    TooLarge,
    /// Foreign, altered, or under keys that are gone.
    #[error("it cannot be opened")]
    Sealed,
    #[error("it says nothing that can be read")]
    Unreadable,
    #[error("it is another instance's, or an earlier one's of the same id")]
    OtherInstance,
    #[error("the current time is not available")]
    NoTime,
    #[error("the clock was set back behind the full handshake")]
    ClockSetBack,
    #[error("the last full handshake was too long ago")]
    TooOld,
    #[error("a certificate on the device's path has expired")]
    PathExpired,
    #[error("it is for a client without a certificate, and one is required")]
    Anonymous,
    #[error("the status of CA {0} changed")]
    CaChanged(SerialNumber),
    #[error("a CA on the device's path was deleted")]
    CaDeleted,
    #[error("the device's record was deleted, or never made")]
    DeviceDeleted,
    #[error("the record of device {0} changed")]
    DeviceChanged(SerialNumber),
    #[error("the revocation lists are against it: {0}")]
    Revocation(Refusal),
    #[error("what is registered about intermediate CA {0}, or its key, changed")]
    CaRegistered(SerialNumber),
}
