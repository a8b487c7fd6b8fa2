//! Pages of devices on record.

use std::sync::Arc;

use super::recorded::RecordedDevice;

/// Where a page of devices ended: a place in the list of one instance, good also where the record there
/// is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceCursor(pub(super) Place);

/// One page of devices on record.
#[derive(Debug)]
pub struct DevicePage {
    /// The records: CA by CA in the order in which these were registered, and of each in the order in
    /// which they were made.
    pub devices: Vec<Arc<RecordedDevice>>,
    /// Where to go on; `None` where nothing follows.
    pub next: Option<DeviceCursor>,
}

/// The order of a CA, and that of a record.
pub(super) type Place = (u64, u64);
