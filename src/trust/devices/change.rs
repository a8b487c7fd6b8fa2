//! What changing a device's record came to.

use std::sync::Arc;

use super::recorded::{DeviceStatus, RecordedDevice};
use crate::certificate::SerialNumber;
use crate::trust::cut::LiveChange;

/// What setting a device's status came to.
#[derive(Debug)]
pub(crate) struct DeviceChange {
    /// Whether it was another one before.
    pub(crate) changed: bool,
    /// Whether the device is let in now.
    pub(crate) let_in: bool,
    /// The other CAs under which the same certificate is recorded.
    pub(crate) also_under: Vec<SerialNumber>,
    pub(crate) live: LiveChange,
}

/// What forgetting a device came to.
#[derive(Debug)]
pub(crate) struct DeviceDeletion {
    /// The other CAs under which the same certificate is recorded.
    pub(crate) also_under: Vec<SerialNumber>,
    pub(crate) live: LiveChange,
}

/// The devices that are forgotten with their CA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forgotten {
    pub(crate) records: usize,
    /// How many of them were inactive: nothing keeps these out any more where they come through
    /// another CA.
    pub(crate) inactive: usize,
}

impl Forgotten {
    pub(super) fn add(&mut self, records: &[Arc<RecordedDevice>]) {
        self.records += records.len();
        let inactive = |record: &&Arc<RecordedDevice>| record.status() == DeviceStatus::Inactive;
        self.inactive += records.iter().filter(inactive).count();
    }
}
