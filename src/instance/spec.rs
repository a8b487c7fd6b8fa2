//! What an instance is created from.

use crate::id::InstanceId;
use crate::trust::ClientAuth;

/// What an [`Instance`](super::Instance) is created from: its id, and what differs from the
/// defaults.
#[derive(Clone, Debug)]
#[must_use]
pub struct InstanceSpec {
    pub(super) id: InstanceId,
    pub(super) client_auth: ClientAuth,
}

impl InstanceSpec {
    /// An instance with this id that requires every client to show a certificate.
    pub fn new(id: InstanceId) -> Self {
        Self { id, client_auth: ClientAuth::default() }
    }

    /// Whether clients must, may or cannot show a certificate.
    pub fn client_auth(self, client_auth: ClientAuth) -> Self {
        Self { client_auth, ..self }
    }
}
