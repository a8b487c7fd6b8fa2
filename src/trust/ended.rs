//! Why a live connection ended.

use crate::certificate::SerialNumber;

/// Why a connection that had been admitted is over. An error to whoever still reads or writes on
/// it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// A CA on the device's path became inactive, or was registered as inactive.
    #[error("CA {0} became inactive")]
    CaInactive(SerialNumber),
    /// A CA on the device's path was deleted.
    #[error("CA {0} was deleted")]
    CaDeleted(SerialNumber),
    /// The device became inactive, or its certificate did under another CA.
    #[error("device {serial} became inactive under CA {ca_serial}")]
    DeviceInactive {
        /// The CA's serial number.
        ca_serial: SerialNumber,
        /// The device's.
        serial: SerialNumber,
    },
    /// The device's record was deleted.
    #[error("the record of device {serial} under CA {ca_serial} was deleted")]
    DeviceDeleted {
        /// The CA's serial number.
        ca_serial: SerialNumber,
        /// The device's.
        serial: SerialNumber,
    },
    /// A certificate on the device's path, its own included, was revoked.
    #[error("a certificate on the device's path was revoked by CA {0}")]
    Revoked(SerialNumber),
    /// A certificate on the device's path, its own included, expired.
    #[error("a certificate on the device's path expired")]
    Expired,
    /// The connection was up for as long as the instance lets one be.
    #[error("the connection's lifetime is over")]
    LifetimeOver,
    /// The instance was removed.
    #[error("the instance was removed")]
    InstanceRemoved,
    /// Nobody ended it: the broker let go of it.
    #[error("the connection was dropped")]
    Dropped,
}
