//! Ending live connections, and what came of it.

use std::sync::Arc;

use super::authority::Authority;
use super::ended::Ended;
use super::lifeline::Lifeline;

/// What a change does to live connections, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveChange {
    /// How many connections it ends. None of them reads or writes any more once the change has
    /// returned. One that was at the gate at that very moment may count, and is not admitted.
    pub ended: usize,
    /// How many it leaves up, on an instance that keeps connections.
    pub kept: usize,
}

impl LiveChange {
    /// Tells those who wait on them, and reports. To be called without a lock.
    pub(super) fn of(cut: Cut) -> Self {
        let change = Self { ended: cut.ended, kept: cut.kept };
        cut.wake();
        change
    }
}

/// What became of connections.
#[derive(Default)]
#[must_use]
pub(super) struct Cut {
    /// How many were ended that nobody had ended before.
    ended: usize,
    /// How many were left up.
    kept: usize,
    lifelines: Vec<Arc<Lifeline>>,
}

impl Cut {
    /// Ends them all. Once this has returned none of them reads or writes.
    pub(super) fn of(lifelines: Vec<Arc<Lifeline>>, why: Ended) -> Self {
        let why = Arc::new(why);
        let marks: Vec<_> = lifelines.iter().map(|lifeline| lifeline.cut(&why)).collect();
        let ended = marks.iter().filter(|mark| mark.first).count();
        let busy = lifelines.iter().zip(marks).filter(|(_, mark)| mark.busy);
        busy.for_each(|(lifeline, _)| lifeline.wait());
        Self { ended, kept: 0, lifelines }
    }

    /// What ending some, or keeping them, would come to.
    pub(super) fn foreseen(ended: usize, kept: usize) -> Self {
        Self { ended, kept, lifelines: vec![] }
    }

    /// Tells them, in whatever code their wakers run: to be called without a lock.
    fn wake(self) {
        self.lifelines.iter().for_each(|lifeline| lifeline.wake());
    }
}

/// How a CA loses those that it let in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    /// It is inactive now, and so is its key under every name.
    Inactive,
    /// Its record goes. What came in where nothing was registered about it stays.
    Deleted,
}

impl Loss {
    pub(super) fn unregistered_key(self, authority: &Authority) -> Option<&[u8]> {
        match self {
            Self::Inactive => Some(authority.certificate().identity().key()),
            Self::Deleted => None,
        }
    }

    pub(super) fn reason(self, authority: &Authority) -> Ended {
        let serial = authority.certificate().serial().clone();
        match self {
            Self::Inactive => Ended::CaInactive(serial),
            Self::Deleted => Ended::CaDeleted(serial),
        }
    }
}
