//! What clients are shown where there is nothing that fits.

use std::fmt;

use rustls::AlertDescription;
use rustls_pki_types::UnixTime;

use super::certificate_set::CertificateSet;
use super::map::SniMap;
use super::renewed::Renewed;
use crate::certificate::Validity;
use crate::name::{HostName, canonical};

/// What an instance shows clients in the four cases in which it has nothing that fits them. Unless
/// said otherwise every client is shown something: a device that is refused for a mistake of ours
/// may be one that nobody can reach any more. Given to an instance by
/// [`InstanceSpec::sni_policy`](crate::InstanceSpec::sni_policy). An
/// [`Acceptor`](crate::Acceptor) refuses with the alerts that are named here; in accept loops of the
/// embedder's own it is rustls that refuses, which has `access_denied` for all of them.
///
/// ```
/// use mqtls::{InstanceSpec, OnExpiry, OnMiss, SniPolicy};
///
/// # fn main() -> Result<(), mqtls::IdError> {
/// let policy =
///     SniPolicy::default().unknown_name(OnMiss::Refuse).expired(OnExpiry::ServeDefault);
/// let spec = InstanceSpec::new("mqtt-cn-5yd3xxx".parse()?).sni_policy(policy);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[must_use]
pub struct SniPolicy {
    no_server_name: OnMiss,
    unknown_name: OnMiss,
    no_usable_certificate: OnMiss,
    expired: OnExpiry,
}

impl SniPolicy {
    /// Where a client asks for no name, which it also does with an IP address. Refused with
    /// `unrecognized_name`.
    pub fn no_server_name(self, no_server_name: OnMiss) -> Self {
        Self { no_server_name, ..self }
    }

    /// Where no entry covers the name. On a shared listener this is about names that lead to the
    /// instance as its fallback: its endpoints are known, and all others nobody's. Refused with
    /// `unrecognized_name`.
    pub fn unknown_name(self, unknown_name: OnMiss) -> Self {
        Self { unknown_name, ..self }
    }

    /// Where the name has no certificate that suits the client's signature schemes and cipher
    /// suites. Refused with `handshake_failure`, as is a client that the default does not suit
    /// either.
    pub fn no_usable_certificate(self, no_usable_certificate: OnMiss) -> Self {
        Self { no_usable_certificate, ..self }
    }

    /// Where the certificate has expired: from the first [sweep](crate::Instance::sweep) on that finds it
    /// so, which an [`Acceptor`](crate::Acceptor) makes each second. Refused with `handshake_failure`.
    pub fn expired(self, expired: OnExpiry) -> Self {
        Self { expired, ..self }
    }
}

/// What is shown where nothing fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum OnMiss {
    /// What the next less specific rule has: a wildcard, where that covers the name, and at last the
    /// default certificate.
    #[default]
    ServeDefault,
    /// Nothing: the client is refused with an alert.
    Refuse,
}

/// What is shown instead of a certificate that has expired. Where a name has several and the client can
/// use one that has not, that one is shown; with [`Serve`](Self::Serve) it makes no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum OnExpiry {
    /// The certificate as it is. A device without a clock still believes it, and to every other one a
    /// certificate for another name is no better.
    #[default]
    Serve,
    /// What the next less specific rule has. The default certificate itself is shown also when it
    /// has expired: there is nothing behind it.
    ServeDefault,
    /// Nothing: the client is refused with an alert, also where the default certificate is what has
    /// expired.
    Refuse,
}

/// Why a client is shown no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NotShown {
    /// It asked for no name, and must.
    #[error("the client asks for no server name")]
    NoServerName,
    /// No entry covers the name that it asked for, and the default is not for such.
    #[error("no entry covers the server name")]
    UnknownName,
    /// None suits its signature schemes and cipher suites.
    #[error("no certificate suits the client's signature schemes and cipher suites")]
    NoUsableCertificate,
    /// What suits it has expired.
    #[error("the certificate for the server name has expired")]
    Expired,
}

impl NotShown {
    /// The alert that an [`Acceptor`](crate::Acceptor) refuses it with: `unrecognized_name`
    /// ([RFC 6066 section 3](https://www.rfc-editor.org/rfc/rfc6066#section-3)) where it is the name,
    /// and `handshake_failure`
    /// ([RFC 8446 section 6.2](https://www.rfc-editor.org/rfc/rfc8446#section-6.2)) where it is the
    /// certificate.
    pub fn alert(self) -> AlertDescription {
        match self {
            Self::NoServerName | Self::UnknownName => AlertDescription::UnrecognisedName,
            Self::NoUsableCertificate | Self::Expired => AlertDescription::HandshakeFailure,
        }
    }
}

/// A policy, with what it must know of the instance.
pub(crate) struct Terms {
    policy: SniPolicy,
    /// Names that are known whatever the map has.
    endpoints: Box<[HostName]>,
}

impl Terms {
    pub(crate) fn new(policy: SniPolicy, endpoints: &[HostName]) -> Self {
        Self { policy, endpoints: endpoints.into() }
    }

    /// Whether the default may not be for somebody who is known by no entry.
    pub(super) fn bar_default(&self) -> bool {
        [self.policy.no_server_name, self.policy.unknown_name].contains(&OnMiss::Refuse)
    }

    /// Whether the default is for a client that asked for this, of which no entry knows; the error is
    /// why not.
    pub(super) fn check_default(&self, asked: Option<&str>) -> Result<(), NotShown> {
        let (on_miss, why) = match asked {
            None => (self.policy.no_server_name, NotShown::NoServerName),
            Some(_) => (self.policy.unknown_name, NotShown::UnknownName),
        };
        let is_known = || asked.is_some_and(|name| self.is_endpoint(name));
        if on_miss == OnMiss::ServeDefault || is_known() { Ok(()) } else { Err(why) }
    }

    /// Whether the default is for names of which no entry knows.
    pub(crate) fn serve_unknown_names(&self) -> bool {
        self.policy.unknown_name == OnMiss::ServeDefault
    }

    fn is_endpoint(&self, asked: &str) -> bool {
        !self.endpoints.is_empty() && {
            let asked = canonical(asked);
            self.endpoints.iter().any(|endpoint| endpoint.as_str() == asked)
        }
    }

    /// Whether no less specific rule is asked where one has nothing for this reason.
    pub(super) fn ends_with(&self, why: NotShown) -> bool {
        match why {
            NotShown::NoUsableCertificate => self.policy.no_usable_certificate == OnMiss::Refuse,
            NotShown::Expired => self.policy.expired == OnExpiry::Refuse,
            NotShown::NoServerName | NotShown::UnknownName => true,
        }
    }

    /// Whether the default is shown also when it has expired.
    pub(super) fn default_outlives_itself(&self) -> bool {
        self.policy.expired == OnExpiry::ServeDefault
    }

    /// For how long a table answers rightly in which this is renewed, where it answered rightly before
    /// and none of this has expired: then no other certificate need be looked at. It may be for longer.
    pub(super) fn still_stands(
        &self,
        mut standing: Standing,
        renewed: &Renewed,
        now: Option<UnixTime>,
    ) -> Option<Standing> {
        if self.policy.expired == OnExpiry::Serve {
            return Some(Standing::ALWAYS);
        }
        let now = now.filter(|now| standing.includes(*now))?;
        for (_, next) in renewed.each() {
            let validity = next.certificate().validity();
            if validity.is_expired(now) {
                return None;
            }
            standing.heed(validity, now);
        }
        Some(standing)
    }

    /// The map as it answers at this time, and for how long it does. Where the clock fails it is taken
    /// as it is, until there is a time again.
    pub(super) fn at(
        &self,
        map: SniMap<CertificateSet>,
        now: Option<UnixTime>,
    ) -> (SniMap<CertificateSet>, Standing) {
        if self.policy.expired == OnExpiry::Serve {
            return (map, Standing::ALWAYS);
        }
        let Some(now) = now else { return (map, Standing::NEVER) };
        let mut standing = Standing::ALWAYS;
        for certificate in map.values().flat_map(CertificateSet::all) {
            standing.heed(certificate.certificate().validity(), now);
        }
        (map.replace_values(|set| set.at(now)), standing)
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.policy.fmt(f)
    }
}

/// The time in which a table's answers are right, in seconds since 1970, `until` not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    from: u64,
    until: u64,
}

impl Standing {
    const ALWAYS: Self = Self { from: 0, until: u64::MAX };
    const NEVER: Self = Self { from: 0, until: 0 };

    /// Ends, or begins, where this certificate expires.
    fn heed(&mut self, validity: Validity, now: UnixTime) {
        let expired_from = validity.not_after.as_secs().saturating_add(1);
        if validity.is_expired(now) {
            self.from = self.from.max(expired_from);
        } else {
            self.until = self.until.min(expired_from);
        }
    }

    pub(super) fn includes(self, now: UnixTime) -> bool {
        (self.from..self.until).contains(&now.as_secs())
    }

    /// Whether a certificate has expired at this time that had not when the table was made.
    pub(super) fn newly_expired(self, validity: Validity, now: UnixTime) -> bool {
        validity.is_expired(now) && validity.not_after.as_secs() >= self.from
    }
}
