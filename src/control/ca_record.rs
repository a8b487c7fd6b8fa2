//! A registered CA as operations show it.

use crate::certificate::{CaCertificate, SerialNumber};
use crate::trust::{Authority, CaStatus};

/// A registered CA as it was when an operation looked at it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaRecord {
    /// `CaName`: what the operator called it.
    pub name: String,
    /// `Sn`: its serial number.
    pub sn: SerialNumber,
    /// `Status`: "1" on the wire for active, "0" for inactive.
    pub status: CaStatus,
    /// `CaContent`: its certificate.
    pub certificate: CaCertificate,
}

impl CaRecord {
    pub(super) fn of(authority: &Authority) -> Self {
        Self {
            name: authority.name().to_owned(),
            sn: authority.certificate().serial().clone(),
            status: authority.status(),
            certificate: authority.certificate().clone(),
        }
    }
}
