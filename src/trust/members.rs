//! The live connections that have one thing in common.

use std::sync::Arc;

use slab::Slab;

use super::lifeline::Lifeline;

/// Some connections, each at a place of its own: entering and leaving take the same time however
/// many there are.
#[derive(Default)]
pub(super) struct Members(Slab<Arc<Lifeline>>);

impl Members {
    /// Adds a connection and tells its place.
    pub(super) fn enter(&mut self, lifeline: &Arc<Lifeline>) -> usize {
        self.0.insert(Arc::clone(lifeline))
    }

    /// Takes a connection out. Since it entered, all may have been [taken](Self::take) and others
    /// have come: a place alone is no proof of who stands there.
    pub(super) fn leave(&mut self, place: usize, lifeline: &Arc<Lifeline>) {
        if self.0.get(place).is_some_and(|there| Arc::ptr_eq(there, lifeline)) {
            self.0.try_remove(place);
        }
        if self.0.is_empty() && self.0.capacity() > KEPT_EMPTY {
            self.0 = Slab::new();
        }
    }

    /// Takes all out.
    pub(super) fn take(&mut self) -> Vec<Arc<Lifeline>> {
        std::mem::take(&mut self.0).into_iter().map(|(_, lifeline)| lifeline).collect()
    }

    /// Those that nobody has cut.
    pub(super) fn live(&self) -> Vec<Arc<Lifeline>> {
        let live = self.0.iter().filter(|(_, lifeline)| !lifeline.is_cut());
        live.map(|(_, lifeline)| Arc::clone(lifeline)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How many empty places are kept for those who come next.
const KEPT_EMPTY: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_after_all_were_taken_takes_nobody_elses_place() {
        let mut members = Members::default();
        let (first, second) = (Arc::default(), Arc::default());
        let place = members.enter(&first);
        assert_eq!(members.take().len(), 1);
        assert_eq!(members.enter(&second), place);
        members.leave(place, &first);
        assert_eq!(members.live().len(), 1);
        members.leave(place, &second);
        assert!(members.is_empty());
    }

    #[test]
    fn l04_many_that_come_and_go_give_their_places_back() {
        let mut members = Members::default();
        let many: Vec<_> = (0..100_000).map(|_| Arc::default()).collect();
        let places: Vec<_> = many.iter().map(|lifeline| members.enter(lifeline)).collect();
        assert_eq!(members.live().len(), many.len());
        for (lifeline, place) in many.iter().zip(places) {
            members.leave(place, lifeline);
        }
        assert!(members.is_empty() && members.0.capacity() <= KEPT_EMPTY);
        assert!(many.iter().all(|lifeline| Arc::strong_count(lifeline) == 1));
    }
}
