//! A hash table of which a changed copy shares most.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashMapExt};

/// An immutable hash table in parts, each behind an `Arc`: a copy with other values has the parts in
/// which nothing is other in common with it. So one value of many costs what its part does, and
/// freeing a table frees what no other one has.
///
/// How many parts there are is settled when it is made, since no key ever comes or goes. A table
/// that one part can hold has one, and it lies in the table itself: no second hash says in which part
/// a key is, and no further pointer leads there.
pub(super) struct Parts<K, V>(Form<K, V>);

enum Form<K, V> {
    One(HashMap<K, V>),
    Several(Several<K, V>),
}

struct Several<K, V> {
    /// Another one than the parts have, where keys that came to one part would else collide.
    hasher: RandomState,
    /// At least one.
    parts: Box<[Arc<HashMap<K, V>>]>,
}

impl<K: Eq + Hash, V> Parts<K, V> {
    /// A table of these, the last one of each key.
    pub(super) fn new(entries: Vec<(K, V)>) -> Self {
        Self::in_parts_of(PART, entries)
    }

    fn in_parts_of(part: usize, entries: Vec<(K, V)>) -> Self {
        if entries.len() <= part {
            let mut one = HashMap::with_capacity(entries.len());
            one.extend(entries);
            return Self(Form::One(one));
        }
        let hasher = RandomState::default();
        // Filled to four fifths on average, hardly any is over its size: chance is not that uneven.
        let count = entries.len().div_ceil((part * 4 / 5).max(1));
        let mut parts: Vec<HashMap<K, V>> = (0..count).map(|_| HashMap::new()).collect();
        for (key, value) in entries {
            let place = place(hasher.hash_one(&key), count);
            if let Some(part) = parts.get_mut(place) {
                part.insert(key, value);
            }
        }
        parts.iter_mut().for_each(HashMap::shrink_to_fit);
        Self(Form::Several(Several { hasher, parts: parts.into_iter().map(Arc::new).collect() }))
    }

    /// The value under a key.
    pub(super) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        match &self.0 {
            Form::One(one) => one.get(key),
            Form::Several(Several { hasher, parts }) => {
                parts.get(place(hasher.hash_one(key), parts.len()))?.get(key)
            }
        }
    }

    /// The same table with other values where `replace` has one.
    pub(super) fn replace_values(&self, replace: impl Fn(&V) -> Option<V>) -> Self
    where
        K: Clone,
        V: Clone,
    {
        Self(match &self.0 {
            Form::One(one) => Form::One(replaced(one, &replace)),
            Form::Several(Several { hasher, parts }) => {
                let next = |part: &Arc<HashMap<K, V>>| {
                    let is_touched = part.values().any(|value| replace(value).is_some());
                    if is_touched { Arc::new(replaced(part, &replace)) } else { Arc::clone(part) }
                };
                let parts = parts.iter().map(next).collect();
                Form::Several(Several { hasher: hasher.clone(), parts })
            }
        })
    }
}

impl<K, V> Parts<K, V> {
    /// Every key with its value, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts().flatten()
    }

    /// Every value, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.parts().flat_map(HashMap::values)
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.parts().map(HashMap::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        match &self.0 {
            Form::One(one) => one.is_empty(),
            Form::Several(_) => false,
        }
    }

    fn parts(&self) -> impl Iterator<Item = &HashMap<K, V>> {
        let (one, several) = match &self.0 {
            Form::One(one) => (Some(one), &[][..]),
            Form::Several(Several { parts, .. }) => (None, &parts[..]),
        };
        one.into_iter().chain(several.iter().map(Arc::as_ref))
    }
}

impl<K: Eq + Hash, V: PartialEq> PartialEq for Parts<K, V> {
    /// By what they hold: of two that were made apart the parts differ.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().all(|(key, value)| other.get(key).is_some_and(|its| its == value))
    }
}

/// Which of so many parts a key is in: the upper half of the product is below their number, and no
/// division is needed.
fn place(hash: u64, parts: usize) -> usize {
    ((u128::from(hash) * parts as u128) >> u64::BITS) as usize
}

fn replaced<K, V>(part: &HashMap<K, V>, replace: impl Fn(&V) -> Option<V>) -> HashMap<K, V>
where
    K: Clone,
    V: Clone,
{
    let mut part = part.clone();
    for value in part.values_mut() {
        if let Some(next) = replace(value) {
            *value = next;
        }
    }
    part
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
    fn places<K, V>(parts: &Parts<K, V>) -> Vec<*const HashMap<K, V>> {
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
            let sizes: Vec<_> = parts.parts().map(HashMap::len).collect();
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
            entries in prop::collection::vec((0..60_u8, 0..4_u8), 0..80),
            part in 1..50_usize,
            replaced in 0..4_u8,
        ) {
            let mut tree: BTreeMap<u8, u8> = entries.iter().copied().collect();
            let mut parts = Parts::in_parts_of(part, entries);
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
