//! What changing a registry came to.

use std::sync::Arc;

use super::authority::Authority;
use super::cut::LiveChange;
use super::devices::Forgotten;
use super::lint::RegistrationWarning;
use crate::certificate::SerialNumber;

/// A CA that was registered.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) authority: Arc<Authority>,
    pub(crate) warnings: Vec<RegistrationWarning>,
    pub(crate) live: LiveChange,
}

/// What setting a status came to.
#[derive(Debug)]
pub(crate) struct StatusChange {
    /// Whether it was another one before.
    pub(crate) changed: bool,
    /// After a deactivation, the other active records with the same subject and key.
    pub(crate) active_twins: Vec<SerialNumber>,
    pub(crate) live: LiveChange,
}

/// What forgetting a CA came to.
#[derive(Debug)]
pub(crate) struct Deletion {
    pub(crate) authority: Arc<Authority>,
    /// The other active records with its subject and key.
    pub(crate) active_twins: Vec<SerialNumber>,
    pub(crate) devices: Forgotten,
    pub(crate) live: LiveChange,
}
