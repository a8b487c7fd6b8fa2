//! What clients were shown, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sni::{NotShown, Rule};

/// How the clients of one instance were shown a certificate, since it was created: each handshake of
/// an [`Acceptor`](crate::Acceptor) once, from its ClientHello, whatever comes of it after that. A client
/// with no cipher suite in common is refused by TLS itself, and is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SniStats {
    /// By an entry for the very name.
    pub exact: u64,
    /// By a wildcard.
    pub wildcard: u64,
    /// By the default certificate.
    pub default: u64,
    /// Refused: it asked for no name. See [`NotShown::NoServerName`].
    pub no_server_name: u64,
    /// Refused: no entry covers its name. See [`NotShown::UnknownName`].
    pub unknown_name: u64,
    /// Refused: nothing suits it. See [`NotShown::NoUsableCertificate`].
    pub no_usable_certificate: u64,
    /// Refused: what suits it has expired. See [`NotShown::Expired`].
    pub expired: u64,
    /// How often a certificate could not be renewed, each attempt counted.
    pub failed_renewals: u64,
}

/// The counters behind [`SniStats`].
#[derive(Debug, Default)]
pub(crate) struct SniCounters {
    exact: AtomicU64,
    wildcard: AtomicU64,
    default: AtomicU64,
    no_server_name: AtomicU64,
    unknown_name: AtomicU64,
    no_usable_certificate: AtomicU64,
    expired: AtomicU64,
}

impl SniCounters {
    pub(super) fn count(&self, answer: Result<Rule, NotShown>) {
        let counter = match answer {
            Ok(Rule::Exact) => &self.exact,
            Ok(Rule::Wildcard) => &self.wildcard,
            Ok(Rule::Default) => &self.default,
            Err(NotShown::NoServerName) => &self.no_server_name,
            Err(NotShown::UnknownName) => &self.unknown_name,
            Err(NotShown::NoUsableCertificate) => &self.no_usable_certificate,
            Err(NotShown::Expired) => &self.expired,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, failed_renewals: u64) -> SniStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SniStats {
            exact: read(&self.exact),
            wildcard: read(&self.wildcard),
            default: read(&self.default),
            no_server_name: read(&self.no_server_name),
            unknown_name: read(&self.unknown_name),
            no_usable_certificate: read(&self.no_usable_certificate),
            expired: read(&self.expired),
            failed_renewals,
        }
    }
}
