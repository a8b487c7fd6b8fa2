//! What is to look at in a configuration is told before and after it is applied, each thing once.

use std::time::Duration;

use mqtls::certificate::{ChainFinding, Validity};
use mqtls::control::{Place, Warning};
use rustls_pki_types::UnixTime;

use crate::foresight::{agreed, at, door_with, id, identity, pattern, plan, texts, warnings};
use crate::support::{Door, NOW, date, key};

const DAY: u64 = 24 * 60 * 60;

/// Keeps a certificate that is valid from and until then.
fn put_valid(door: &Door, id: &str, from: u64, until: u64) -> Validity {
    let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let names = ["a.com", "*.a.com", "c.com"];
    let identity = door.server_ca.server_over(key, &names, |params| {
        (params.not_before, params.not_after) = (date(from), date(until));
    });
    door.put(id, &identity);
    let second = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    Validity { not_before: second(from), not_after: second(until) }
}

#[test]
fn a_certificate_is_late_in_its_last_30_days_or_its_last_third_whichever_is_shorter() {
    let year = 365 * DAY;
    let cases = [
        // Valid from, until; how many days are left, where that is told.
        (NOW - year, NOW + 30 * DAY, None),
        (NOW - year, NOW + 30 * DAY - 1, Some(29)),
        (NOW - year, NOW + DAY, Some(1)),
        (NOW - year, NOW + DAY - 1, Some(0)),
        (NOW - year, NOW, Some(0)),
        (NOW - 60 * DAY, NOW + 30 * DAY, None),
        (NOW - 60 * DAY, NOW + 30 * DAY - 1, Some(29)),
        (NOW - 58 * DAY, NOW + 29 * DAY, None),
        (NOW - 58 * DAY, NOW + 29 * DAY - 1, Some(28)),
        (NOW - 4 * DAY, NOW + 2 * DAY, None),
        (NOW - 4 * DAY, NOW + 2 * DAY - 1, Some(1)),
        (NOW - 7, NOW + 3, Some(0)),
        (NOW - 6, NOW + 3, None),
        (NOW, NOW + DAY, None),
        (NOW, NOW, None),
    ];
    let door = door_with(&[]);
    for (from, until, days) in cases {
        let validity = put_valid(&door, "E", from, until);
        let expected = days.map(|days| (at(1), Warning::ExpiresSoon { days, validity }));
        let told = warnings(&plan(&door, "a.com#E"));
        assert_eq!(told, Vec::from_iter(expected), "{} {}", NOW - from, until - NOW);
    }
    // One that is not valid yet is not late.
    let validity = put_valid(&door, "E", NOW + 1, NOW + 10);
    assert_eq!(warnings(&plan(&door, "a.com#E")), [(at(1), Warning::NotYetValid(validity))]);
}

#[test]
fn what_is_true_of_a_certificate_is_told_once_where_it_is_named_first() {
    let door = door_with(&["E1"]);
    let soon = put_valid(&door, "soon", NOW - 100 * DAY, NOW + 3 * DAY);
    let early = put_valid(&door, "early", NOW + 1, NOW + DAY);
    let expires = |days| Warning::ExpiresSoon { days, validity: soon };
    let config = "a.com#E1;*.a.com#soon;c.com#soon;x.a.com#early;y.a.com#early;z.com#soon";
    let not_for = (at(6), Warning::NotCovered(pattern("z.com")));
    let shadowed = Warning::Shadowed { names: 2, first: 4 };
    assert_eq!(
        warnings(&agreed(&door, "default", config)),
        [
            (at(2), expires(3)),
            (at(2), shadowed.clone()),
            (at(4), Warning::NotYetValid(early)),
            not_for.clone(),
        ]
    );
    let as_default = agreed(&door, "soon", config);
    assert_eq!(
        warnings(&as_default),
        [
            (Place::Default, expires(3)),
            (at(2), shadowed.clone()),
            (at(4), Warning::NotYetValid(early)),
            not_for.clone(),
        ]
    );
    // The same of one that has expired and is served already.
    door.clock.set(NOW + 4 * DAY);
    let expired = Warning::Expired(soon);
    let early_expired = Warning::Expired(early);
    assert_eq!(
        warnings(&agreed(&door, "soon", config)),
        [
            (Place::Default, expired.clone()),
            (at(2), shadowed),
            (at(4), early_expired.clone()),
            not_for.clone()
        ]
    );
    // At the first place where that is no fault.
    let moved = "x.com#soon;c.com#soon;y.a.com#early";
    let plan = agreed(&door, "default", moved);
    assert_eq!(texts(&plan.errors), ["entry 1: certificate soon has expired"]);
    let not_for = Warning::NotCovered(pattern("x.com"));
    assert_eq!(warnings(&plan), [(at(1), not_for), (at(2), expired), (at(3), early_expired)]);
}

#[test]
fn findings_in_chains_are_warnings_once_for_each_id() {
    let door = door_with(&["E1"]);
    let upper = door.server_ca.child("upper");
    let leaf = upper.child("lower").server(&["a.com", "c.com", "x.a.com"]);
    door.put("gap", &leaf.with_chain(&[&upper, &door.server_ca]));
    let incomplete = Warning::Chain(ChainFinding::Incomplete { position: 1 });
    let told = agreed(&door, "default", "a.com#E1;c.com#gap;x.a.com#gap");
    assert_eq!(warnings(&told), [(at(2), incomplete)]);
    let text = "entry 2: the issuer of certificate 1 of the chain is missing";
    assert_eq!(told.warnings[0].to_string(), text);
}

#[test]
fn of_a_certificate_with_many_names_each_is_known() {
    let door = door_with(&[]);
    let names: Vec<_> =
        (0..20).flat_map(|at| [format!("n{at}.d.com"), format!("*.w{at}.com")]).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    door.put("many", &door.server_ca.server(&names));
    for (name, covered) in [
        ("n0.d.com", true),
        ("N19.D.com.", true),
        ("*.w19.com", true),
        ("x.w7.com", true),
        ("n20.d.com", false),
        ("d.com", false),
        ("*.d.com", false),
        ("w7.com", false),
        ("x.y.w7.com", false),
        ("*.x.w7.com", false),
    ] {
        let expected = (!covered).then(|| (at(1), Warning::NotCovered(pattern(name))));
        let told = agreed(&door, "default", &format!("{name}#many"));
        assert_eq!(warnings(&told), Vec::from_iter(expected), "{name}");
    }
}

#[test]
fn one_certificate_under_several_ids_is_told_at_each_but_the_first() {
    let door = door_with(&["E1", "E2"]);
    let identity = identity(&door.server_ca, "E");
    door.put("one", &identity);
    door.put("two", &identity.clone().with_chain(&[&door.server_ca]));
    door.put("three", &identity);
    let same = |known: &str| Warning::SameCertificate(id(known));
    let config = "a.com#one;*.a.com#two;x.b.com#one;c.com#two;*.b.com#three";
    let told = agreed(&door, "default", config);
    assert_eq!(warnings(&told), [(at(2), same("one")), (at(5), same("one"))]);
    assert_eq!(
        told.warnings[0].to_string(),
        "entry 2: the same certificate stands under the id one, too"
    );
    let told = agreed(&door, "two", config);
    assert_eq!(warnings(&told), [(at(1), same("two")), (at(5), same("two"))]);
    assert_eq!(warnings(&agreed(&door, "default", "a.com#E1;c.com#E2;x.b.com#E1")), []);
}

#[test]
fn a_wildcard_that_others_answer_for_is_told_once_with_how_many_and_the_first() {
    let door = door_with(&["E1", "E2", "R1"]);
    let twice = identity(&door.server_ca, "E");
    door.put("one", &twice);
    door.put("two", &twice);
    // Which entry is told, of how many names, and which entry answers for the first.
    type Shadows<'a> = &'a [(usize, usize, usize)];
    let cases: &[(&str, Shadows<'_>)] = &[
        ("*.a.com#E1;x.a.com#E2", &[(1, 1, 2)]),
        ("x.a.com#E2;*.a.com#E1", &[(2, 1, 1)]),
        ("*.a.com#E1;x.a.com#E1;y.a.com#E2;z.a.com#E2;v.a.com#E1", &[(1, 2, 3)]),
        ("z.a.com#E2;*.a.com#E1;b.a.com#E2", &[(2, 2, 1)]),
        ("*.a.com#E1;x.a.com#E1", &[]),
        ("*.a.com#E1;a.com#E2;x.y.a.com#E2;x.b.com#E2", &[]),
        ("*.a.com#E1;*.y.a.com#E2", &[]),
        ("*.y.a.com#E1;*.a.com#E1;x.y.a.com#E2", &[(1, 1, 3)]),
        ("*.a.com#E1;*.b.com#E2;x.a.com#E2;x.b.com#E1", &[(1, 1, 3), (2, 1, 4)]),
        // Of several key types.
        ("*.a.com#E1;*.a.com#R1;x.a.com#E1;x.a.com#R1", &[]),
        ("*.a.com#E1;*.a.com#R1;x.a.com#R1;x.a.com#E1", &[]),
        ("*.a.com#E1;*.a.com#R1;x.a.com#E1", &[(1, 1, 3)]),
        ("x.a.com#R1;*.a.com#E1;x.a.com#E1", &[(2, 1, 1)]),
    ];
    for (config, expected) in cases {
        let told = warnings(&agreed(&door, "default", config));
        let expected: Vec<_> = expected
            .iter()
            .map(|&(place, names, first)| (at(place), Warning::Shadowed { names, first }))
            .collect();
        assert_eq!(told, expected, "{config}");
    }
    // What is shown counts, not the id.
    let told = agreed(&door, "default", "*.a.com#one;x.a.com#two");
    assert_eq!(warnings(&told), [(at(2), Warning::SameCertificate(id("one")))]);
    let told = plan(&door, "*.a.com#E1;x.a.com#E2;y.a.com#E2");
    let text = "entry 1: entries with other certificates answer for 2 of its names, entry 2 first";
    assert_eq!(told.warnings[0].to_string(), text);
}

#[test]
fn of_a_name_that_cannot_be_served_in_full_it_is_not_told_what_it_shadows() {
    let door = door_with(&["E1", "E2", "R1"]);
    for config in [
        "*.a.com#E1;x.a.com#nowhere",
        "*.a.com#E1;x.a.com#E2;x.a.com#nowhere",
        "*.a.com#E1;x.a.com#nowhere;x.a.com#R1",
        "*.a.com#E1;*.a.com#nowhere;x.a.com#E2",
        "*.a.com#nowhere;*.a.com#E1;x.a.com#E2",
        "*.a.com#E1;x.a.com#E2;x.a.com#E1",
    ] {
        let told = agreed(&door, "default", config);
        assert_eq!((warnings(&told), told.errors.len()), (vec![], 1), "{config}");
    }
    // The others are told all the same.
    let told = plan(&door, "*.a.com#E1;x.a.com#nowhere;y.a.com#E2;b.com#nowhere");
    assert_eq!(warnings(&told), [(at(1), Warning::Shadowed { names: 1, first: 3 })]);
}
