//! The table from names to values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::parts::Parts;
use crate::name::{HostName, NamePattern, canonical, parent_of};

/// An immutable table from name patterns to values, with a default that answers all other names.
///
/// The most specific pattern wins, whatever the order of the entries: the exact name, then the
/// wildcard one label above it, then the default. A lookup probes at most two hash tables (their
/// hasher seeded at random) and allocates nothing for a name in lower case.
///
/// There is deliberately no way to change a table: a writer builds the next one in full. Cloning one
/// therefore copies nothing, so that a table that was built beforehand can be published in no time,
/// and again. One with the same names and other values shares with the first what is not other.
pub struct SniMap<T>(Arc<Tables<T>>);

struct Tables<T> {
    exact: Parts<HostName, T>,
    /// By the name that follows the `*.`.
    wildcard: Parts<HostName, T>,
    default: T,
}

impl<T> SniMap<T> {
    /// A table of `entries` with `default` for all other names.
    pub fn new(default: T, entries: BTreeMap<NamePattern, T>) -> Self {
        let (mut exact, mut wildcard) = (vec![], vec![]);
        for (pattern, value) in entries {
            match pattern {
                NamePattern::Exact(name) => exact.push((name, value)),
                NamePattern::Wildcard(parent) => wildcard.push((parent, value)),
            }
        }
        let (exact, wildcard) = (Parts::new(exact), Parts::new(wildcard));
        Self(Arc::new(Tables { exact, wildcard, default }))
    }

    /// The most specific answer for a server name as a client asked for it; the default where it
    /// asked for none.
    #[inline]
    pub fn lookup(&self, asked: Option<&str>) -> Hit<'_, T> {
        if let Some(asked) = asked {
            let name = canonical(asked);
            if let Some(value) = self.0.exact.get::<str>(&name) {
                return Hit { rule: Rule::Exact, value };
            }
            if let Some(value) = self.covering(&name) {
                return Hit { rule: Rule::Wildcard, value };
            }
        }
        Hit { rule: Rule::Default, value: &self.0.default }
    }

    /// What the wildcard has that covers a name in canonical form.
    #[inline]
    fn covering(&self, name: &str) -> Option<&T> {
        let wildcard = &self.0.wildcard;
        if wildcard.is_empty() { None } else { wildcard.get(parent_of(name)?) }
    }

    /// What `choose` makes of the most specific answer of which it makes anything, of at most
    /// three. A less specific table is probed only where a more specific answer gave nothing.
    pub fn find_map<'a, R>(
        &'a self,
        asked: Option<&str>,
        mut choose: impl FnMut(Rule, &'a T) -> Option<R>,
    ) -> Option<R> {
        let Hit { rule, value } = self.lookup(asked);
        let mut chosen = choose(rule, value);
        if let (None, Rule::Exact, Some(asked)) = (&chosen, rule, asked) {
            let covering = self.covering(&canonical(asked));
            chosen = covering.and_then(|value| choose(Rule::Wildcard, value));
        }
        match rule {
            Rule::Exact | Rule::Wildcard => {
                chosen.or_else(|| choose(Rule::Default, &self.0.default))
            }
            Rule::Default => chosen,
        }
    }

    /// The same table with other values where `replace` has one. It shares with this one all but some
    /// thousand entries around each that is replaced, so that one of many costs next to nothing but
    /// the calls of `replace`.
    pub fn replace_values(&self, replace: impl Fn(&T) -> Option<T>) -> Self
    where
        T: Clone,
    {
        let Tables { exact, wildcard, default } = self.0.as_ref();
        Self(Arc::new(Tables {
            exact: exact.replace_values(&replace),
            wildcard: wildcard.replace_values(&replace),
            default: replace(default).unwrap_or_else(|| default.clone()),
        }))
    }

    /// The value that answers where no pattern does.
    pub fn default_value(&self) -> &T {
        &self.0.default
    }

    /// The value that stands under this very pattern, whether or not it also covers others.
    pub fn get(&self, pattern: &NamePattern) -> Option<&T> {
        match pattern {
            NamePattern::Exact(name) => self.0.exact.get(name),
            NamePattern::Wildcard(parent) => self.0.wildcard.get(parent),
        }
    }

    /// Every pattern with its value, in no order; the default is not among them.
    pub fn iter(&self) -> impl Iterator<Item = (NamePattern, &T)> {
        let exact =
            self.0.exact.iter().map(|(name, value)| (NamePattern::Exact(name.clone()), value));
        let wildcard = self
            .0
            .wildcard
            .iter()
            .map(|(parent, value)| (NamePattern::Wildcard(parent.clone()), value));
        exact.chain(wildcard)
    }

    /// Every pattern, in no order.
    pub fn patterns(&self) -> impl Iterator<Item = NamePattern> {
        self.iter().map(|(pattern, _)| pattern)
    }

    /// Every value, the default among them, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        let Tables { exact, wildcard, default } = self.0.as_ref();
        exact.values().chain(wildcard.values()).chain([default])
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.0.exact.len() + self.0.wildcard.len()
    }

    /// Whether the default answers every name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for SniMap<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: PartialEq> PartialEq for SniMap<T> {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.0.as_ref(), other.0.as_ref());
        std::ptr::eq(ours, theirs)
            || ours.default == theirs.default
                && ours.exact == theirs.exact
                && ours.wildcard == theirs.wildcard
    }
}

impl<T> fmt::Debug for SniMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SniMap")
            .field("exact", &self.0.exact.len())
            .field("wildcard", &self.0.wildcard.len())
            .finish_non_exhaustive()
    }
}

/// An answer of a [`SniMap`], and which rule gave it.
#[derive(Debug, PartialEq, Eq)]
pub struct Hit<'a, T> {
    /// How specific the answer is.
    pub rule: Rule,
    /// The answer.
    pub value: &'a T,
}

/// How specific an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The name stands in the table.
    Exact,
    /// A wildcard one label above the name does.
    Wildcard,
    /// Neither, or there was no name.
    Default,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact name",
            Self::Wildcard => "wildcard",
            Self::Default => "default",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map<'a>(entries: &[(&str, &'a str)]) -> SniMap<&'a str> {
        let entries = entries.iter().map(|(pattern, value)| (pattern.parse().unwrap(), *value));
        SniMap::new("D", entries.collect())
    }

    fn assert_answers(map: &SniMap<&str>, cases: &[(&str, &str)]) {
        for (asked, value) in cases {
            assert_eq!(map.lookup(Some(asked)).value, value, "{asked}");
        }
    }

    const N01: [(&str, &str); 7] = [
        ("x.a.com", "X"),
        ("y.a.com", "W"),
        ("a.com", "D"),
        ("p.q.a.com", "D"),
        ("xa.com", "D"),
        ("com", "D"),
        (".a.com", "D"),
    ];

    #[test]
    fn n01_exact_name_wins_over_wildcard_in_every_order() {
        assert_answers(&map(&[("*.a.com", "W"), ("x.a.com", "X")]), &N01);
        assert_answers(&map(&[("x.a.com", "X"), ("*.a.com", "W")]), &N01);
        let without = map(&[("*.a.com", "W")]);
        assert_eq!(without.lookup(Some("x.a.com")), Hit { rule: Rule::Wildcard, value: &"W" });
        assert_eq!(without.lookup(None), Hit { rule: Rule::Default, value: &"D" });
    }

    #[test]
    fn n02_the_wildcard_nearest_to_the_name_is_the_only_one_that_covers_it() {
        let with_exact = map(&[("*.a.com", "W"), ("b.c.a.com", "Z")]);
        assert_answers(&with_exact, &[("c.a.com", "W"), ("d.c.a.com", "D"), ("b.c.a.com", "Z")]);
        let nested = map(&[("*.a.com", "W"), ("*.b.a.com", "V")]);
        assert_answers(&nested, &[("x.b.a.com", "V"), ("b.a.com", "W"), ("x.a.com", "W")]);
    }

    #[test]
    fn n03_neither_pattern_stands_for_the_other() {
        assert_answers(&map(&[("a.com", "A")]), &[("foo.a.com", "D"), ("a.com", "A")]);
        assert_answers(&map(&[("*.a.com", "W")]), &[("a.com", "D")]);
        let both = map(&[("a.com", "A"), ("*.a.com", "W")]);
        assert_answers(&both, &[("a.com", "A"), ("foo.a.com", "W")]);
        assert_eq!(both.len(), 2);
    }

    #[test]
    fn n04_asked_in_any_case_and_with_a_trailing_dot() {
        let map = map(&[("API.Example.COM", "A")]);
        for asked in ["api.example.com", "API.EXAMPLE.com", "api.example.com."] {
            assert_eq!(map.lookup(Some(asked)), Hit { rule: Rule::Exact, value: &"A" }, "{asked}");
        }
    }

    #[test]
    fn n06_no_text_panics() {
        let map = map(&[("*.a.com", "W"), ("localhost", "L")]);
        let long = "a.".repeat(200);
        for asked in ["", ".", "..", "*", "*.a.com.", "\0", "1.2.3.4", "::1", "é", long.as_str()] {
            map.lookup(Some(asked));
        }
        assert_answers(&map, &[("localhost", "L"), ("localhost.", "L"), ("", "D")]);
    }

    #[test]
    fn an_answer_that_does_not_fit_gives_way_to_a_less_specific_one() {
        let map = map(&[("*.a.com", "W"), ("x.a.com", "X")]);
        let first = |unfit: &[&str]| {
            let fits = |_, value: &_| (!unfit.contains(value)).then_some(*value);
            map.find_map(Some("x.a.com"), fits)
        };
        assert_eq!(first(&[]), Some("X"));
        assert_eq!(first(&["X"]), Some("W"));
        assert_eq!(first(&["X", "W"]), Some("D"));
        assert_eq!(first(&["X", "W", "D"]), None);
    }

    #[test]
    fn with_another_value_most_of_a_large_map_lies_where_it_lay() {
        let patterns = (0..10_000).map(|at| [format!("n{at}.test"), format!("*.n{at}.test")]);
        let patterns: Vec<NamePattern> =
            patterns.flatten().map(|text| text.parse().unwrap()).collect();
        let entries = patterns.iter().cloned().map(|pattern| (pattern.clone(), Some(pattern)));
        let before = SniMap::new(None, entries.collect());
        let renewed: NamePattern = "*.n4711.test".parse().unwrap();
        let after = before.replace_values(|value| {
            (value.as_ref() == Some(&renewed)).then(|| Some("new.test".parse().unwrap()))
        });
        assert_eq!(after.lookup(Some("x.n4711.test")).value, &"new.test".parse().ok());
        let lies_elsewhere = |pattern: &&NamePattern| {
            !std::ptr::eq(before.get(pattern).unwrap(), after.get(pattern).unwrap())
        };
        assert!((1..=1024).contains(&patterns.iter().filter(lies_elsewhere).count()));
        let others = |map: &SniMap<Option<NamePattern>>| {
            patterns.iter().filter(|it| map.get(it).unwrap().as_ref() == Some(it)).count()
        };
        assert_eq!((others(&before), others(&after)), (20_000, 19_999));
        assert!(before != after && after.len() == before.len());
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_a_linear_search(
            patterns in prop::collection::btree_set(r"(\*\.)?[abc](\.[abc]){1,2}", 0..12),
            asked in r"[abcABC](\.[abc]){0,3}\.?",
        ) {
            let patterns: Vec<NamePattern> =
                patterns.iter().filter_map(|text| text.parse().ok()).collect();
            let entries = patterns.iter().cloned().map(|pattern| (pattern.clone(), Some(pattern)));
            let map = SniMap::new(None, entries.collect());
            let name: HostName = asked.parse().unwrap();
            let covering = |exact: bool| patterns.iter().find(|pattern| {
                matches!(pattern, NamePattern::Exact(_)) == exact && pattern.covers(&name)
            });
            let expected = covering(true).or_else(|| covering(false)).cloned();
            prop_assert_eq!(map.lookup(Some(&asked)).value, &expected);
        }
    }
}
