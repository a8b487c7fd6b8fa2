//! What an instance is created from.

use std::time::Duration;

use crate::id::InstanceId;
use crate::trust::{ClientAuth, LivePolicy, Resumption};

/// What an [`Instance`](super::Instance) is created from: its id, and what differs from the
/// defaults.
#[derive(Clone, Debug)]
#[must_use]
pub struct InstanceSpec {
    pub(super) id: InstanceId,
    pub(super) client_auth: ClientAuth,
    pub(super) live: LivePolicy,
    pub(super) resumption: Resumption,
}

impl InstanceSpec {
    /// An instance with this id that requires every client to show a certificate, and whose clients
    /// may resume their sessions.
    pub fn new(id: InstanceId) -> Self {
        Self {
            id,
            client_auth: ClientAuth::default(),
            live: LivePolicy::default(),
            resumption: Resumption::default(),
        }
    }

    /// Whether clients must, may or cannot show a certificate.
    pub fn client_auth(self, client_auth: ClientAuth) -> Self {
        Self { client_auth, ..self }
    }

    /// Whether and how clients may resume their sessions.
    pub fn resumption(self, resumption: Resumption) -> Self {
        Self { resumption, ..self }
    }

    /// Leaves connections up when a CA that let them in is deactivated or deleted. They stay for as
    /// long as client and broker like, up to the end of their certificates, of
    /// [`max_lifetime`](Self::max_lifetime), or of the instance. New handshakes and tickets are refused
    /// all the same. The operations say how many they left up.
    pub fn keep_connections(mut self) -> Self {
        self.live.keep = true;
        self
    }

    /// Ends each connection after this time, up to a tenth of it sooner, so that those who came
    /// together do not come back together. In whole seconds (what is shorter than one is nothing), by
    /// the instance's clock, at the next [`sweep`](super::Instance::sweep). Without this a connection
    /// lasts until its certificates expire, and one without a device has no end of its own.
    pub fn max_lifetime(mut self, max_lifetime: Duration) -> Self {
        self.live.max_lifetime = Some(max_lifetime);
        self
    }
}
