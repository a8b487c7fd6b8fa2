//! What two certificate maps answer differently.

use std::fmt;

use crate::id::CertificateId;
use crate::name::NamePattern;
use crate::sni::{CertificateSet, Hit, Rule, SniMap};

/// What another certificate map would show in the place of the one in force.
///
/// It is what clients notice: another password that opens the same key is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SniDifference {
    /// The default certificate, where another one takes its place. What only the default answers
    /// changes with it, and is not listed.
    pub default: Option<ShownChange>,
    /// Every name and wildcard for which another entry answers than before, or the same one with
    /// other certificates: names in alphabetical order, then wildcards.
    pub names: Vec<NameChange>,
}

impl SniDifference {
    /// Compares the next map with the one in force, where there is one. Takes time in proportion to
    /// the names of both.
    ///
    /// `default_answers` tells for which names the default is at all.
    pub(super) fn between(
        before: Option<&SniMap<CertificateSet>>,
        after: &SniMap<CertificateSet>,
        default_answers: impl Fn(&NamePattern) -> bool,
    ) -> Self {
        let shown = before.map(SniMap::default_value);
        let same = shown.is_some_and(|shown| shows_the_same(shown, after.default_value()));
        let default = (!same).then(|| ShownChange::new(shown, after.default_value()));
        let gone = before.into_iter().flat_map(SniMap::patterns);
        let gone = gone.filter(|pattern| after.get(pattern).is_none());
        let patterns = after.patterns().chain(gone);
        let mut names: Vec<_> =
            patterns.filter_map(|it| NameChange::of(it, before, after, &default_answers)).collect();
        names.sort_unstable_by(|one, other| one.pattern.cmp(&other.pattern));
        Self { default, names }
    }

    /// Whether every client would be shown what it is shown now.
    pub fn is_empty(&self) -> bool {
        self.default.is_none() && self.names.is_empty()
    }
}

/// What changes for one name or wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameChange {
    /// The name or wildcard, as it is configured or was.
    pub pattern: NamePattern,
    /// Which entry answers for it, and which one did.
    pub kind: NameChangeKind,
    /// What is shown for it. The same before and after where only the entry is another one, or where
    /// the certificate was renewed under its id.
    pub shown: ShownChange,
}

impl NameChange {
    fn of(
        pattern: NamePattern,
        before: Option<&SniMap<CertificateSet>>,
        after: &SniMap<CertificateSet>,
        default_answers: impl Fn(&NamePattern) -> bool,
    ) -> Option<Self> {
        let before = before.map(|map| answer(map, &pattern));
        let after = answer(after, &pattern);
        let same = before.as_ref().is_some_and(|before| shows_the_same(before.value, after.value));
        let rule = before.as_ref().map_or(Rule::Default, |before| before.rule);
        let kind = match (rule, after.rule) {
            (Rule::Exact, Rule::Exact)
            | (Rule::Wildcard, Rule::Wildcard)
            | (Rule::Default, Rule::Default) => (!same).then_some(NameChangeKind::Changed)?,
            (Rule::Default, Rule::Exact | Rule::Wildcard) => NameChangeKind::Gained,
            (Rule::Exact | Rule::Wildcard, Rule::Default) => NameChangeKind::Lost,
            (Rule::Wildcard, Rule::Exact) => NameChangeKind::Shadowed,
            (Rule::Exact, Rule::Wildcard) => NameChangeKind::Uncovered,
        };
        let mut shown = ShownChange::new(before.map(|before| before.value), after.value);
        if !default_answers(&pattern) {
            match kind {
                NameChangeKind::Gained => shown.before.clear(),
                NameChangeKind::Lost => shown.after.clear(),
                NameChangeKind::Changed | NameChangeKind::Shadowed | NameChangeKind::Uncovered => {}
            }
        }
        Some(Self { pattern, kind, shown })
    }
}

/// Which entry answers for a name, and which one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NameChangeKind {
    /// The default answered before, or nothing where there was no map, where the
    /// [policy](crate::sni::SniPolicy::unknown_name) refuses names without an entry, and on a shared
    /// listener, where such a name leads to the instance as a fallback only.
    Gained,
    /// The default answers from now on, or nothing, in the same cases.
    Lost,
    /// Its entry shows other certificates: under other ids, or renewed under the same.
    Changed,
    /// A wildcard answered before, and an entry of its own does from now on.
    Shadowed,
    /// Its own entry answered before, and a wildcard does from now on.
    Uncovered,
}

impl fmt::Display for NameChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gained => "gained",
            Self::Lost => "lost",
            Self::Changed => "changed",
            Self::Shadowed => "shadowed",
            Self::Uncovered => "uncovered",
        })
    }
}

/// Which certificates are shown, by their ids, the preferred one first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShownChange {
    /// Before; none where nothing was.
    pub before: Vec<CertificateId>,
    /// Afterwards; none where nothing will be.
    pub after: Vec<CertificateId>,
}

impl ShownChange {
    fn new(before: Option<&CertificateSet>, after: &CertificateSet) -> Self {
        let ids = |set: &CertificateSet| set.certificates().map(|(id, _)| id.clone()).collect();
        Self { before: before.map_or_else(Vec::new, ids), after: ids(after) }
    }
}

/// What a map has for a pattern: for a wildcard, what it has for the names below that have no entry
/// of their own.
fn answer<'a>(map: &'a SniMap<CertificateSet>, pattern: &NamePattern) -> Hit<'a, CertificateSet> {
    match pattern {
        NamePattern::Exact(name) => map.lookup(Some(name.as_str())),
        NamePattern::Wildcard(_) => match map.get(pattern) {
            Some(value) => Hit { rule: Rule::Wildcard, value },
            None => map.lookup(None),
        },
    }
}

/// Whether both show the same certificates under the same ids.
fn shows_the_same(one: &CertificateSet, other: &CertificateSet) -> bool {
    let same_ids =
        || one.certificates().map(|(id, _)| id).eq(other.certificates().map(|(id, _)| id));
    same_certificates(one, other) && same_ids()
}

/// Whether a client that is shown one of these sets could not tell it from the other.
pub(super) fn same_certificates(one: &CertificateSet, other: &CertificateSet) -> bool {
    let (mut one, mut other) = (one.certificates(), other.certificates());
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some((_, one)), Some((_, other))) if one.same_chain(other) => {}
            (Some(_), _) | (None, Some(_)) => return false,
        }
    }
}
