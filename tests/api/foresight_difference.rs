//! What clients would be shown otherwise is what asking both maps for every name finds.

use std::collections::BTreeSet;
use std::sync::Arc;

use mqtls::control::{NameChangeKind, ShownChange, SniDifference};
use mqtls::sni::{CertificateSet, Rule, SniMap};
use mqtls::{CertificateId, HostName, NamePattern};
use proptest::prelude::*;

use crate::foresight::{agreed, door_with, id, identity, pattern, table, texts};
use crate::support::{Door, Identity, TestCa};

type Told<'a> = (&'a str, NameChangeKind, &'a str, &'a str);

/// The changes of names as text: pattern, what becomes of it, ids before, ids after.
fn assert_names(difference: &SniDifference, expected: &[Told<'_>], case: &str) {
    let ids =
        |ids: &[CertificateId]| ids.iter().map(CertificateId::as_str).collect::<Vec<_>>().join(" ");
    let told: Vec<_> = difference
        .names
        .iter()
        .map(|name| {
            let ShownChange { before, after, .. } = &name.shown;
            (name.pattern.to_string(), name.kind, ids(before), ids(after))
        })
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(pattern, kind, before, after)| {
            (pattern.as_str(), *kind, before.as_str(), after.as_str())
        })
        .collect();
    assert_eq!(told, expected, "{case}");
}

#[test]
fn the_difference_names_what_every_client_would_be_shown_otherwise() {
    use NameChangeKind::{Changed, Gained, Lost, Shadowed, Uncovered};
    let door = door_with(&["E1", "E2", "R1"]);
    let cases: &[(&str, &str, &[Told<'_>])] = &[
        ("a.com#E1", "a.com#E1", &[]),
        (
            "",
            "c.com#E1;a.com#E1;*.b.com#E2",
            &[
                ("a.com", Gained, "default", "E1"),
                ("c.com", Gained, "default", "E1"),
                ("*.b.com", Gained, "default", "E2"),
            ],
        ),
        (
            "a.com#E1;*.b.com#E2",
            "",
            &[("a.com", Lost, "E1", "default"), ("*.b.com", Lost, "E2", "default")],
        ),
        ("a.com#E1;c.com#E1", "a.com#E2;c.com#E1", &[("a.com", Changed, "E1", "E2")]),
        ("*.a.com#E1", "*.a.com#E2", &[("*.a.com", Changed, "E1", "E2")]),
        ("a.com#E1", "a.com#R1;a.com#E1", &[("a.com", Changed, "E1", "E1 R1")]),
        ("a.com#R1;a.com#E1", "a.com#R1", &[("a.com", Changed, "E1 R1", "R1")]),
        ("*.a.com#E1", "*.a.com#E1;x.a.com#E2", &[("x.a.com", Shadowed, "E1", "E2")]),
        // Also where what is shown stays the same.
        ("*.a.com#E1", "*.a.com#E1;x.a.com#E1", &[("x.a.com", Shadowed, "E1", "E1")]),
        ("*.a.com#E1;x.a.com#E2", "*.a.com#E1", &[("x.a.com", Uncovered, "E2", "E1")]),
        (
            "*.a.com#E1",
            "x.a.com#E1",
            &[("x.a.com", Shadowed, "E1", "E1"), ("*.a.com", Lost, "E1", "default")],
        ),
        (
            "x.a.com#E1",
            "*.a.com#E2",
            &[("x.a.com", Uncovered, "E1", "E2"), ("*.a.com", Gained, "default", "E2")],
        ),
        (
            "x.a.com#E1;*.a.com#E1",
            "",
            &[("x.a.com", Lost, "E1", "default"), ("*.a.com", Lost, "E1", "default")],
        ),
        // A wildcard answers one label deep only.
        (
            "*.a.com#E1",
            "*.a.com#E1;x.y.a.com#E2;a.com#E2",
            &[("a.com", Gained, "default", "E2"), ("x.y.a.com", Gained, "default", "E2")],
        ),
        ("*.a.com#E1", "*.a.com#E1;*.y.a.com#E2", &[("*.y.a.com", Gained, "default", "E2")]),
    ];
    for (before, after, expected) in cases {
        let case = format!("{before} then {after}");
        door.set_sni("default", before).unwrap();
        let told = agreed(&door, "default", after);
        let difference = told.difference.unwrap();
        assert_eq!(difference.default, None, "{case}");
        assert_names(&difference, expected, &case);
        assert_eq!(difference.is_empty(), expected.is_empty(), "{case}");
        assert_eq!(told.changes, !expected.is_empty(), "{case}");
    }
}

#[test]
fn the_first_map_is_compared_with_nothing() {
    let door = door_with(&["E1"]);
    let told = agreed(&door, "default", "a.com#E1;*.a.com#default").difference.unwrap();
    let expected = [
        ("a.com", NameChangeKind::Gained, "", "E1"),
        ("*.a.com", NameChangeKind::Gained, "", "default"),
    ];
    assert_names(&told, &expected, "first");
    let default = told.default.unwrap();
    assert_eq!((default.before, default.after), (vec![], vec![id("default")]));
}

#[test]
fn another_default_and_a_renewed_certificate_are_told() {
    let door = door_with(&["E1", "E2"]);
    door.set_sni("default", "a.com#E1").unwrap();
    let told = agreed(&door, "E2", "a.com#E1").difference.unwrap();
    let default = told.default.clone().unwrap();
    assert_eq!((default.before, default.after), (vec![id("default")], vec![id("E2")]));
    assert!(told.names.is_empty() && !told.is_empty());

    // Renewed at its source, and not yet reloaded.
    for renewed in ["E1", "E2"] {
        door.put(renewed, &identity(&door.server_ca, renewed));
    }
    let told = agreed(&door, "E2", "a.com#E1;c.com#E2").difference.unwrap();
    let default = told.default.clone().unwrap();
    assert_eq!((default.before, default.after), (vec![id("E2")], vec![id("E2")]));
    let expected = [
        ("a.com", NameChangeKind::Changed, "E1", "E1"),
        ("c.com", NameChangeKind::Gained, "E2", "E2"),
    ];
    assert_names(&told, &expected, "renewed");

    // The same certificate under another id is another one as far as operators go.
    let same = identity(&door.server_ca, "E");
    door.put("one", &same);
    door.put("two", &same);
    door.set_sni("default", "a.com#one").unwrap();
    let told = agreed(&door, "default", "a.com#two").difference.unwrap();
    assert_names(&told, &[("a.com", NameChangeKind::Changed, "one", "two")], "another id");
}

/// The names that the maps of the property below are made of, and ids of certificates.
const PATTERNS: [&str; 9] = [
    "a.com",
    "c.com",
    "x.a.com",
    "z.a.com",
    "x.b.com",
    "x.y.a.com",
    "*.a.com",
    "*.b.com",
    "*.y.a.com",
];
const IDS: [&str; 4] = ["E1", "E2", "R1", "R2"];

/// A default certificate, and for each pattern nothing, one certificate, or one of each key type.
fn maps() -> impl Strategy<Value = (usize, Vec<Option<(usize, bool)>>)> {
    let entry = prop::option::of((0..IDS.len(), any::<bool>()));
    (0..IDS.len(), prop::collection::vec(entry, PATTERNS.len()))
}

fn written(entries: &[Option<(usize, bool)>]) -> String {
    let entry = |(pattern, entry): (&str, &Option<(usize, bool)>)| {
        let (at, both) = (*entry)?;
        let one = format!("{pattern}#{}", IDS[at]);
        Some(if both { format!("{one};{pattern}#{}", IDS[(at + 2) % 4]) } else { one })
    };
    PATTERNS.into_iter().zip(entries).filter_map(entry).collect::<Vec<_>>().join(";")
}

/// What a map answers for a name, with what it is shown by.
fn asked<'a>(map: &'a SniMap<CertificateSet>, name: &str) -> (Rule, &'a CertificateSet) {
    let hit = map.lookup(Some(name));
    (hit.rule, hit.value)
}

fn ids_of(set: &CertificateSet) -> Vec<String> {
    set.certificates().map(|(id, _)| id.to_string()).collect()
}

fn shown_by(set: &CertificateSet) -> Vec<(String, mqtls::Sha256)> {
    set.certificates().map(|(id, shown)| (id.to_string(), shown.sha256())).collect()
}

/// The difference as somebody finds it who only asks both maps for names, one that stands in no map
/// for each wildcard.
fn by_asking(
    before: &SniMap<CertificateSet>,
    after: &SniMap<CertificateSet>,
) -> Vec<(String, NameChangeKind, Vec<String>, Vec<String>)> {
    let names: BTreeSet<NamePattern> = PATTERNS.iter().map(|text| pattern(text)).collect();
    let change = |asked_for: NamePattern| {
        let name: HostName = match &asked_for {
            NamePattern::Exact(name) => name.clone(),
            NamePattern::Wildcard(parent) => format!("unheard-of.{parent}").parse().unwrap(),
        };
        let (was, shown_before) = asked(before, name.as_str());
        let (is, shown_after) = asked(after, name.as_str());
        let is_wildcard = matches!(asked_for, NamePattern::Wildcard(_));
        let kind = match (was, is) {
            // A name without an entry changes with the wildcard or the default that answers for it.
            (Rule::Wildcard | Rule::Default, Rule::Wildcard | Rule::Default) if !is_wildcard => {
                return None;
            }
            (Rule::Default, Rule::Default) => return None,
            (was, is) if was == is && shown_by(shown_before) == shown_by(shown_after) => {
                return None;
            }
            (was, is) if was == is => NameChangeKind::Changed,
            (Rule::Default, _) => NameChangeKind::Gained,
            (_, Rule::Default) => NameChangeKind::Lost,
            (_, Rule::Exact) => NameChangeKind::Shadowed,
            (_, Rule::Wildcard) => NameChangeKind::Uncovered,
        };
        Some((asked_for.to_string(), kind, ids_of(shown_before), ids_of(shown_after)))
    };
    names.into_iter().filter_map(change).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_difference_is_what_asking_both_maps_for_every_name_finds(
        (first_default, first) in maps(),
        (next_default, next) in maps(),
        renewed in prop::collection::vec(any::<bool>(), IDS.len()),
        same in prop::bool::weighted(0.2),
    ) {
        thread_local! {
            static DOOR: Door = door_with(&IDS);
            static VERSIONS: [[Identity; 2]; 4] = {
                let ca = TestCa::root("server CA");
                IDS.map(|id| [(), ()].map(|()| identity(&ca, id)))
            };
        }
        let put = |door: &Door, at: usize, version: usize| {
            VERSIONS.with(|versions| door.put(IDS[at], &versions[at][version]));
        };
        DOOR.with(|door| {
            (0..IDS.len()).for_each(|at| put(door, at, 0));
            door.set_sni(IDS[first_default], &written(&first)).unwrap();
            let before = table(door).unwrap();
            (0..IDS.len()).for_each(|at| put(door, at, usize::from(renewed[at])));
            let config = written(if same { &first } else { &next });
            let told = agreed(door, IDS[next_default], &config);
            let after = table(door).unwrap();
            let difference = told.difference.unwrap();
            let names: Vec<_> = difference.names.iter().map(|name| {
                let ShownChange { before, after, .. } = &name.shown;
                (name.pattern.to_string(), name.kind, texts(before), texts(after))
            }).collect();
            prop_assert_eq!(names, by_asking(before.map(), after.map()));
            let [old, new] = [&before, &after].map(|table| table.map().default_value());
            let default = difference.default.as_ref();
            prop_assert_eq!(default.is_some(), shown_by(old) != shown_by(new));
            if let Some(ShownChange { before, after, .. }) = default {
                prop_assert_eq!((texts(before), texts(after)), (ids_of(old), ids_of(new)));
            }
            prop_assert_eq!(told.changes, !difference.is_empty());
            prop_assert_eq!(told.changes, !Arc::ptr_eq(&before, &after));
            Ok(())
        })?;
    }
}
