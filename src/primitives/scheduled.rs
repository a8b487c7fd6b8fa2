//! The primitives as the models of concurrency have them: the same calls, each one step, and before
//! each step the scheduler decides who takes it.
#![expect(clippy::indexing_slicing, reason = "a guard keeps the place that it was made with")]

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError};

pub(crate) use shuttle::sync::atomic::AtomicU64;
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
pub(crate) use shuttle::thread::yield_now;

/// Declares a `static` that begins anew with each order of steps.
macro_rules! per_process {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;) => {
        shuttle::lazy_static! {
            $(#[$meta])*
            static ref $name: $type = $value;
        }
    };
}

pub(crate) use per_process;

/// Stands for `arc_swap::ArcSwapOption`: a load that is not counted yet is counted by the swap that
/// follows it, so that from outside each load counts at once.
pub(crate) struct ArcSwapOption<T>(Mutex<Option<Arc<T>>>);

impl<T> ArcSwapOption<T> {
    pub(crate) fn empty() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn load(&self) -> Loaded<T> {
        Loaded(self.load_full())
    }

    pub(crate) fn load_full(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn swap(&self, next: Option<Arc<T>>) -> Option<Arc<T>> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), next)
    }
}

/// What `ArcSwapOption::load` returns.
#[derive(Debug)]
pub(crate) struct Loaded<T>(Option<Arc<T>>);

impl<T> Deref for Loaded<T> {
    type Target = Option<Arc<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Stands for `dashmap::DashMap`, with a single shard: what would wait for another thread there, or
/// for itself, does here.
pub(crate) struct DashMap<K, V, S> {
    entries: Mutex<Vec<(K, V)>>,
    hasher: PhantomData<S>,
}

impl<K: Eq, V, S> DashMap<K, V, S> {
    pub(crate) fn len(&self) -> usize {
        self.entries().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    pub(crate) fn get<Q: Eq + ?Sized>(&self, key: &Q) -> Option<Entry<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        let entries = self.entries();
        let at = entries.iter().position(|(known, _)| known.borrow() == key)?;
        Some(Entry { entries, at })
    }

    pub(crate) fn get_mut<Q: Eq + ?Sized>(&self, key: &Q) -> Option<Entry<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        self.get(key)
    }

    pub(crate) fn entry(&self, key: K) -> Vacancy<'_, K, V> {
        Vacancy { entries: self.entries(), key }
    }

    pub(crate) fn insert(&self, key: K, value: V) -> Option<V> {
        let mut entries = self.entries();
        let replaced = take(&mut entries, &key, |_, _| true);
        entries.push((key, value));
        replaced.map(|(_, value)| value)
    }

    pub(crate) fn remove<Q: Eq + ?Sized>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        take(&mut self.entries(), key, |_, _| true)
    }

    pub(crate) fn remove_if<Q: Eq + ?Sized>(
        &self,
        key: &Q,
        goes: impl FnOnce(&K, &V) -> bool,
    ) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        take(&mut self.entries(), key, goes)
    }

    fn entries(&self) -> MutexGuard<'_, Vec<(K, V)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V, S> Default for DashMap<K, V, S> {
    fn default() -> Self {
        Self { entries: Mutex::new(vec![]), hasher: PhantomData }
    }
}

fn take<K, V, Q>(
    entries: &mut Vec<(K, V)>,
    key: &Q,
    goes: impl FnOnce(&K, &V) -> bool,
) -> Option<(K, V)>
where
    K: Borrow<Q>,
    Q: Eq + ?Sized,
{
    let at = entries.iter().position(|(known, _)| known.borrow() == key)?;
    let (key, value) = &entries[at];
    if goes(key, value) { Some(entries.swap_remove(at)) } else { None }
}

/// Stands for DashMap's guards: the map is locked while it lives.
pub(crate) struct Entry<'a, K, V> {
    entries: MutexGuard<'a, Vec<(K, V)>>,
    at: usize,
}

impl<K, V> Entry<'_, K, V> {
    pub(crate) fn value_mut(&mut self) -> &mut V {
        self
    }
}

impl<K, V> Deref for Entry<'_, K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.entries[self.at].1
    }
}

impl<K, V> DerefMut for Entry<'_, K, V> {
    fn deref_mut(&mut self) -> &mut V {
        &mut self.entries[self.at].1
    }
}

impl<K, V> fmt::Debug for Entry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("at", &self.at).finish_non_exhaustive()
    }
}

/// What `DashMap::entry` returns.
pub(crate) struct Vacancy<'a, K, V> {
    entries: MutexGuard<'a, Vec<(K, V)>>,
    key: K,
}

impl<'a, K: Eq, V: Default> Vacancy<'a, K, V> {
    pub(crate) fn or_default(self) -> Entry<'a, K, V> {
        let Self { mut entries, key } = self;
        let known = entries.iter().position(|(known, _)| *known == key);
        let at = known.unwrap_or(entries.len());
        if known.is_none() {
            entries.push((key, V::default()));
        }
        Entry { entries, at }
    }
}
