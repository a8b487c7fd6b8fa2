//! The live connections that have one thing in common.

use std::sync::Arc;

use slab::Slab;

use super::lifeline::Lifeline;

/// Some connections, each at a place of its own: entering and leaving take the same time however
/// many there are.
///
/// Most devices have one connection, and most records none: those cost no list.
#[derive(Default)]
pub(super) enum Members {
    #[default]
    None,
    One(Member),
    Several(Box<Slab<Member>>),
}

/// A connection, and what its path has below the CA under which it stands: the issuer's name and the
/// serial number of the certificate there, hashed.
pub(super) struct Member {
    lifeline: Arc<Lifeline>,
    below: u64,
}

impl Members {
    /// Adds a connection and tells its place.
    pub(super) fn enter(&mut self, lifeline: &Arc<Lifeline>, below: u64) -> usize {
        let member = Member { lifeline: Arc::clone(lifeline), below };
        match std::mem::take(self) {
            Self::None => {
                *self = Self::One(member);
                FIRST
            }
            Self::One(first) => {
                let mut several = Box::new(Slab::new());
                several.insert(first);
                let place = several.insert(member);
                *self = Self::Several(several);
                place
            }
            Self::Several(mut several) => {
                let place = several.insert(member);
                *self = Self::Several(several);
                place
            }
        }
    }

    /// Takes a connection out. Since it entered, all may have been [taken](Self::take) and others
    /// have come: a place alone is no proof of who stands there.
    pub(super) fn leave(&mut self, place: usize, lifeline: &Arc<Lifeline>) {
        match self {
            Self::One(only) if Arc::ptr_eq(&only.lifeline, lifeline) => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Several(several) => {
                if several.get(place).is_some_and(|there| Arc::ptr_eq(&there.lifeline, lifeline)) {
                    several.try_remove(place);
                }
                if several.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }

    /// Takes all out.
    pub(super) fn take(&mut self) -> Vec<Arc<Lifeline>> {
        match std::mem::take(self) {
            Self::None => vec![],
            Self::One(only) => vec![only.lifeline],
            Self::Several(several) => {
                several.into_iter().map(|(_, member)| member.lifeline).collect()
            }
        }
    }

    /// Those that nobody has cut, as far as what lies below is one of these.
    pub(super) fn live_below(&self, is_one: impl Fn(u64) -> bool) -> Vec<Arc<Lifeline>> {
        let is_live = |member: &&Member| is_one(member.below) && !member.lifeline.is_cut();
        match self {
            Self::None => vec![],
            Self::One(only) => Some(only)
                .filter(is_live)
                .map(|only| Arc::clone(&only.lifeline))
                .into_iter()
                .collect(),
            Self::Several(several) => {
                let members = several.iter().map(|(_, member)| member).filter(is_live);
                members.map(|member| Arc::clone(&member.lifeline)).collect()
            }
        }
    }

    /// Those that nobody has cut.
    pub(super) fn live(&self) -> Vec<Arc<Lifeline>> {
        self.live_below(|_| true)
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// The place of the only one: where the first stands in a list, should others come.
const FIRST: usize = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_after_all_were_taken_takes_nobody_elses_place() {
        let mut members = Members::default();
        let (first, second) = (Arc::default(), Arc::default());
        let place = members.enter(&first, 0);
        assert_eq!(members.take().len(), 1);
        assert_eq!(members.enter(&second, 0), place);
        members.leave(place, &first);
        assert_eq!(members.live().len(), 1);
        members.leave(place, &second);
        assert!(members.is_empty());
    }

    #[test]
    fn of_several_the_first_keeps_the_place_that_it_had_alone() {
        let mut members = Members::default();
        let all: [Arc<Lifeline>; 3] = Default::default();
        let places: Vec<_> =
            (1..).zip(&all).map(|(below, lifeline)| members.enter(lifeline, below)).collect();
        assert_eq!(members.live_below(|below| below == 1).len(), 1);
        assert_eq!(members.live_below(|below| below > 1).len(), 2);
        for (left, (lifeline, place)) in all.iter().zip(places).enumerate() {
            assert_eq!(members.live().len(), 3 - left);
            members.leave(place, lifeline);
        }
        assert!(members.is_empty());
    }

    #[test]
    fn l04_many_that_come_and_go_give_their_places_back() {
        let mut members = Members::default();
        let many: Vec<_> = (0..100_000).map(|_| Arc::default()).collect();
        let places: Vec<_> = many.iter().map(|lifeline| members.enter(lifeline, 0)).collect();
        assert_eq!(members.live().len(), many.len());
        for (lifeline, place) in many.iter().zip(places) {
            members.leave(place, lifeline);
        }
        assert!(members.is_empty());
        assert!(many.iter().all(|lifeline| Arc::strong_count(lifeline) == 1));
    }
}
