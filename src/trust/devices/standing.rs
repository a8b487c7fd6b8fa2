//! What is on record about a device whose chain is good.

use std::sync::Arc;

use super::recorded::RecordedDevice;
use crate::trust::state::{Moment, Word};

/// What a handshake found on record about its device.
#[derive(Clone, Debug)]
pub(in crate::trust) enum DeviceStanding {
    /// A record that lets it in.
    Recorded(SeenDevice),
    /// Nothing: it is recorded at the gate, in this order and with this word, which are drawn here so
    /// that a ticket can name them.
    New { order: u64, word: Word, moment: Moment },
}

/// A record in the state in which a handshake saw it.
#[derive(Clone, Debug)]
pub(in crate::trust) struct SeenDevice {
    pub(in crate::trust) record: Arc<RecordedDevice>,
    pub(in crate::trust) word: Word,
}

impl DeviceStanding {
    /// The order and the word that a ticket names.
    pub(in crate::trust) fn bind(&self) -> (u64, u64) {
        match self {
            Self::Recorded(SeenDevice { record, word }) => (record.order(), word.bits()),
            Self::New { order, word, .. } => (*order, word.bits()),
        }
    }
}
