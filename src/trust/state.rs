//! Status and epoch in one atomic word.

use std::fmt;
use std::sync::atomic::Ordering;

use crate::primitives::{AtomicU64, per_process};

/// Whether a registered CA may admit devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum CaStatus {
    /// Devices with certificates that it issued are believed. What a CA is on registration unless
    /// the operator says otherwise.
    #[default]
    Active,
    /// It is known, and everything that leads through its key is refused.
    Inactive,
}

impl fmt::Display for CaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        })
    }
}

/// A status together with the epoch in which it was set: the lowest bit says active, the rest is
/// drawn from one process-wide counter.
///
/// No word ever comes back, also not for a record that is deleted and registered again, so an
/// equal word proves that nothing happened in between. In one word, because with two a handshake
/// could capture the new epoch under the old status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    /// A word that nothing has had.
    pub(super) fn draw(status: CaStatus) -> Self {
        let epoch = LAST_DRAWN.fetch_add(1, Ordering::SeqCst) + 1;
        Self(epoch << 1 | u64::from(status == CaStatus::Active))
    }

    pub(crate) fn status(self) -> CaStatus {
        if self.0 & 1 == 1 { CaStatus::Active } else { CaStatus::Inactive }
    }

    pub(crate) fn is_active(self) -> bool {
        self.status() == CaStatus::Active
    }

    /// As it stands in a ticket.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// Whether the word had been drawn when the moment was taken.
    pub(crate) fn is_older_than(self, moment: Moment) -> bool {
        self.0 >> 1 <= moment.0
    }
}

/// The value of the process-wide counter when a handshake began. One load stands for all words:
/// each was drawn at or before it, or else changed after the handshake began. A word that is drawn
/// and not stored yet belongs to a call that has not returned: either order is right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Self {
        Self(LAST_DRAWN.load(Ordering::SeqCst))
    }
}

/// The place where a record's word lives.
#[derive(Debug)]
pub(crate) struct State(AtomicU64);

impl State {
    pub(crate) fn new(status: CaStatus) -> Self {
        Self::with(Word::draw(status))
    }

    /// A place for a word that was drawn before.
    pub(super) fn with(word: Word) -> Self {
        Self(AtomicU64::new(word.0))
    }

    pub(crate) fn word(&self) -> Word {
        Word(self.0.load(Ordering::SeqCst))
    }

    /// Sets the status with a new epoch; tells whether it was another one before. Where it was
    /// not, nothing changes: what was admitted under it stays good.
    pub(crate) fn set(&self, status: CaStatus) -> bool {
        let mut seen = self.word();
        while seen.status() != status {
            let next = Word::draw(status);
            match self.0.compare_exchange(seen.0, next.0, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(other) => seen = Word(other),
            }
        }
        false
    }
}

per_process! {
    /// The epoch of the last word drawn anywhere in the process. At a billion changes a second its
    /// 63 bits last for centuries.
    static LAST_DRAWN: AtomicU64 = AtomicU64::new(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_comes_back() {
        let state = State::new(CaStatus::Active);
        let first = state.word();
        assert!(state.set(CaStatus::Inactive));
        let second = state.word();
        assert!(state.set(CaStatus::Active));
        let third = state.word();
        assert!(first.is_active() && !second.is_active() && third.is_active());
        assert!(first != third && first != second && second != third);
    }

    #[test]
    fn setting_the_status_that_is_there_changes_nothing() {
        for status in [CaStatus::Active, CaStatus::Inactive] {
            let state = State::new(status);
            let word = state.word();
            assert!(!state.set(status));
            assert_eq!(state.word(), word);
        }
    }

    #[test]
    fn a_moment_tells_words_drawn_before_it_from_words_drawn_after_it() {
        let state = State::new(CaStatus::Active);
        let moment = Moment::now();
        assert!(state.word().is_older_than(moment));
        state.set(CaStatus::Inactive);
        assert!(!state.word().is_older_than(moment));
        assert!(state.word().is_older_than(Moment::now()));
    }
}
