//! Which instance each name on the shared listener belongs to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use foldhash::HashMap;
use foldhash::fast::RandomState;

use super::route::{Chosen, Generation, NoRoute, Route};
use super::tenant::Instance;
use crate::name::{HostName, NamePattern, canonical, parent_of};
use crate::sni::{CertificateSet, Next, Offer, Only, Rule, SniMap, SniPublisher, SniTable};

/// The names of the instances that share the listener. No name is covered by the patterns of two.
///
/// An instance claims the names of its next certificate map before that map is published, and gives
/// up those of the last one behind it. So these tables may know more than what is served, and never
/// less. What they say about certificates counts while the instance's table is the one that said so;
/// else that table is asked itself.
#[derive(Default)]
pub(super) struct Claims {
    exact: Table,
    /// By the name that follows the `*.`.
    wildcard: Table,
    /// Held for every change, never on the way of a connection.
    ledger: Mutex<Ledger>,
    /// Counts changes, each behind its first new name and before its first lost one. A look at two
    /// tables is one look where it has not moved.
    changes: AtomicU64,
}

type Table = DashMap<HostName, Claim, RandomState>;

/// Whose a name is.
enum Claim {
    /// It is in this generation's table, with this certificate or with several.
    Served(Arc<Generation>, Option<Only>),
    /// Ask the instance: an endpoint, or a name of a table that is being published.
    Held(Arc<Instance>),
}

impl Claim {
    fn instance(&self) -> &Arc<Instance> {
        match self {
            Self::Served(generation, _) => generation.instance(),
            Self::Held(instance) => instance,
        }
    }

    fn route(&self, rule: Rule, name: &str, offer: &Offer<'_>) -> Result<Route, NoRoute> {
        match self {
            Self::Served(generation, only) if generation.is_current() => {
                let chosen = only.as_ref().and_then(|only| only.choose(offer));
                let chosen = chosen.map(|key| Chosen { rule, key });
                Ok(Route::to_found(generation, chosen))
            }
            Self::Served(generation, _) => Route::by_name(generation.instance(), name),
            Self::Held(instance) => Route::by_name(instance, name),
        }
    }
}

#[derive(Default)]
struct Ledger {
    /// The instances that may claim names, by address, with what they serve.
    members: HashMap<usize, Option<Arc<Generation>>>,
    /// How many exact names one label below a name an instance has claimed: with these a wildcard
    /// conflicts.
    below: BTreeMap<(HostName, usize), usize>,
}

/// Why names were not claimed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClaimError {
    /// The instance was removed.
    Removed,
    /// Another instance has claimed these, or what covers them, or what they cover. Which one is its
    /// owner's business.
    Taken(Vec<NamePattern>),
}

impl Claims {
    /// Lets an instance claim names, its endpoints first. The error is one that is taken.
    pub(super) fn join(&self, instance: &Arc<Instance>) -> Result<(), HostName> {
        let mut ledger = self.ledger();
        let endpoints = endpoints(instance);
        let names = instance.endpoints().iter().zip(&endpoints);
        if let Some((taken, _)) = { names }.find(|(_, it)| self.is_taken(&ledger, instance, it)) {
            return Err(taken.clone());
        }
        ledger.members.insert(address(instance), None);
        for endpoint in endpoints {
            self.hold(&mut ledger, instance, endpoint);
        }
        Ok(())
    }

    /// Publishes an instance's next table, and with it the names that are its own: all or nothing, in
    /// one step.
    pub(super) fn publish(
        &self,
        instance: &Arc<Instance>,
        publisher: &mut SniPublisher,
        next: Next,
    ) -> Result<Arc<SniTable>, ClaimError> {
        let (table, same_names) = (Arc::clone(next.table()), next.has_the_same_names());
        // Nobody else publishes for the instance, and it is not removed, while its publisher is lent.
        let last = match same_names {
            true => self.last(instance)?,
            false => self.claim(instance, table.map())?,
        };
        let generation = Arc::new(Generation::new(instance, Arc::clone(&table)));
        // From here to the swap the last table is asked itself, and behind it the next one: no name
        // goes by what it was before while another goes by what it is now.
        let replaced = last.inspect(|last| last.retire());
        self.changes.fetch_add(1, Ordering::SeqCst);
        publisher.replace_by(next);
        for (pattern, set) in table.map().iter() {
            let claim = Claim::Served(Arc::clone(&generation), set.only());
            let (claims, name) = self.place(&pattern);
            if let Some(mut held) = claims.get_mut(name) {
                *held = claim;
            }
        }
        if !same_names {
            let lost = replaced.iter().flat_map(|replaced| replaced.table().map().patterns());
            let lost: Vec<_> = lost.filter(|pattern| table.map().get(pattern).is_none()).collect();
            self.give_up(instance, &lost);
        }
        self.ledger().members.insert(address(instance), Some(generation));
        // Until here what was replaced was in use, by these claims.
        drop(replaced);
        publisher.sweep();
        Ok(table)
    }

    /// What an instance serves now.
    fn last(&self, instance: &Arc<Instance>) -> Result<Option<Arc<Generation>>, ClaimError> {
        self.ledger().members.get(&address(instance)).cloned().ok_or(ClaimError::Removed)
    }

    /// Claims all names of a map or none; gives what the instance serves now.
    fn claim(
        &self,
        instance: &Arc<Instance>,
        map: &SniMap<CertificateSet>,
    ) -> Result<Option<Arc<Generation>>, ClaimError> {
        let mut ledger = self.ledger();
        let last = self.foresee_in(&ledger, instance, map)?;
        for pattern in map.patterns() {
            self.hold(&mut ledger, instance, pattern);
        }
        Ok(last)
    }

    /// Whether [`publish`](Self::publish) would fail at this moment. Claims nothing.
    pub(super) fn foresee(
        &self,
        instance: &Arc<Instance>,
        map: &SniMap<CertificateSet>,
    ) -> Result<(), ClaimError> {
        self.foresee_in(&self.ledger(), instance, map).map(drop)
    }

    /// What the instance serves now, where all names of a map are free or its own.
    fn foresee_in(
        &self,
        ledger: &Ledger,
        instance: &Arc<Instance>,
        map: &SniMap<CertificateSet>,
    ) -> Result<Option<Arc<Generation>>, ClaimError> {
        let Some(last) = ledger.members.get(&address(instance)).cloned() else {
            return Err(ClaimError::Removed);
        };
        let is_taken = |pattern: &NamePattern| self.is_taken(ledger, instance, pattern);
        let taken: Vec<_> = map.patterns().filter(is_taken).collect();
        if taken.is_empty() { Ok(last) } else { Err(ClaimError::Taken(taken)) }
    }

    /// Gives up all names of an instance that is over; it claims none any more. To be called while
    /// its map cannot change.
    pub(super) fn leave(&self, instance: &Arc<Instance>) {
        let mut ledger = self.ledger();
        let Some(last) = ledger.members.remove(&address(instance)) else { return };
        let served = last.inspect(|last| last.retire());
        let patterns = served.iter().flat_map(|served| served.table().map().patterns());
        for pattern in patterns.chain(endpoints(instance)) {
            self.remove(&mut ledger, instance, &pattern);
        }
    }

    /// Where a client goes that asks for this name, with what its offer suits.
    pub(super) fn route(&self, asked: &str, offer: &Offer<'_>) -> Result<Route, NoRoute> {
        let name = canonical(asked);
        let name = name.as_ref();
        let by = |table: &Table, rule, key: &str| {
            table.get(key).map_or(Err(NoRoute::Unknown), |claim| claim.route(rule, name, offer))
        };
        loop {
            let before = self.changes.load(Ordering::SeqCst);
            let exact = by(&self.exact, Rule::Exact, name);
            if !matches!(exact, Err(NoRoute::Unknown)) {
                return exact;
            }
            let wildcard = |parent| by(&self.wildcard, Rule::Wildcard, parent);
            let routed = parent_of(name).map_or(exact, wildcard);
            // A whole change may have come between the two: the name was new in the first table
            // after, or gone from the second.
            if self.changes.load(Ordering::SeqCst) == before {
                return routed;
            }
        }
    }

    /// Claims a name that nobody else has.
    fn hold(&self, ledger: &mut Ledger, instance: &Arc<Instance>, pattern: NamePattern) {
        let below = key_below(&pattern, instance);
        let (table, name) = match pattern {
            NamePattern::Exact(name) => (&self.exact, name),
            NamePattern::Wildcard(parent) => (&self.wildcard, parent),
        };
        if table.contains_key(&name) {
            return;
        }
        table.insert(name, Claim::Held(Arc::clone(instance)));
        if let Some(below) = below {
            *ledger.below.entry(below).or_default() += 1;
        }
    }

    /// Gives up names that are served no more; endpoints stay.
    fn give_up(&self, instance: &Arc<Instance>, patterns: &[NamePattern]) {
        // Others claim theirs in between.
        for some in patterns.chunks(AT_A_TIME) {
            let mut ledger = self.ledger();
            for pattern in some {
                match pattern {
                    NamePattern::Exact(name) if instance.endpoints().contains(name) => {
                        self.exact.insert(name.clone(), Claim::Held(Arc::clone(instance)));
                    }
                    NamePattern::Exact(_) | NamePattern::Wildcard(_) => {
                        self.remove(&mut ledger, instance, pattern);
                    }
                }
            }
        }
    }

    fn remove(&self, ledger: &mut Ledger, instance: &Arc<Instance>, pattern: &NamePattern) {
        let (table, name) = self.place(pattern);
        let removed = table.remove_if(name, |_, claim| Arc::ptr_eq(claim.instance(), instance));
        let below = removed.and_then(|_| key_below(pattern, instance));
        if let Some(below) = below
            && let Some(count) = ledger.below.get_mut(&below)
        {
            *count -= 1;
            if *count == 0 {
                ledger.below.remove(&below);
            }
        }
    }

    fn is_taken(&self, ledger: &Ledger, instance: &Arc<Instance>, pattern: &NamePattern) -> bool {
        let others = |table: &Table, name: &str| {
            table.get(name).is_some_and(|claim| !Arc::ptr_eq(claim.instance(), instance))
        };
        match pattern {
            NamePattern::Exact(name) => {
                let covering = parent_of(name.as_str());
                others(&self.exact, name.as_str())
                    || covering.is_some_and(|parent| others(&self.wildcard, parent))
            }
            NamePattern::Wildcard(parent) => {
                let below = (parent.clone(), usize::MIN)..=(parent.clone(), usize::MAX);
                let holds = |((_, holder), _): (&(HostName, usize), &usize)| *holder;
                others(&self.wildcard, parent.as_str())
                    || ledger.below.range(below).map(holds).any(|it| it != address(instance))
            }
        }
    }

    fn place<'a>(&'a self, pattern: &'a NamePattern) -> (&'a Table, &'a HostName) {
        match pattern {
            NamePattern::Exact(name) => (&self.exact, name),
            NamePattern::Wildcard(parent) => (&self.wildcard, parent),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("exact", &self.exact.len())
            .field("wildcard", &self.wildcard.len())
            .finish_non_exhaustive()
    }
}

/// Under which an exact name is counted.
fn key_below(pattern: &NamePattern, instance: &Arc<Instance>) -> Option<(HostName, usize)> {
    let NamePattern::Exact(name) = pattern else { return None };
    let parent = parent_of(name.as_str())?.parse().ok()?;
    Some((parent, address(instance)))
}

fn endpoints(instance: &Instance) -> Vec<NamePattern> {
    instance.endpoints().iter().cloned().map(NamePattern::Exact).collect()
}

fn address(instance: &Arc<Instance>) -> usize {
    Arc::as_ptr(instance).addr()
}

/// How many names are given up under one lock.
const AT_A_TIME: usize = 1000;
