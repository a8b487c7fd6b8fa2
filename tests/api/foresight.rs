//! What a `SetSniConfig` would do is told before it does it, and it is done to no other map than that
//! with which it was compared.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use mqtls::certificate::{CertificateSource, ChainFinding, Password, SourceError, Validity};
use mqtls::control::{
    Cause, EntryFault, ErrorCode, NameChangeKind, Place, SetSniConfigResponse, ShownChange,
    SniConfigPlan, SniDifference, Warning,
};
use mqtls::sni::{CertificateSet, Rule, SniMap, SniTable};
use mqtls::{
    Caller, CertificateId, CertificateMaterial, ClientAuth, HostName, Instance, InstanceId,
    InstanceSpec, Instances, Memory, NamePattern, OperationError, SetSniConfig,
};
use proptest::prelude::*;
use rustls_pki_types::UnixTime;

use crate::shared::Street;
use crate::support::{Door, Identity, NOW, TestCa, TestClock, date, key, provider, rsa_key};

const DAY: u64 = 24 * 60 * 60;

fn door_with(ids: &[&str]) -> Door {
    let door = Door::unconfigured(ClientAuth::Disabled, provider());
    for id in ["default"].iter().chain(ids) {
        door.put(id, &identity(&door.server_ca, id));
    }
    door
}

/// A certificate for most names of these tests, over an RSA key where the id starts with an R.
fn identity(ca: &TestCa, id: &str) -> Identity {
    let key = if id.starts_with('R') { rsa_key() } else { key(&rcgen::PKCS_ECDSA_P256_SHA256) };
    ca.server_over(key, &["a.com", "*.a.com", "*.b.com", "*.y.a.com", "c.com"], |_| {})
}

fn operation(door: &Door, default: &str, config: &str) -> SetSniConfig {
    SetSniConfig {
        mqtt_instance_id: door.instance.id().clone(),
        default_certificate: default.parse().unwrap(),
        sni_config: config.parse().unwrap(),
    }
}

fn plan(door: &Door, config: &str) -> SniConfigPlan {
    operation(door, "default", config).plan(&door.instances, &Caller::local()).unwrap()
}

fn apply_if(
    door: &Door,
    generation: u64,
    config: &str,
) -> Result<SetSniConfigResponse, OperationError> {
    operation(door, "default", config).apply_if(generation, &door.instances, &Caller::local())
}

fn table(door: &Door) -> Option<Arc<SniTable>> {
    door.instance.sni().table()
}

fn is_same(one: Option<Arc<SniTable>>, other: Option<Arc<SniTable>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(&one, &other),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn warnings(plan: &SniConfigPlan) -> Vec<(Place, Warning)> {
    plan.warnings.iter().map(|told| (told.place, told.warning.clone())).collect()
}

fn id(text: &str) -> CertificateId {
    text.parse().unwrap()
}

/// What applying the operation makes of the same, after asserting that it is what was planned.
fn agreed(door: &Door, default: &str, config: &str) -> SniConfigPlan {
    let before = table(door);
    let operation = operation(door, default, config);
    let plan = operation.plan(&door.instances, &Caller::local()).unwrap();
    assert!(is_same(table(door), before.clone()), "{config}");
    assert_eq!(plan.generation, before.as_ref().map_or(0, |table| table.generation()), "{config}");
    match operation.apply(&door.instances, &Caller::local()) {
        Ok(done) => {
            assert_eq!(texts(&plan.errors), [""; 0], "{config}");
            assert_eq!(done.warnings, plan.warnings, "{config}");
            assert_eq!(done.generation, plan.generation + u64::from(plan.changes), "{config}");
            assert!(plan.difference.is_some(), "{config}");
        }
        Err(error) => {
            let Cause::Sni(refused) = error.cause() else { panic!("{error:?}") };
            assert_eq!(texts(&plan.errors), texts(&refused.errors), "{config}");
            assert!(!plan.errors.is_empty() && !plan.changes, "{config}");
            assert_eq!(plan.difference, None, "{config}");
            assert!(is_same(table(door), before), "{config}");
        }
    }
    plan
}

#[test]
fn applying_does_what_was_planned() {
    let door = door_with(&["E1", "E2", "R1"]);
    let other = identity(&door.server_ca, "E");
    door.put("bad", &Identity { key: other.key, ..identity(&door.server_ca, "E") });
    let cases = [
        ("default", "", true, 0),
        ("default", "", false, 0),
        ("default", "a.com#E1;*.a.com#E2", true, 0),
        ("default", "*.a.com#E2;A.com.#E1", false, 0),
        ("default", "a.com#E1;a.com#R1", true, 0),
        ("E1", "a.com#E1;a.com#R1", true, 0),
        ("E1", "a.com#R1;a.com#E1", false, 0),
        ("nowhere", "a.com#E1;a.com#E2;b.com#nowhere;c.com#bad;a.com#R1#hunter2", false, 5),
        ("default", "a.com#E1;x.b.com#nowhere;z.com#E2", false, 1),
        ("nowhere", "", false, 1),
        ("default", "z.com#E1", true, 0),
    ];
    for (default, config, changes, errors) in cases {
        let plan = agreed(&door, default, config);
        assert_eq!((plan.changes, plan.errors.len()), (changes, errors), "{config}");
    }
}

#[test]
fn a_plan_tells_every_error_with_its_place_and_what_to_look_at_in_the_good_entries() {
    let door = door_with(&["E1"]);
    let config = "a.com#gone;z.com#E1;a.com#E1;c.com#gone;c.com#E1#hunter2;a.com#E1;y.com#E1";
    let plan = agreed(&door, "nowhere", config);
    assert_eq!(
        texts(&plan.errors),
        [
            "default certificate: there is no certificate nowhere for this instance",
            "entry 1: there is no certificate gone for this instance",
            "entry 4: certificate gone cannot be shown, as an earlier entry says",
            "entry 5: certificate E1 is named with another password, or without one, before",
            "entry 6: a.com stands in entry 3 already, with an ECDSA certificate too",
        ]
    );
    let places: Vec<_> = plan.errors.iter().map(|error| error.place).collect();
    assert_eq!(places, [Place::Default, at(1), at(4), at(5), at(6)]);
    assert!(matches!(plan.errors[0].fault, EntryFault::Source(SourceError::NotFound(_))));
    assert!(matches!(&plan.errors[2].fault, EntryFault::Unusable(gone) if *gone == id("gone")));
    let not_for = |name: &str| Warning::NotCovered(name.parse().unwrap());
    assert_eq!(warnings(&plan), [(at(2), not_for("z.com")), (at(7), not_for("y.com"))]);
    assert_eq!((plan.generation, plan.changes, plan.difference), (0, false, None));
}

fn at(entry: usize) -> Place {
    Place::Entry(entry)
}

#[test]
fn a_plan_changes_nothing_and_tells_nobody() {
    let door = door_with(&["E1", "E2"]);
    let mut events = door.instances.events();
    assert_eq!(plan(&door, "a.com#E1").generation, 0);
    assert!(table(&door).is_none());
    door.set_sni("default", "a.com#E1").unwrap();
    assert!(events.try_next().is_some());
    let before = table(&door);
    for config in ["a.com#E2", "a.com#nowhere", "a.com#E1", ""] {
        assert_eq!(plan(&door, config).generation, 1, "{config}");
        assert!(is_same(table(&door), before.clone()), "{config}");
    }
    assert_eq!(events.try_next(), None);
    let sweep = door.instance.sweep().unwrap();
    assert!(sweep.is_empty(), "{sweep:?}");
    // The next change counts on from the map in force.
    assert_eq!(door.set_sni("default", "a.com#E2").unwrap().generation, 2);
}

#[test]
fn names_of_another_instance_are_told_and_a_plan_claims_none() {
    let street = Street::new();
    street.one.set_sni("own", "a.test#own;*.w.test#own").unwrap();
    let config = "b.test#own;a.test#own;x.w.test#own;one.test#own;*.test.test#own";
    let own = |door: &Door| operation(door, "own", config).plan(&door.instances, &Caller::local());
    let told = own(&street.two).unwrap();
    let other = "belongs to another instance on the shared listener";
    let expected = [
        format!("entry 2: a.test {other}"),
        format!("entry 3: x.w.test {other}"),
        format!("entry 4: one.test {other}"),
    ];
    assert_eq!(texts(&told.errors), expected);
    assert!(
        matches!(&told.errors[0].fault, EntryFault::NameTaken(name) if *name == pattern("a.test"))
    );
    assert_eq!((told.generation, told.changes, told.difference), (2, false, None));
    agreed(&street.two, "own", config);
    // Told only where nothing else is wrong, as when it is applied.
    let both = agreed(&street.two, "own", "a.test#own;b.test#nowhere");
    assert_eq!(texts(&both.errors), ["entry 2: there is no certificate nowhere for this instance"]);

    // Neither what was refused nor what was not is claimed.
    assert!(plan_own(&street.two, "b.test#own;c.test#own").changes);
    street.one.set_sni("own", "b.test#own;c.test#own").unwrap();
    let told = plan_own(&street.two, "c.test#own");
    assert_eq!(texts(&told.errors), [format!("entry 1: c.test {other}")]);
    // One's own names are no fault of a plan that changes nothing, nor of one that does.
    assert_eq!(texts(&plan_own(&street.one, "b.test#own;c.test#own").errors), [""; 0]);
    assert_eq!(texts(&plan_own(&street.one, "one.test#own;*.c.test#own").errors), [""; 0]);
}

fn plan_own(door: &Door, config: &str) -> SniConfigPlan {
    operation(door, "own", config).plan(&door.instances, &Caller::local()).unwrap()
}

fn pattern(text: &str) -> NamePattern {
    text.parse().unwrap()
}

#[test]
fn what_concerns_no_entry_is_an_error_of_the_operation() {
    let door = Door::open_as(|spec| spec.client_auth(ClientAuth::Disabled).max_names(2));
    let caller = Caller::local();
    let before = table(&door);
    let within = operation(&door, "default", "a.com#default;b.com#default;a.com#nowhere");
    assert_eq!(within.plan(&door.instances, &caller).unwrap().errors.len(), 1);
    let beyond = operation(&door, "default", "a.com#nowhere;b.com#default;c.com#default");
    for error in [
        beyond.plan(&door.instances, &caller).unwrap_err(),
        beyond.apply_if(1, &door.instances, &caller).unwrap_err(),
        beyond.apply(&door.instances, &caller).unwrap_err(),
    ] {
        assert!(matches!(error.cause(), Cause::TooManyNames { names: 3, limit: 2 }), "{error:?}");
    }
    assert!(is_same(table(&door), before));
    door.instances.remove(door.instance.id());
    for error in [
        within.plan(&door.instances, &caller).unwrap_err(),
        within.apply_if(1, &door.instances, &caller).unwrap_err(),
    ] {
        assert_eq!(error.code(), ErrorCode::MqttInstanceNotFound);
    }
}

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

/// A source that opens its keys with any password, and that can be made to wait.
#[derive(Default)]
struct Keeper {
    memory: Memory,
    asked: Mutex<Vec<String>>,
    /// Met twice by whoever asks for `slow`.
    meeting: Option<Barrier>,
}

impl CertificateSource for Keeper {
    fn load(
        &self,
        instance: &InstanceId,
        id: &CertificateId,
        _: Option<&Password>,
    ) -> Result<CertificateMaterial, SourceError> {
        self.asked.lock().unwrap().push(id.to_string());
        if id.as_str() == "slow" {
            self.meeting.iter().for_each(|meeting| {
                meeting.wait();
                meeting.wait();
            });
        }
        self.memory.load(instance, id, None)
    }
}

/// An instance whose certificates a keeper keeps.
fn kept(keeper: Keeper, ids: &[&str]) -> (Arc<Keeper>, Instances, Arc<Instance>) {
    let keeper = Arc::new(keeper);
    let clock = TestClock::at(NOW);
    let instances = Instances::with_clock(provider(), Arc::clone(&keeper), clock);
    let instance = instances.create(InstanceSpec::new("mqtt-test".parse().unwrap())).unwrap();
    let ca = TestCa::root("server CA");
    for name in ids {
        keeper.memory.insert(instance.id().clone(), id(name), identity(&ca, name).material());
    }
    (keeper, instances, instance)
}

fn set(instance: &Instance, config: &str) -> SetSniConfig {
    SetSniConfig {
        mqtt_instance_id: instance.id().clone(),
        default_certificate: id("default"),
        sni_config: config.parse().unwrap(),
    }
}

#[test]
fn another_password_for_the_same_certificate_changes_the_map_and_nothing_that_is_shown() {
    let (_, instances, instance) = kept(Keeper::default(), &["default", "E1"]);
    let caller = Caller::local();
    set(&instance, "a.com#E1#hunter2").apply(&instances, &caller).unwrap();
    let other = set(&instance, "a.com#E1#hunter3");
    let told = other.plan(&instances, &caller).unwrap();
    assert!(told.changes && told.difference.unwrap().is_empty());
    assert_eq!(other.apply(&instances, &caller).unwrap().generation, 2);
    let told = other.plan(&instances, &caller).unwrap();
    assert!(!told.changes && told.difference.unwrap().is_empty());
}

#[test]
fn no_password_is_in_a_plan() {
    let (_, instances, instance) = kept(Keeper::default(), &["default", "E1"]);
    let caller = Caller::local();
    for config in [
        "a.com#E1#hunter2;z.com#E1#hunter2",
        "a.com#E1#hunter2;b.com#E1#hunter3;c.com#nowhere#hunter2;a.com#E1#hunter2",
    ] {
        let told = set(&instance, config).plan(&instances, &caller).unwrap();
        let texts = format!("{told:?} {:?} {:?}", texts(&told.errors), texts(&told.warnings));
        assert!(!texts.contains("hunter"), "{texts}");
        let conflict = set(&instance, config).apply_if(7, &instances, &caller).unwrap_err();
        assert!(!format!("{conflict:?} {}", conflict.cause()).contains("hunter"));
    }
}

#[test]
fn a_plan_waits_for_no_change_that_is_under_way() {
    let keeper = Keeper { meeting: Some(Barrier::new(2)), ..Keeper::default() };
    let (keeper, instances, instance) = kept(keeper, &["default", "E1", "slow"]);
    let caller = Caller::local();
    set(&instance, "").apply(&instances, &caller).unwrap();
    let slow = set(&instance, "a.com#slow");
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| slow.apply(&instances, &Caller::local()).unwrap());
        let meeting = keeper.meeting.as_ref().unwrap();
        meeting.wait();
        let told = set(&instance, "a.com#E1").plan(&instances, &caller).unwrap();
        assert_eq!((told.generation, told.changes), (1, true));
        meeting.wait();
        assert_eq!(changing.join().unwrap().generation, 2);
    });
}

/// 10,000 names with ten certificates, in entries from 1 on.
fn many(bad: &[usize]) -> String {
    let entry = |at: usize| match bad.contains(&at) {
        true => format!("n{at}.a.com#nowhere-{at}"),
        false => format!("n{at}.a.com#E{}", at % 10),
    };
    (1..=10_000).map(entry).collect::<Vec<_>>().join(";")
}

#[test]
fn of_10000_entries_each_bad_one_is_named_and_nothing_changes() {
    let ids: Vec<_> = (0..10).map(|at| format!("E{at}")).collect();
    let ids: Vec<_> = ["default"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    let (keeper, instances, instance) = kept(Keeper::default(), &ids);
    let caller = Caller::local();
    set(&instance, &many(&[])).apply(&instances, &caller).unwrap();
    assert_eq!(keeper.asked.lock().unwrap().len(), ids.len(), "each is loaded once");
    let before = instance.sni().table().unwrap();
    for bad in [&[7_312][..], &[1, 2, 5_000, 9_999, 10_000]] {
        let operation = set(&instance, &many(bad));
        let error = operation.apply(&instances, &caller).unwrap_err();
        let Cause::Sni(refused) = error.cause() else { panic!("{error:?}") };
        let plan = operation.plan(&instances, &caller).unwrap();
        for errors in [&refused.errors, &plan.errors] {
            let named: Vec<_> = errors.iter().map(|error| error.place).collect();
            assert_eq!(named, bad.iter().copied().map(at).collect::<Vec<_>>());
            for (error, at) in errors.iter().zip(bad) {
                let text =
                    format!("entry {at}: there is no certificate nowhere-{at} for this instance");
                assert_eq!(error.to_string(), text);
            }
        }
        assert!(Arc::ptr_eq(&instance.sni().table().unwrap(), &before));
    }
    let one_more = format!("{};*.a.com#E3", many(&[]));
    let told = set(&instance, &one_more).plan(&instances, &caller).unwrap();
    let shadowed = Warning::Shadowed { names: 9_000, first: 1 };
    assert_eq!(warnings(&told), [(at(10_001), shadowed)], "one warning, not 9,000");
    assert_eq!(told.difference.unwrap().names.len(), 1);
    let none = set(&instance, "").plan(&instances, &caller).unwrap().difference.unwrap();
    let is_lost = |at: usize| none.names[at].kind == NameChangeKind::Lost;
    assert!(none.names.len() == 10_000 && (0..10_000).all(is_lost));
    assert!(none.names.is_sorted_by(|one, other| one.pattern < other.pattern));
}

#[track_caller]
fn assert_conflict(
    outcome: Result<SetSniConfigResponse, OperationError>,
    expected: u64,
    found: u64,
) {
    let error = outcome.unwrap_err();
    match error.cause() {
        Cause::OtherGeneration { expected: told, found: is } => {
            assert_eq!((*told, *is), (expected, found));
        }
        other => panic!("{other}"),
    }
    assert_eq!((error.code(), error.http_status()), (ErrorCode::ParameterFieldCheckFailed, 400));
    let text = format!("certificate map {found} is in force, not {expected}");
    assert_eq!(error.cause().to_string(), text);
}

#[test]
fn a_change_that_was_meant_for_another_map_is_refused_and_the_map_stays() {
    let door = door_with(&["E1", "E2"]);
    assert_conflict(apply_if(&door, 1, "a.com#E1"), 1, 0);
    assert!(table(&door).is_none());
    assert_eq!(apply_if(&door, 0, "a.com#E1").unwrap().generation, 1);
    let before = table(&door);
    for stale in [0, 2, u64::MAX] {
        // Also where nothing would change, and before any certificate is asked for.
        for config in ["a.com#E2", "a.com#E1", "a.com#nowhere"] {
            assert_conflict(apply_if(&door, stale, config), stale, 1);
            assert!(is_same(table(&door), before.clone()));
        }
    }
    // With the right generation everything else is as without.
    let error = apply_if(&door, 1, "a.com#nowhere").unwrap_err();
    assert!(matches!(error.cause(), Cause::Sni(_)));
    assert_eq!(apply_if(&door, 1, "a.com#E1").unwrap().generation, 1, "nothing changes");
    assert_eq!(
        apply_if(&door, 1, "a.com#E1").unwrap().generation,
        1,
        "so that it can be said again"
    );
    assert_eq!(
        apply_if(&door, plan(&door, "a.com#E2").generation, "a.com#E2").unwrap().generation,
        2
    );
    // A renewal makes another map, too.
    door.put("E2", &identity(&door.server_ca, "E2"));
    assert_eq!(door.instances.reload().len(), 1);
    assert_conflict(apply_if(&door, 2, "a.com#E1"), 2, 3);
}

#[test]
fn of_two_that_expect_the_same_map_one_is_applied() {
    let door = door_with(&["E1", "E2"]);
    door.set_sni("default", "").unwrap();
    let mut events = door.instances.events();
    for _ in 0..50 {
        let generation = table(&door).unwrap().generation();
        let start = Barrier::new(2);
        let configs = ["E1", "E2"].map(|id| format!("g{generation}.a.com#{id}"));
        let attempt = |config: &str| {
            start.wait();
            apply_if(&door, generation, config)
        };
        let outcomes = std::thread::scope(|scope| {
            let threads = configs.each_ref().map(|config| scope.spawn(|| attempt(config)));
            threads.map(|thread| thread.join().unwrap())
        });
        let (won, lost) = match outcomes {
            [Ok(won), lost @ Err(_)] | [lost @ Err(_), Ok(won)] => (won, lost),
            other => panic!("{other:?}"),
        };
        assert_eq!(won.generation, generation + 1);
        assert_conflict(lost, generation, generation + 1);
        assert_eq!(table(&door).unwrap().generation(), generation + 1);
        assert!(events.try_next().is_some());
        assert_eq!(events.try_next(), None, "one change, one event");
    }
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
