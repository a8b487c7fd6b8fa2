//! A connection's places in the index of those that are live.

use std::fmt;
use std::sync::Arc;

use super::authority::Authority;
use super::devices::RecordedDevice;
use super::lifeline::Lifeline;
use super::live::LiveIndex;

/// Keeps a connection in the index for as long as it lives.
pub(crate) struct Membership {
    index: Arc<LiveIndex>,
    place: usize,
    under: Vec<Under>,
    lifeline: Arc<Lifeline>,
}

impl Membership {
    pub(super) fn new(
        index: Arc<LiveIndex>,
        place: usize,
        under: Vec<Under>,
        lifeline: Arc<Lifeline>,
    ) -> Self {
        Self { index, place, under, lifeline }
    }

    /// Enters the connection under its device, too.
    pub(super) fn enter_under_device(&mut self, record: &Arc<RecordedDevice>) {
        let place = record.live().enter(&self.lifeline, NOTHING);
        self.under.push(Under::Device(Arc::clone(record), place));
    }

    /// What the connection hangs on.
    pub(crate) fn lifeline(&self) -> &Arc<Lifeline> {
        &self.lifeline
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.lifeline.let_go();
        self.index.leave(self.place);
        for under in &self.under {
            under.leave(&self.index, &self.lifeline);
        }
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("lifeline", &self.lifeline).finish_non_exhaustive()
    }
}

/// What a connection stands under, and its place there.
pub(super) enum Under {
    Authority(Arc<Authority>, usize),
    Key(Box<[u8]>, usize),
    Device(Arc<RecordedDevice>, usize),
}

impl Under {
    fn leave(&self, index: &LiveIndex, lifeline: &Arc<Lifeline>) {
        match self {
            Self::Authority(authority, place) => authority.live().leave(*place, lifeline),
            Self::Device(record, place) => record.live().leave(*place, lifeline),
            Self::Key(key, place) => index.leave_key(key, *place, lifeline),
        }
    }
}

/// Below a device stands no certificate.
const NOTHING: u64 = 0;
