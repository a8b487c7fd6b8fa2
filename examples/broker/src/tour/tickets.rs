//! The session tickets that a client holds.

use std::sync::atomic::{AtomicBool, Ordering};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

/// Keeps tickets as rustls does, and tells whether one was offered: a full handshake means that a
/// ticket was declined only where there was one.
#[derive(Debug)]
pub(super) struct Tickets {
    held: ClientSessionMemoryCache,
    offered: AtomicBool,
}

impl Tickets {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { held: ClientSessionMemoryCache::new(SERVER_NAMES), offered: AtomicBool::new(false) }
    }

    /// Whether a ticket was offered since this was asked last.
    pub(super) fn were_offered(&self) -> bool {
        self.offered.swap(false, Ordering::Relaxed)
    }

    fn offering<T>(&self, ticket: Option<T>) -> Option<T> {
        self.offered.fetch_or(ticket.is_some(), Ordering::Relaxed);
        ticket
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.held.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.held.kx_hint(server)
    }

    fn set_tls12_session(&self, server: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.held.set_tls12_session(server, session);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.offering(self.held.tls12_session(server))
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.held.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.held.insert_tls13_ticket(server, ticket);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.offering(self.held.take_tls13_ticket(server))
    }
}

/// More than the tour connects to.
const SERVER_NAMES: usize = 8;
