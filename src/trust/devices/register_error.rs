//! Why a device is not registered.

use super::recorded::DeviceStatus;
use crate::certificate::SerialNumber;
use crate::trust::refusal::Refusal;

/// Why a device is not registered. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterDeviceError {
    /// The certificate does not lead to the CA under which it is to be registered, or could not be
    /// a device's.
    #[error("the device's certificate is not good below this CA")]
    NotBelow(#[source] Refusal),
    /// The same certificate is on record under this CA.
    #[error("device {serial} is on record already, {status}")]
    AlreadyRecorded {
        /// The certificate's serial number.
        serial: SerialNumber,
        /// Its status, which stays.
        status: DeviceStatus,
    },
    /// Another certificate with this serial number is on record under this CA.
    #[error("another certificate with serial number {0} is on record under this CA")]
    SerialInUse(SerialNumber),
    /// The CA was deleted meanwhile.
    #[error("CA {0} was deleted meanwhile")]
    CaDeleted(SerialNumber),
    /// As many devices as may be are on record. One that is to be inactive is registered all the same.
    #[error("{0} devices are on record, as many as the instance may have")]
    TooManyDevices(usize),
}
