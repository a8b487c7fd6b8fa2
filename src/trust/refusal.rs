//! Why a device is not believed.

use crate::certificate::SerialNumber;

/// Why a device is not believed. For logs and counters: the device itself is told `unknown_ca`
/// whatever the reason, so that nobody learns which CAs are registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// More intermediates than any fleet needs.
    #[error("the device sent {0} intermediate certificates, at most 8 are looked at")]
    TooManyIntermediates(usize),
    /// More bytes than any fleet needs.
    #[error("the device's chain has {0} bytes, at most 32768 are looked at")]
    ChainTooLarge(usize),
    /// The device's certificate, or one on its path, cannot be read.
    #[error("the device's chain cannot be read")]
    Unreadable,
    /// A CA's key on the path is in an encoding by which it could hide that it is an inactive one's.
    #[error("the key of a CA on the device's path is in an unusual encoding")]
    UnusualKey,
    /// No path leads to a registered CA.
    #[error("no path leads from the device's certificate to a registered CA")]
    UnknownIssuer,
    /// The path leads through the key of a CA that is inactive.
    #[error("CA {0} is inactive")]
    InactiveCa(SerialNumber),
    /// The CA's status changed while the handshake was under way.
    #[error("the status of CA {0} changed during the handshake")]
    ChangedMeanwhile(SerialNumber),
    /// The registered CA's own certificate is not valid yet.
    #[error("the certificate of CA {0} is not valid yet")]
    CaNotYetValid(SerialNumber),
    /// The registered CA's own certificate has expired.
    #[error("the certificate of CA {0} has expired")]
    CaExpired(SerialNumber),
    /// The registered CA's path length allows fewer intermediates.
    #[error("CA {0} does not allow so many intermediates below it")]
    PathTooLong(SerialNumber),
    /// An intermediate whose key usage does not allow it to sign certificates.
    #[error("an intermediate's key usage does not allow it to sign certificates")]
    NoKeyCertSign,
    /// A certificate on the path is for other purposes than client authentication alone.
    #[error("the device's certificate, or one on its path, is not for client authentication")]
    NotForClientAuth,
    /// A certificate on the path is signed by an algorithm that the crypto provider does not verify.
    #[error("a certificate on the device's path is signed by an algorithm that is not supported")]
    UnsupportedSignature,
    /// So many CAs share the issuer's name that not all were tried.
    #[error("too many registered CAs bear the issuer's name, and no key id tells them apart")]
    TooManyCandidates,
    /// The chain would cost more signature checks than a handshake may.
    #[error("the device's chain needs more than 16 signature checks")]
    TooManySignatureChecks,
    /// The chain offers more ways up than are searched.
    #[error("the device's chain has too many ways up")]
    SearchTooLong,
    /// webpki's verdict on the device's certificate or an intermediate: expired, a CA's, with an
    /// unknown critical extension, and so on. Holds nothing that is as long as a client likes.
    #[error("the device's chain is not valid: {0}")]
    Invalid(webpki::Error),
    /// The device is on record and inactive, under this CA or, with the same certificate, under
    /// another one.
    #[error("device {serial} is inactive under CA {ca_serial}")]
    InactiveDevice {
        /// The CA's serial number.
        ca_serial: SerialNumber,
        /// The device's.
        serial: SerialNumber,
    },
    /// The device is not on record, and the instance takes none that no operator has registered.
    #[error("device {0} is not registered")]
    UnknownDevice(SerialNumber),
    /// Another certificate is on record under the same CA with the same serial number. Where both are
    /// right, different intermediates have issued them that are not registered: register these.
    #[error("another certificate is on record with the serial number {0} of the device")]
    DeviceConflict(SerialNumber),
    /// The device's record, or that of the same certificate under another CA, changed or was deleted
    /// while the handshake was under way.
    #[error("the record of device {0} changed during the handshake")]
    DeviceChangedMeanwhile(SerialNumber),
    /// The device is new, and as many are on record as may be.
    #[error("the instance has as many devices on record as it may have")]
    TooManyDevices,
    /// A certificate on the path, the device's own included, is on its issuer's revocation list.
    #[error("certificate {serial} is revoked by CA {ca_serial}")]
    Revoked {
        /// The CA whose list it is on.
        ca_serial: SerialNumber,
        /// The certificate's serial number.
        serial: SerialNumber,
    },
    /// The revocation list of a CA on the path should have been replaced by now.
    #[error("the revocation list of CA {0} is out of date")]
    StaleRevocationList(SerialNumber),
    /// A CA on the path has no revocation list, and the instance asks for one.
    #[error("CA {0} has no revocation list")]
    NoRevocationList(SerialNumber),
    /// The clock did not answer.
    #[error("the current time is not available")]
    NoTime,
    /// As many connections of the instance are up as may be.
    #[error("the instance has as many connections as it may have")]
    TooManyConnections,
    /// The instance was removed.
    #[error("the instance was removed")]
    InstanceRemoved,
    /// The handshake ended without the proof that the gate asks for.
    #[error("the handshake proved no device")]
    NotProven,
}
