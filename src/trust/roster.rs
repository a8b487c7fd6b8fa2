//! All live connections of one instance, and when each of them is over by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use slab::Slab;

use super::ended::Ended;
use super::lifeline::Lifeline;
use crate::primitives::{Mutex, MutexGuard};

/// All live connections, in a calendar of when they end.
///
/// Entering and leaving take the same time however many there are: the calendar is the coarser the
/// farther off, so that it has a few hundred pages at most, and what lies far off is looked at
/// again, a few times in all, as it comes nearer.
#[derive(Default)]
pub(super) struct Roster(Mutex<Book>);

impl Roster {
    /// Adds a connection that begins at `now` and ends by itself at `end`, if at all; tells its
    /// place. Seconds since 1970. `None` where as many as `limit` are there.
    pub(super) fn enter(
        &self,
        lifeline: &Arc<Lifeline>,
        end: Option<End>,
        now: u64,
        limit: usize,
    ) -> Option<usize> {
        let mut book = self.book();
        if book.entries.len() >= limit {
            return None;
        }
        let place = book.entries.insert(Entry { lifeline: Arc::clone(lifeline), dated: None });
        if let Some(end) = end {
            book.date(place, end, now);
        }
        Some(place)
    }

    /// Takes out the connection that entered at this place. Nobody else takes any out, so that it
    /// is still there.
    pub(super) fn leave(&self, place: usize) {
        let mut book = self.book();
        if let Some(Dated { page, line, .. }) =
            book.entries.try_remove(place).and_then(|it| it.dated)
        {
            book.strike(page, line);
        }
        if book.entries.is_empty() && book.entries.capacity() > KEPT_EMPTY {
            book.entries = Slab::new();
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.book().entries.len()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Lifeline>> {
        self.book().entries.iter().map(|(_, entry)| Arc::clone(&entry.lifeline)).collect()
    }

    /// Takes from the calendar the connections that are over at `now`, at most a thousand looked
    /// at in one go; `None` where none is left to look at.
    pub(super) fn due(&self, now: u64) -> Option<Vec<(Arc<Lifeline>, Ended)>> {
        let mut book = self.book();
        let mut due = Vec::new();
        for looked_at in 0.. {
            let Some(place) = book.pop(now) else {
                return if looked_at == 0 { None } else { Some(due) };
            };
            let Some(entry) = book.entries.get_mut(place) else { continue };
            match entry.dated.take() {
                Some(Dated { end, .. }) if end.at <= now => {
                    due.push((Arc::clone(&entry.lifeline), end.why));
                }
                Some(Dated { end, .. }) => book.date(place, end, now),
                None => {}
            }
            if looked_at == AT_A_TIME {
                break;
            }
        }
        Some(due)
    }

    /// Whether it holds no more memory than a new one may.
    #[cfg(test)]
    pub(super) fn is_bare(&self) -> bool {
        let book = self.book();
        book.pages.is_empty() && book.entries.capacity() <= KEPT_EMPTY
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a connection ends by itself.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// The first second in which it is over, since 1970.
    pub(super) at: u64,
    pub(super) why: Ended,
}

#[derive(Default)]
struct Book {
    entries: Slab<Entry>,
    /// The places of those that end at a second or somewhat later.
    pages: BTreeMap<u64, Vec<usize>>,
}

struct Entry {
    lifeline: Arc<Lifeline>,
    dated: Option<Dated>,
}

/// Where an entry stands in the calendar.
struct Dated {
    end: End,
    page: u64,
    line: usize,
}

impl Book {
    fn date(&mut self, place: usize, end: End, now: u64) {
        let page = page_of(end.at, now);
        let lines = self.pages.entry(page).or_default();
        let line = lines.len();
        lines.push(place);
        if let Some(entry) = self.entries.get_mut(place) {
            entry.dated = Some(Dated { end, page, line });
        }
    }

    /// Takes a line from a page; the last one there takes its place.
    fn strike(&mut self, page: u64, line: usize) {
        let Some(lines) = self.pages.get_mut(&page) else { return };
        if line < lines.len() {
            lines.swap_remove(line);
        }
        match lines.get(line) {
            Some(&moved) => {
                if let Some(dated) = self.entries.get_mut(moved).and_then(|it| it.dated.as_mut()) {
                    dated.line = line;
                }
            }
            None if lines.is_empty() => drop(self.pages.remove(&page)),
            None => {}
        }
    }

    /// Takes the last line of the first page, where that page has come.
    fn pop(&mut self, now: u64) -> Option<usize> {
        let mut first = self.pages.first_entry().filter(|page| *page.key() <= now)?;
        let place = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        place
    }
}

/// The page for what ends at `at`: at most that second, and behind `now` unless that second is not.
/// Of a second within a minute or so, of a minute within an hour or so, of an hour within days.
fn page_of(at: u64, now: u64) -> u64 {
    let distance = at.saturating_sub(now);
    let bits = distance.checked_ilog2().unwrap_or(0) / COARSER * COARSER;
    let span = bits.min(LONGEST_SPAN);
    at >> span << span
}

/// By how many powers of two the pages of the next distance are longer.
const COARSER: u32 = 6;
const LONGEST_SPAN: u32 = 6 * COARSER;
/// How many entries are looked at under one lock.
const AT_A_TIME: usize = 1000;
/// How many empty places are kept for those who come next.
const KEPT_EMPTY: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn due(roster: &Roster, now: u64) -> usize {
        std::iter::from_fn(|| roster.due(now)).map(|due| due.len()).sum()
    }

    #[test]
    fn each_is_due_in_its_second_and_once_however_far_off_it_was() {
        let ends = [1, 63, 64, 65, 4_095, 4_096, 100_000, 31_536_000, 5_000_000_000];
        let roster = Roster::default();
        for at in ends {
            roster.enter(&Arc::default(), Some(End { at, why: Ended::Expired }), 0, usize::MAX);
        }
        roster.enter(&Arc::default(), None, 0, usize::MAX);
        for (at, looks) in ends.into_iter().zip(1..) {
            // As often as a sweep comes by is far more often than this.
            for now in [at / 2, at - 1] {
                assert_eq!(due(&roster, now), 0, "{at} at {now}, look {looks}");
            }
            assert_eq!(due(&roster, at), 1, "{at}");
            assert_eq!(due(&roster, at), 0, "{at}");
        }
        assert_eq!(roster.len(), ends.len() + 1);
    }

    #[test]
    fn thousands_that_end_together_are_all_due() {
        let roster = Roster::default();
        for at in 0..2_500 {
            roster.enter(
                &Arc::default(),
                Some(End { at: 9_000 + at % 3, why: Ended::Expired }),
                0,
                usize::MAX,
            );
        }
        assert_eq!(due(&roster, 8_999), 0);
        assert_eq!(due(&roster, 9_001), 1_667);
        assert_eq!(due(&roster, 9_002), 833);
    }

    proptest! {
        #[test]
        fn who_leaves_is_not_due_and_who_stays_is(
            ends in prop::collection::vec((any::<bool>(), 1_u64..20_000), 1..200),
            now in 0_u64..20_000,
        ) {
            let roster = Roster::default();
            let enter = |(_, at): &(bool, u64)| {
                roster.enter(&Arc::default(), Some(End { at: *at, why: Ended::Expired }), 0, usize::MAX).unwrap()
            };
            let places: Vec<_> = ends.iter().map(enter).collect();
            let early = due(&roster, now / 2);
            for ((leaves, _), place) in ends.iter().zip(places) {
                if *leaves {
                    roster.leave(place);
                }
            }
            let stay = |at: u64| ends.iter().filter(|(leaves, end)| !leaves && *end <= at).count();
            prop_assert_eq!(early, ends.iter().filter(|(_, end)| *end <= now / 2).count());
            prop_assert_eq!(due(&roster, now), stay(now) - stay(now / 2));
            prop_assert_eq!(roster.len(), ends.iter().filter(|(leaves, _)| !leaves).count());
            prop_assert!(roster.book().pages.len() <= 200);
        }
    }
}
