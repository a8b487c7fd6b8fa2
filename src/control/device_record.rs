//! A device on record as operations show it.

use rustls_pki_types::{CertificateDer, UnixTime};

use crate::certificate::{SerialNumber, Validity};
use crate::trust::{DeviceStatus, RecordedDevice};

/// A device on record as it was when an operation looked at it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeviceRecord {
    /// `DeviceName`: the common name in its certificate, where there is exactly one. Whoever made the
    /// certificate chose the text: escape it where it is shown.
    pub name: Option<String>,
    /// `CaSn`: the serial number of the CA under which it is recorded.
    pub ca_sn: SerialNumber,
    /// `DeviceSn`: the serial number of its certificate.
    pub device_sn: SerialNumber,
    /// `Status`: "1" on the wire for active, "0" for inactive.
    pub status: DeviceStatus,
    /// Whether it is let in, as far as records tell. Not where it is active and the same certificate is
    /// inactive under another CA. CAs and their revocation lists have their own say. Not on the wire.
    pub let_in: bool,
    /// `DeviceContent`: its certificate.
    pub certificate: CertificateDer<'static>,
    /// `ValidBegin` and `ValidEnd`: from when until when its certificate is valid.
    pub validity: Validity,
    /// When it first came in; `None` where it has not. Not on the wire, as what follows.
    pub first_seen: Option<UnixTime>,
    /// When it last came in.
    pub last_seen: Option<UnixTime>,
    /// How many connections have come in on this record, with a ticket or without.
    pub connections: u64,
    /// How many of these are up.
    pub live_connections: usize,
}

impl DeviceRecord {
    pub(super) fn of(record: &RecordedDevice) -> Self {
        let device = record.device();
        Self {
            name: device.common_name().map(ToOwned::to_owned),
            ca_sn: record.ca_serial().clone(),
            device_sn: record.serial().clone(),
            status: record.status(),
            let_in: record.is_let_in(),
            certificate: device.certificate().to_vec().into(),
            validity: device.validity(),
            first_seen: record.first_seen(),
            last_seen: record.last_seen(),
            connections: record.connections(),
            live_connections: record.live_connections(),
        }
    }
}
