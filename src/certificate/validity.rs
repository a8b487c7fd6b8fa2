//! The time in which a certificate may be used.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use x509_parser::time::ASN1Time;

/// From when until when a certificate is valid, both ends included
/// ([RFC 5280 section 4.1.2.5](https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.5)).
/// Seconds since 1970; what lies before is 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: UnixTime,
    /// The last second.
    pub not_after: UnixTime,
}

impl Validity {
    pub(crate) fn of(certificate: &x509_parser::certificate::TbsCertificate<'_>) -> Self {
        let validity = certificate.validity();
        Self { not_before: unix(validity.not_before), not_after: unix(validity.not_after) }
    }

    /// Whether `now` lies before the first second.
    pub fn is_early(&self, now: UnixTime) -> bool {
        now.as_secs() < self.not_before.as_secs()
    }

    /// Whether `now` lies behind the last second.
    pub fn is_expired(&self, now: UnixTime) -> bool {
        now.as_secs() > self.not_after.as_secs()
    }
}

/// Seconds since 1970; what lies before is 1970.
pub(super) fn unix(time: ASN1Time) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(time.timestamp().try_into().unwrap_or(0)))
}
