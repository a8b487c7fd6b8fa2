//! When a key was last an inactive CA's.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::PoisonError;
use std::time::Duration;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use super::state::Word;
use crate::primitives::{DashMap, Mutex};

/// The keys of CAs that were deactivated, registered as inactive or deleted, with the word that the
/// last of these drew.
///
/// A path through a CA of which nothing is registered has no record whose word would tell that its
/// key was refused meanwhile. Without this, a ticket from before would be good again once that CA is
/// activated or forgotten. Remembered for as long as anything from before may come back, one entry
/// for each key, whatever an operator does to it how often.
///
/// Keys are known by their hashes here. Of two that had the same one each would count as having lapsed
/// when the other did: a ticket is declined that need not be, and none is taken that should not.
pub(super) struct Lapses {
    by_key: DashMap<u64, Lapse, RandomState>,
    /// Each key once, the one that was noted or looked at longest ago first, with a time at which it was
    /// noted: it may have been again since. Changed under the registry's writer.
    order: Mutex<VecDeque<(u64, u64)>>,
    hasher: RandomState,
    memory: Duration,
}

struct Lapse {
    word: Word,
    /// In seconds since 1970.
    at: u64,
}

impl Lapses {
    /// A log that forgets what is older than `memory`.
    pub(super) fn new(memory: Duration) -> Self {
        let memory = memory.max(LONGEST_HANDSHAKE);
        let (by_key, order, hasher) = Default::default();
        Self { by_key, order, hasher, memory }
    }

    /// Notes that a CA with this key drew this word when it became inactive, and forgets what is
    /// old enough. Where the clock fails nothing is forgotten.
    pub(super) fn note(&self, key: &[u8], word: Word, now: Option<UnixTime>) {
        let at = now.map_or(NO_TIME, |now| now.as_secs());
        let key = self.hasher.hash_one(key);
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if self.by_key.insert(key, Lapse { word, at }).is_none() {
            order.push_back((key, at));
        }
        let Some(now) = now else { return };
        // Two for each that comes: so none stays that is old, and no call takes long.
        for _ in 0..2 {
            let Some((first, noted_at)) = order.pop_front() else { return };
            let is_old = |at| Duration::from_secs(now.as_secs().saturating_sub(at)) > self.memory;
            if noted_at != NO_TIME && !is_old(noted_at) {
                order.push_back((first, noted_at));
            } else if self.by_key.remove_if(&first, |_, lapse| is_old(lapse.at)).is_none() {
                let noted_since = self.by_key.get(&first).map(|lapse| lapse.at);
                order.extend(noted_since.map(|at| (first, at)));
            }
        }
    }

    /// The word that was drawn when a CA with this key last became inactive, as far as that is
    /// remembered.
    pub(super) fn of(&self, key: &[u8]) -> Option<Word> {
        self.by_key.get(&self.hasher.hash_one(key)).map(|lapse| lapse.word)
    }
}

/// When the clock failed. It is never long ago.
const NO_TIME: u64 = u64::MAX;
/// What an acceptor's deadline may be at most.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::super::state::{CaStatus, State};
    use super::*;

    fn word() -> Word {
        State::new(CaStatus::Inactive).word()
    }

    fn second(seconds: u64) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }

    #[test]
    fn the_last_word_of_a_key_is_remembered_for_a_lineage() {
        let lapses = Lapses::new(Duration::from_secs(86_400));
        let (first, second_word) = (word(), word());
        lapses.note(b"key", first, second(0));
        assert_eq!(lapses.of(b"key"), Some(first));
        assert_eq!(lapses.of(b"other"), None);
        lapses.note(b"key", second_word, second(50_000));
        lapses.note(b"other", word(), second(136_400));
        assert_eq!(lapses.of(b"key"), Some(second_word), "a day has not gone by");
        lapses.note(b"other", word(), second(136_401));
        assert_eq!(lapses.of(b"key"), None);
        assert!(lapses.of(b"other").is_some());
    }

    #[test]
    fn however_often_a_key_lapses_it_is_one_entry_and_old_ones_go() {
        let lapses = Lapses::new(Duration::from_secs(86_400));
        for round in 0..10_000 {
            lapses.note(b"again and again", word(), second(round));
        }
        assert_eq!((lapses.by_key.len(), lapses.order.lock().unwrap().len()), (1, 1));
        for key in 0..1_000_u64 {
            lapses.note(&key.to_be_bytes(), word(), second(10_000));
        }
        assert_eq!(lapses.by_key.len(), 1_001);
        for round in 0..1_100_u64 {
            lapses.note(b"much later", word(), second(200_000 + round));
        }
        assert_eq!((lapses.by_key.len(), lapses.order.lock().unwrap().len()), (1, 1));
    }

    #[test]
    fn what_was_noted_while_the_clock_failed_and_again_is_forgotten_in_the_end() {
        let lapses = Lapses::new(Duration::from_secs(86_400));
        lapses.note(b"key", word(), None);
        lapses.note(b"key", word(), second(10));
        lapses.note(b"other", word(), second(86_410));
        assert!(lapses.of(b"key").is_some());
        lapses.note(b"other", word(), second(86_411));
        assert_eq!(lapses.of(b"key"), None);
        assert_eq!((lapses.by_key.len(), lapses.order.lock().unwrap().len()), (1, 1));
    }

    #[test]
    fn nothing_is_forgotten_while_the_clock_fails() {
        let lapses = Lapses::new(Duration::ZERO);
        lapses.note(b"key", word(), None);
        lapses.note(b"other", word(), second(1_000_000));
        assert!(lapses.of(b"key").is_some());
    }
}
