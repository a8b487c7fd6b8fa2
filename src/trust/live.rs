//! The connections that are up, by what let them in.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::HashSet;
use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use super::authority::Authority;
use super::cut::{Cut, LiveChange, Loss};
use super::devices::RecordedDevice;
use super::ended::Ended;
use super::lifeline::Lifeline;
use super::members::Members;
use super::membership::{Membership, Under};
use super::refusal::Refusal;
use super::roster::{End, Roster};
use super::state::{CaStatus, State};
use super::verdict::PathCa;
use crate::certificate::SerialNumber;
use crate::primitives::DashMap;

/// What happens to connections that are up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LivePolicy {
    /// Leaves them up when their CA is deactivated or deleted.
    pub(crate) keep: bool,
    /// For how long one may be up.
    pub(crate) max_lifetime: Option<Duration>,
    /// How many may be up.
    pub(crate) max_connections: Option<usize>,
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
    /// Spreads the ends of connections that come together, and hashes what issuers numbered.
    hasher: RandomState,
}

impl LiveIndex {
    pub(super) fn new(policy: LivePolicy) -> Self {
        Self {
            policy,
            roster: Roster::default(),
            by_unregistered_key: DashMap::default(),
            instance: State::new(CaStatus::Active),
            hasher: RandomState::default(),
        }
    }

    /// Enters a connection under the CAs on its path, none for an anonymous client. It is not
    /// admitted yet: look once more at everything that lets it in.
    ///
    /// `below` is as what the device's certificate stands below its issuer: see [`hash`](Self::hash).
    pub(super) fn enter(
        self: &Arc<Self>,
        mut below: u64,
        path: &[PathCa],
        not_after: Option<UnixTime>,
        now: UnixTime,
    ) -> Result<Membership, Refusal> {
        let lifeline = Arc::new(Lifeline::default());
        let end = self.end(not_after, now);
        let limit = self.policy.max_connections.unwrap_or(usize::MAX);
        let place = self.roster.enter(&lifeline, end, now.as_secs(), limit);
        let place = place.ok_or(Refusal::TooManyConnections)?;
        let mut under = Vec::with_capacity(path.len() + 1);
        let mut path = path.iter().peekable();
        while let Some(ca) = path.next() {
            under.push(self.enter_under(ca, &lifeline, below));
            if let Some(issuer) = path.peek() {
                below = self.hash(issuer.subject(), ca.serial());
            }
        }
        Ok(Membership::new(Arc::clone(self), place, under, lifeline))
    }

    fn enter_under(&self, ca: &PathCa, lifeline: &Arc<Lifeline>, below: u64) -> Under {
        match ca {
            PathCa::Registered { record, .. } => {
                let place = record.authority.live().enter(lifeline, below);
                Under::Authority(Arc::clone(&record.authority), place)
            }
            PathCa::Unregistered { identity, .. } => {
                let mut members =
                    self.by_unregistered_key.entry(identity.key().into()).or_default();
                let place = members.value_mut().enter(lifeline, below);
                Under::Key(identity.key().into(), place)
            }
        }
    }

    /// Takes a connection out of the roster.
    pub(super) fn leave(&self, place: usize) {
        self.roster.leave(place);
    }

    /// Takes a connection out from under a key that was not registered.
    pub(super) fn leave_key(&self, key: &[u8], place: usize, lifeline: &Arc<Lifeline>) {
        if let Some(mut members) = self.by_unregistered_key.get_mut(key) {
            members.value_mut().leave(place, lifeline);
        }
        self.by_unregistered_key.remove_if(key, |_, members| members.is_empty());
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
        let drawn = self.hasher.hash_one(DRAWN.fetch_add(1, Ordering::Relaxed));
        seconds - drawn % (seconds / SPREAD + 1)
    }

    /// Whether it leaves connections up.
    pub(super) fn keeps(&self) -> bool {
        self.policy.keep
    }

    /// As members keep what an issuer of this name numbered: under one key that is not registered
    /// stand those of each name that it has, and a list is of one name.
    pub(super) fn hash(&self, issuer: &[u8], serial: &SerialNumber) -> u64 {
        self.hasher.hash_one((issuer, serial))
    }

    /// Ends what came in on these devices' records, behind a change after which nothing does.
    pub(super) fn cut_devices(&self, records: &[Arc<RecordedDevice>], why: &Ended) -> Cut {
        if self.policy.keep {
            return self.foresee_devices(records);
        }
        let lifelines = records.iter().flat_map(|record| record.live().take()).collect();
        Cut::of(lifelines, why.clone())
    }

    /// What [`cut_devices`](Self::cut_devices) would come to.
    pub(super) fn foresee_devices(&self, records: &[Arc<RecordedDevice>]) -> Cut {
        self.foreseen(records.iter().flat_map(|record| record.live().live()).collect())
    }

    /// Ends what came in with a certificate that one of these CAs issued and that has, as members
    /// keep it, one of these serial numbers. Where two are kept alike, once in a billion
    /// lists, the other one's device is ended too, and comes back.
    pub(super) fn cut_below(
        &self,
        twins: &[Arc<Authority>],
        serials: &HashSet<u64>,
        ca: &SerialNumber,
    ) -> Cut {
        if self.policy.keep {
            return self.foresee_below(twins, serials);
        }
        Cut::of(self.live_below(twins, serials), Ended::Revoked(ca.clone()))
    }

    /// What [`cut_below`](Self::cut_below) would come to.
    pub(super) fn foresee_below(&self, twins: &[Arc<Authority>], serials: &HashSet<u64>) -> Cut {
        self.foreseen(self.live_below(twins, serials))
    }

    fn live_below(&self, twins: &[Arc<Authority>], serials: &HashSet<u64>) -> Vec<Arc<Lifeline>> {
        let is_one = |below| serials.contains(&below);
        let mut live: Vec<_> =
            twins.iter().flat_map(|twin| twin.live().live_below(is_one)).collect();
        // Some may have come in before the CA was registered.
        let key = twins.first().map(|twin| twin.certificate().identity().key());
        if let Some(members) = key.and_then(|key| self.by_unregistered_key.get(key)) {
            live.extend(members.live_below(is_one));
        }
        live
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
        if lifelines.is_empty() {
            return Cut::default();
        }
        Cut::of(lifelines, loss.reason(authority))
    }

    /// What [`cut`](Self::cut) would come to.
    pub(super) fn foresee(&self, authority: &Authority, loss: Loss) -> Cut {
        self.foresee_with(authority, loss, vec![])
    }

    /// The same, with others that the change ends.
    pub(super) fn foresee_with(
        &self,
        authority: &Authority,
        loss: Loss,
        others: Vec<Arc<Lifeline>>,
    ) -> Cut {
        let mut live = others;
        live.extend(authority.live().live());
        if let Some(key) = loss.unregistered_key(authority) {
            let members = self.by_unregistered_key.get(key);
            live.extend(members.map(|members| members.live()).unwrap_or_default());
        }
        self.foreseen(live)
    }

    fn foreseen(&self, mut live: Vec<Arc<Lifeline>>) -> Cut {
        // A path may lead through one key under two names, and its connection stands under both.
        live.sort_unstable_by_key(Arc::as_ptr);
        live.dedup_by(|one, other| Arc::ptr_eq(one, other));
        let (ended, kept) = if self.policy.keep { (0, live.len()) } else { (live.len(), 0) };
        Cut::foreseen(ended, kept)
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

    /// Ends those whose time is over, and tells how many of which kind that were.
    pub(super) fn end_due(&self, now: UnixTime) -> Vec<(Ended, usize)> {
        let mut ended: Vec<(Ended, usize)> = vec![];
        while let Some(due) = self.roster.due(now.as_secs()) {
            for (lifeline, why) in due {
                let count = LiveChange::of(Cut::of(vec![lifeline], why.clone())).ended;
                match ended.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, known)) => *known += count,
                    None if count > 0 => ended.push((why, count)),
                    None => {}
                }
            }
        }
        ended
    }

    /// Whether one more would be too many.
    pub(super) fn is_full(&self) -> bool {
        self.policy.max_connections.is_some_and(|limit| self.len() >= limit)
    }

    /// How many there are, those included that are cut and not dropped yet.
    pub(super) fn len(&self) -> usize {
        self.roster.len()
    }
}

/// How many lifetimes were spread.
static DRAWN: AtomicU64 = AtomicU64::new(0);
/// By which part a lifetime may be shorter.
const SPREAD: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::CaIdentity;

    #[test]
    fn l04_a_hundred_thousand_that_come_and_go_leave_nothing_behind() {
        let policy =
            LivePolicy { max_lifetime: Some(Duration::from_secs(86_400)), ..LivePolicy::default() };
        let index = Arc::new(LiveIndex::new(policy));
        let second = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let mut up = std::collections::VecDeque::new();
        for round in 0..100_000 {
            let not_after = (round % 3 > 0).then(|| second(1_000 + round * 7 % 1_000_000));
            up.push_back(index.enter(0, &[], not_after, second(round / 100)).unwrap());
            if up.len() > 1_000 {
                // Not in the order in which they came.
                up.swap(0, usize::try_from(round % 997).unwrap());
                up.pop_front();
            }
            assert_eq!(index.len(), up.len());
        }
        assert!(!index.end_due(second(2_000)).is_empty());
        assert_eq!(index.len(), up.len());
        up.clear();
        assert_eq!(index.len(), 0);
        assert_eq!(index.end_due(second(10_000_000)), []);
        assert!(index.roster.is_bare());
    }

    #[test]
    fn l04_who_came_through_an_unregistered_ca_leaves_nothing_behind() {
        let index = Arc::new(LiveIndex::new(LivePolicy::default()));
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1));
        let through = |key: u8| PathCa::Unregistered {
            identity: CaIdentity::restored(b"subject", &[key]),
            serial: SerialNumber::from_octets(&[key]).unwrap(),
            lapsed: None,
        };
        let mut up: Vec<_> = (1..=200)
            .map(|key| index.enter(0, &[through(key % 50 + 1)], None, now).unwrap())
            .collect();
        assert_eq!(index.by_unregistered_key.len(), 50);
        up.truncate(10);
        assert_eq!(index.by_unregistered_key.len(), 10);
        up.clear();
        assert!(index.by_unregistered_key.is_empty());
    }
}
