//! No stored sessions, and what rustls tells by asking for them.

use std::fmt;
use std::sync::Arc;

use rustls::server::StoresServerSessions;

use super::handshake;
use super::registry::CaRegistry;

/// Stores nothing: whoever comes back does so with a ticket.
///
/// rustls calls `can_cache` in a TLS 1.2 handshake that it does not resume, and nowhere else: before it
/// asks whether to announce a ticket. That is where such a handshake is known to be a full one;
/// the verifier hears of it later.
pub(crate) struct NoSessions {
    registry: Arc<CaRegistry>,
}

impl NoSessions {
    pub(crate) fn new(registry: Arc<CaRegistry>) -> Self {
        Self { registry }
    }
}

impl StoresServerSessions for NoSessions {
    fn put(&self, _key: Vec<u8>, _value: Vec<u8>) -> bool {
        false
    }

    fn get(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        handshake::note_full(&self.registry);
        false
    }
}

impl fmt::Debug for NoSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoSessions").finish_non_exhaustive()
    }
}
