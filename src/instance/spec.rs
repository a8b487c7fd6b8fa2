//! What an instance is created from.

use crate::id::InstanceId;
use crate::trust::{ClientAuth, Resumption};

/// What an [`Instance`](super::Instance) is created from: its id, and what differs from the
/// defaults.
#[derive(Clone, Debug)]
#[must_use]
pub struct InstanceSpec {
    pub(super) id: InstanceId,
    pub(super) client_auth: ClientAuth,
    pub(super) resumption: Resumption,
}

impl InstanceSpec {
    /// An instance with this id that requires every client to show a certificate, and whose clients
    /// may resume their sessions.
    pub fn new(id: InstanceId) -> Self {
        Self { id, client_auth: ClientAuth::default(), resumption: Resumption::default() }
    }

    /// Whether clients must, may or cannot show a certificate.
    pub fn client_auth(self, client_auth: ClientAuth) -> Self {
        Self { client_auth, ..self }
    }

    /// Whether and how clients may resume their sessions.
    pub fn resumption(self, resumption: Resumption) -> Self {
        Self { resumption, ..self }
    }
}
