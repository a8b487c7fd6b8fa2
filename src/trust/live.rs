//! The connections that are up, by what let them in.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use super::authority::Authority;
use super::ended::Ended;
use super::lifeline::Lifeline;
use super::members::Members;
use super::roster::{End, Roster};
use super::state::{CaStatus, State};
use super::verdict::PathCa;
use crate::primitives::DashMap;

/// What happens to connections that are up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LivePolicy {
    /// Leaves them up when their CA is deactivated or deleted.
    pub(crate) keep: bool,
    /// For how long one may be up.
    pub(crate) max_lifetime: Option<Duration>,
}

/// All live connections of one instance: each under every CA on its device's path, and all of them
/// in one roster.
///
/// A connection enters *before* the last look at what let it in, and whoever changes something
/// about that does so *before* looking in here: then one of the two sees the other.
pub(crate) struct LiveIndex {
    policy: LivePolicy,
    roster: Roster,
    /// Under each registered CA stand its own, in its record. Here stand those whose path leads
    /// through a CA that was not registered when they came, by its key: it may be registered as
    /// inactive later, or a CA with its key may become so.
    by_unregistered_key: DashMap<Box<[u8]>, Members, RandomState>,
    /// Active until the instance is removed.
    instance: State,
    /// Spreads the ends of connections that come together.
    spread: RandomState,
}

impl LiveIndex {
    pub(super) fn new(policy: LivePolicy) -> Self {
        Self {
            policy,
            roster: Roster::default(),
            by_unregistered_key: DashMap::default(),
            instance: State::new(CaStatus::Active),
            spread: RandomState::default(),
        }
    }

    /// Enters a connection under the CAs on its path, none for an anonymous client. It is not
    /// admitted yet: look once more at everything that lets it in.
    pub(super) fn enter(
        self: &Arc<Self>,
        path: &[PathCa],
        not_after: Option<UnixTime>,
        now: UnixTime,
    ) -> Membership {
        let lifeline = Arc::new(Lifeline::default());
        let end = self.end(not_after, now);
        let place = self.roster.enter(&lifeline, end, now.as_secs());
        let mut under = path.iter().map(|ca| self.enter_under(ca, &lifeline));
        let under = (under.next(), under.collect());
        Membership { index: Arc::clone(self), place, under, lifeline }
    }

    fn enter_under(&self, ca: &PathCa, lifeline: &Arc<Lifeline>) -> Under {
        match ca {
            PathCa::Registered { record, .. } => {
                let place = record.authority.live().enter(lifeline);
                Under::Authority(Arc::clone(&record.authority), place)
            }
            PathCa::Unregistered { identity, .. } => {
                let mut members =
                    self.by_unregistered_key.entry(identity.key().into()).or_default();
                let place = members.value_mut().enter(lifeline);
                Under::Key(identity.key().into(), place)
            }
        }
    }

    /// When a connection that begins now ends by itself.
    fn end(&self, not_after: Option<UnixTime>, now: UnixTime) -> Option<End> {
        let expiry =
            not_after.map(|last| End { at: last.as_secs().saturating_add(1), why: Ended::Expired });
        let lifetime = self.policy.max_lifetime.map(|longest| End {
            at: now.as_secs().saturating_add(self.spread(longest.as_secs())),
            why: Ended::LifetimeOver,
        });
        [expiry, lifetime].into_iter().flatten().min_by_key(|end| end.at)
    }

    /// Up to a tenth less, so that those who come together do not all come back together.
    fn spread(&self, seconds: u64) -> u64 {
        let drawn = self.spread.hash_one(DRAWN.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        seconds - drawn % (seconds / SPREAD + 1)
    }

    /// Ends what came in through a CA, behind a change after which nothing does.
    pub(super) fn cut(&self, authority: &Authority, loss: Loss) -> Cut {
        if self.policy.keep {
            return self.foresee(authority, loss);
        }
        let mut lifelines = authority.live().take();
        if let Some(key) = loss.unregistered_key(authority) {
            let taken = self.by_unregistered_key.remove(key);
            lifelines.extend(taken.into_iter().flat_map(|(_, mut members)| members.take()));
        }
        Cut::of(lifelines, loss.reason(authority))
    }

    /// What [`cut`](Self::cut) would come to.
    pub(super) fn foresee(&self, authority: &Authority, loss: Loss) -> Cut {
        let members = loss.unregistered_key(authority).map(|key| self.by_unregistered_key.get(key));
        let by_key = members.flatten().map_or(0, |members| members.live());
        let count = authority.live().live() + by_key;
        let (ended, kept) = if self.policy.keep { (0, count) } else { (count, 0) };
        Cut { ended, kept, lifelines: vec![] }
    }

    /// Ends all, and lets nobody in any more.
    pub(super) fn close(&self) -> Cut {
        self.instance.set(CaStatus::Inactive);
        Cut::of(self.roster.all(), Ended::InstanceRemoved)
    }

    /// Whether anybody is let in.
    pub(super) fn is_open(&self) -> bool {
        self.instance.word().is_active()
    }

    /// Ends those whose time is over, and tells how many that were.
    pub(super) fn end_due(&self, now: UnixTime) -> usize {
        let mut ended = 0;
        while let Some(due) = self.roster.due(now.as_secs()) {
            for (lifeline, why) in due {
                ended += LiveChange::of(Cut::of(vec![lifeline], why)).ended;
            }
        }
        ended
    }

    /// How many there are, those included that are cut and not dropped yet.
    pub(super) fn len(&self) -> usize {
        self.roster.len()
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
    fn unregistered_key(self, authority: &Authority) -> Option<&[u8]> {
        match self {
            Self::Inactive => Some(authority.certificate().identity().key()),
            Self::Deleted => None,
        }
    }

    fn reason(self, authority: &Authority) -> Ended {
        let serial = authority.certificate().serial().clone();
        match self {
            Self::Inactive => Ended::CaInactive(serial),
            Self::Deleted => Ended::CaDeleted(serial),
        }
    }
}

/// What became of connections.
#[derive(Default)]
#[must_use]
pub(super) struct Cut {
    /// How many were ended that nobody had ended before.
    pub(super) ended: usize,
    /// How many were left up.
    pub(super) kept: usize,
    lifelines: Vec<Arc<Lifeline>>,
}

impl Cut {
    /// Ends them all. Once this has returned none of them reads or writes.
    fn of(lifelines: Vec<Arc<Lifeline>>, why: Ended) -> Self {
        let why = Arc::new(why);
        let marks: Vec<_> = lifelines.iter().map(|lifeline| lifeline.cut(&why)).collect();
        let ended = marks.iter().filter(|mark| mark.first).count();
        let busy = lifelines.iter().zip(marks).filter(|(_, mark)| mark.busy);
        busy.for_each(|(lifeline, _)| lifeline.wait());
        Self { ended, kept: 0, lifelines }
    }

    /// Tells them, in whatever code their wakers run: to be called without a lock.
    fn wake(self) {
        self.lifelines.iter().for_each(|lifeline| lifeline.wake());
    }
}

/// What a change does to live connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveChange {
    /// How many connections it ends. None of them reads or writes any more once the change has
    /// returned.
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

/// Keeps a connection in the index for as long as it lives.
pub(crate) struct Membership {
    index: Arc<LiveIndex>,
    place: usize,
    /// Nearly always it is one at most.
    under: (Option<Under>, Box<[Under]>),
    lifeline: Arc<Lifeline>,
}

impl Membership {
    pub(crate) fn lifeline(&self) -> &Arc<Lifeline> {
        &self.lifeline
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.lifeline.let_go();
        self.index.roster.leave(self.place);
        let (first, others) = &self.under;
        for under in first.iter().chain(others) {
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
enum Under {
    Authority(Arc<Authority>, usize),
    Key(Box<[u8]>, usize),
}

impl Under {
    fn leave(&self, index: &LiveIndex, lifeline: &Arc<Lifeline>) {
        match self {
            Self::Authority(authority, place) => authority.live().leave(*place, lifeline),
            Self::Key(key, place) => {
                if let Some(mut members) = index.by_unregistered_key.get_mut(key) {
                    members.value_mut().leave(*place, lifeline);
                }
                index.by_unregistered_key.remove_if(key, |_, members| members.is_empty());
            }
        }
    }
}

/// How many lifetimes were spread.
static DRAWN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
/// By which part a lifetime may be shorter.
const SPREAD: u64 = 10;
