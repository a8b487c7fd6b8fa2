//! A hash table of which a changed copy shares most.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::HashMap;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// An immutable hash table in parts, each behind an `Arc`: a copy with other values has the parts in
/// which nothing is other in common with it. So one value of many costs what its part does, and
/// freeing a table frees what no other one has.
///
/// How many parts there are is settled when it is made, since no key ever comes or goes. A table
/// that one part can hold has one, which lies in the table itself: no further pointer leads there.
pub(super) struct Parts<K, V>(Form<K, V>);

enum Form<K, V> {
    One(HashMap<K, V>),
    Several(Several<K, V>),
}

/// Parts and their keys' hasher: one hash says in which part a key is, and where in it.
struct Several<K, V> {
    /// Seeded at random.
    hasher: RandomState,
    /// At least one.
    parts: Box<[Arc<Part<K, V>>]>,
}

type Part<K, V> = HashTable<(K, V)>;

impl<K: Eq + Hash, V> Parts<K, V> {
    /// A table of these, whose keys are all different.
    pub(super) fn new(entries: Vec<(K, V)>) -> Self {
        Self::in_parts_of(PART, entries)
    }

    fn in_parts_of(part: usize, entries: Vec<(K, V)>) -> Self {
        Self(match entries.len() <= part {
            true => Form::One(entries.into_iter().collect()),
            false => Form::Several(Several::new(part, entries)),
        })
    }

    /// The value under a key.
    #[inline]
    pub(super) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        match &self.0 {
            Form::One(one) => one.get(key),
            Form::Several(several) => several.get(key),
        }
    }

    /// The same table with other values where `replace` has one.
    pub(super) fn replace_values(&self, replace: impl Fn(&V) -> Option<V>) -> Self
    where
        K: Clone,
        V: Clone,
    {
        Self(match &self.0 {
            Form::One(one) => {
                let mut one = one.clone();
                put_in_place(one.values_mut(), &replace);
                Form::One(one)
            }
            Form::Several(several) => Form::Several(several.replace_values(&replace)),
        })
    }
}

impl<K: Eq + Hash, V> Several<K, V> {
    fn new(part: usize, entries: Vec<(K, V)>) -> Self {
        let hasher = RandomState::default();
        let hash = |entry: &(K, V)| hasher.hash_one(&entry.0);
        // Filled to four fifths on average, hardly any is over its size: chance is not that uneven.
        let count = entries.len().div_ceil((part * 4 / 5).max(1));
        let mut parts: Vec<Part<K, V>> = (0..count).map(|_| HashTable::new()).collect();
        for entry in entries {
            let its_hash = hash(&entry);
            if let Some(part) = parts.get_mut(place(its_hash, count)) {
                part.insert_unique(its_hash, entry, hash);
            }
        }
        parts.iter_mut().for_each(|part| part.shrink_to_fit(hash));
        let parts = parts.into_iter().map(Arc::new).collect();
        Self { hasher, parts }
    }

    #[inline]
    fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let part = self.parts.get(place(hash, self.parts.len()))?;
        part.find(hash, |(known, _)| known.borrow() == key).map(|(_, value)| value)
    }

    fn replace_values(&self, replace: impl Fn(&V) -> Option<V>) -> Self
    where
        K: Clone,
        V: Clone,
    {
        let next = |part: &Arc<Part<K, V>>| {
            if part.iter().all(|(_, value)| replace(value).is_none()) {
                return Arc::clone(part);
            }
            let mut part = part.as_ref().clone();
            put_in_place(part.iter_mut().map(|(_, value)| value), &replace);
            Arc::new(part)
        };
        let parts = self.parts.iter().map(next).collect();
        Self { hasher: self.hasher.clone(), parts }
    }
}

impl<K, V> Parts<K, V> {
    /// Every key with its value, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let (one, several) = match &self.0 {
            Form::One(one) => (Some(one), &[][..]),
            Form::Several(Several { parts, .. }) => (None, &parts[..]),
        };
        let several = several.iter().flat_map(|part| part.iter());
        one.into_iter().flatten().chain(several.map(|(key, value)| (key, value)))
    }

    /// Every value, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        match &self.0 {
            Form::One(one) => one.len(),
            Form::Several(Several { parts, .. }) => parts.iter().map(|part| part.len()).sum(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match &self.0 {
            Form::One(one) => one.is_empty(),
            Form::Several(_) => false,
        }
    }
}

impl<K: Eq + Hash, V: PartialEq> PartialEq for Parts<K, V> {
    /// By what they hold: of two that were made apart the parts differ.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().all(|(key, value)| other.get(key).is_some_and(|its| its == value))
    }
}

/// Which of so many parts a key is in. Bits of the hash go by which a part does not look, which takes
/// the highest and the lowest; as a fraction of their number, which needs no division.
#[inline]
fn place(hash: u64, parts: usize) -> usize {
    let middle = u64::from((hash >> 24) as u32);
    ((middle * parts as u64) >> u32::BITS) as usize
}

fn put_in_place<'a, V: 'a>(
    values: impl Iterator<Item = &'a mut V>,
    replace: impl Fn(&V) -> Option<V>,
) {
    for value in values {
        if let Some(next) = replace(value) {
            *value = next;
        }
    }
}

/// How many entries one part holds: copying them takes some microseconds.
const PART: usize = 1024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// So many names, each with its number.
    fn table(keys: usize) -> Parts<String, usize> {
        Parts::new((0..keys).map(|key| (name(key), key)).collect())
    }

    fn name(key: usize) -> String {
        format!("device-{key:06}.mqtt.example.com")
    }

    /// Where each part lies; nowhere, where there is one.
    fn places<K, V>(parts: &Parts<K, V>) -> Vec<*const Part<K, V>> {
        match &parts.0 {
            Form::One(_) => vec![],
            Form::Several(Several { parts, .. }) => parts.iter().map(Arc::as_ptr).collect(),
        }
    }

    #[test]
    fn few_have_one_part_and_many_have_parts_that_are_filled_evenly() {
        assert!(matches!(table(PART).0, Form::One(_)));
        for keys in [PART + 1, 10_000, 100_000] {
            let parts = table(keys);
            let Form::Several(Several { parts, .. }) = &parts.0 else { panic!("one part") };
            let sizes: Vec<_> = parts.iter().map(|part| part.len()).collect();
            assert!(sizes.len() > 1 && sizes.iter().sum::<usize>() == keys);
            assert!(sizes.iter().all(|size| (PART / 3..=PART).contains(size)), "{sizes:?}");
        }
    }

    #[test]
    fn a_copy_shares_the_parts_in_which_nothing_is_replaced() {
        let before = table(100_000);
        let after = before.replace_values(|value| (*value == 4711).then_some(0));
        let (old, new) = (places(&before), places(&after));
        assert_eq!(old.iter().zip(&new).filter(|(old, new)| old != new).count(), 1);
        let name = name(4711);
        assert_eq!((before.get(&name), after.get(&name)), (Some(&4711), Some(&0)));
        assert!(before != after);
        let untouched = after.replace_values(|_| None);
        assert_eq!(places(&untouched), new);
        assert!(untouched == after);
    }

    #[test]
    fn a_part_lives_as_long_as_a_table_that_has_it() {
        let value = Arc::new(());
        let entries = (0..100).map(|key| (key, Arc::clone(&value))).collect();
        let before = Parts::in_parts_of(10, entries);
        let other = Arc::new(());
        let first = before.get(&0).map(Arc::clone).unwrap();
        assert_eq!(Arc::strong_count(&first), 102);
        let times = std::cell::Cell::new(0);
        let after = before.replace_values(|_| {
            times.set(times.get() + 1);
            (times.get() == 1).then(|| Arc::clone(&other))
        });
        drop(before);
        assert_eq!(Arc::strong_count(&value), 102, "the replaced part is gone and no other");
        drop(after);
        assert_eq!(Arc::strong_count(&value), 2);
    }

    proptest! {
        #[test]
        fn it_holds_what_a_tree_holds(
            mut tree in prop::collection::btree_map(0..60_u8, 0..4_u8, 0..60),
            part in 1..50_usize,
            replaced in 0..4_u8,
        ) {
            let mut parts = Parts::in_parts_of(part, tree.clone().into_iter().collect());
            for _ in 0..2 {
                prop_assert_eq!((parts.len(), parts.is_empty()), (tree.len(), tree.is_empty()));
                for key in 0..60 {
                    prop_assert_eq!(parts.get(&key), tree.get(&key));
                }
                let all: BTreeMap<_, _> = parts.iter().map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(&all, &tree);
                prop_assert_eq!(parts.iter().count(), tree.len());
                let mut values: Vec<_> = parts.values().copied().collect();
                let mut expected: Vec<_> = tree.values().copied().collect();
                values.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(values, expected);
                let made_apart = Parts::new(tree.iter().map(|(key, value)| (*key, *value)).collect());
                prop_assert!(parts == made_apart);
                prop_assert!(made_apart == parts);
                // And once more with other values.
                let next = |value: &u8| (*value == replaced).then_some(9);
                tree.values_mut().for_each(|value| *value = next(value).unwrap_or(*value));
                parts = parts.replace_values(next);
            }
            let differs = parts.replace_values(|_| Some(200));
            prop_assert_eq!(differs == parts, tree.is_empty());
        }
    }
}
