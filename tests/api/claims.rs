//! Whose a name is among instances that share a listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mqtls::control::{Cause, EntryFault, ErrorCode, Place};
use mqtls::instance::CreateError;
use mqtls::{Acceptor, ClientAuth, InstanceSpec, OperationError, SetSniConfig};
use proptest::prelude::*;
use rustls::{AlertDescription, CipherSuite, SignatureScheme};

use crate::shared::{Street, sharing};
use crate::support::{Door, VERSIONS, client};

/// The entries that are refused since their names are taken.
fn taken(error: &OperationError) -> Vec<(usize, String)> {
    assert_eq!(error.code(), ErrorCode::ParameterFieldCheckFailed);
    assert_eq!(error.http_status(), 400);
    let Cause::Sni(refused) = error.cause() else { panic!("{error:?}") };
    let entry = |error: &mqtls::control::EntryError| match (&error.place, &error.fault) {
        (Place::Entry(index), EntryFault::NameTaken(pattern)) => (*index, pattern.to_string()),
        other => panic!("{other:?}"),
    };
    refused.errors.iter().map(entry).collect()
}

#[test]
fn a_name_and_a_wildcard_and_what_it_covers_conflict_whichever_came_first() {
    let cases = [
        ("a.test", "a.test", true),
        ("*.a.test", "*.a.test", true),
        ("x.a.test", "*.a.test", true),
        ("*.a.test", "x.a.test", true),
        ("A.Test", "a.test.", true),
        ("a.test", "*.a.test", false),
        ("*.a.test", "a.test", false),
        ("x.y.a.test", "*.a.test", false),
        ("*.a.test", "x.y.a.test", false),
        ("*.a.test", "*.y.a.test", false),
        ("x.a.test", "y.a.test", false),
        ("a.test", "b.test", false),
        ("one.test", "*.test.test", false),
        // Endpoints.
        ("", "one.test", true),
        ("", "ONE.test", true),
    ];
    for (first, second, conflict) in cases {
        let street = Street::new();
        let entries = |names: &str| match names {
            "" => String::new(),
            name => format!("{name}#own"),
        };
        street.one.set_sni("own", &entries(first)).unwrap();
        let before = street.two.instance.sni().table().unwrap();
        let result = street.two.set_sni("own", &entries(second));
        assert_eq!(result.is_err(), conflict, "{first} then {second}");
        if let Err(error) = result {
            let name = second.to_ascii_lowercase();
            let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
            assert_eq!(taken(&error), [(1, name)]);
            let after = street.two.instance.sni().table().unwrap();
            assert!(Arc::ptr_eq(&before, &after));
        }
    }
}

#[test]
fn a_wildcard_conflicts_with_what_it_covers_as_long_as_that_is_there() {
    let street = Street::new();
    street.one.set_sni("own", "x.a.test#own;y.a.test#own;z.b.test#own").unwrap();
    let error = street.two.set_sni("own", "*.a.test#own;*.b.test#own;*.c.test#own").unwrap_err();
    assert_eq!(taken(&error), [(1, "*.a.test".to_owned()), (2, "*.b.test".to_owned())]);
    street.one.set_sni("own", "y.a.test#own").unwrap();
    let error = street.two.set_sni("own", "*.a.test#own;*.b.test#own").unwrap_err();
    assert_eq!(taken(&error), [(1, "*.a.test".to_owned())]);
    // Nothing of it was claimed.
    street.one.set_sni("own", "y.a.test#own;z.b.test#own").unwrap();
    street.one.set_sni("own", "").unwrap();
    street.two.set_sni("own", "*.a.test#own;*.b.test#own").unwrap();
    let error = street.one.set_sni("own", "x.a.test#own").unwrap_err();
    assert_eq!(taken(&error), [(1, "x.a.test".to_owned())]);
}

#[test]
fn ones_own_names_and_wildcards_do_not_conflict() {
    let street = Street::new();
    street.one.set_sni("own", "*.a.test#own;x.a.test#own;one.test#own").unwrap();
    street.one.set_sni("own", "x.a.test#own;y.a.test#own").unwrap();
    street.one.set_sni("own", "*.a.test#own").unwrap();
    street.one.set_sni("own", "*.a.test#own;x.a.test#own").unwrap();
    street.one.set_sni("own", "").unwrap();
    street.two.set_sni("own", "*.a.test#own").unwrap();
    // An endpoint stays with its instance, also where an entry for it has come and gone.
    let error = street.two.set_sni("own", "one.test#own").unwrap_err();
    assert_eq!(taken(&error), [(1, "one.test".to_owned())]);
}

#[test]
fn a_refusal_does_not_say_who_holds_the_name() {
    let street = Street::new();
    let error = street.two.set_sni("own", "one.test#own").unwrap_err();
    let cause = error.cause().to_string();
    assert_eq!(cause, "entry 1: one.test belongs to another instance on the shared listener");
    assert!(!format!("{error:?} {error}").contains(street.one.instance.id().as_str()));
}

#[test]
fn all_names_that_are_taken_are_told_and_none_of_the_others_is_claimed() {
    let street = Street::new();
    street.one.set_sni("own", "a.test#own;b.test#own").unwrap();
    let config = "c.test#own;a.test#own;d.test#own;b.test#own";
    let error = street.two.set_sni("own", config).unwrap_err();
    assert_eq!(taken(&error), [(2, "a.test".to_owned()), (4, "b.test".to_owned())]);
    street.one.set_sni("own", "a.test#own;b.test#own;c.test#own;d.test#own").unwrap();
}

#[test]
fn a_name_is_given_up_also_when_a_change_was_refused_before() {
    let street = Street::new();
    street.one.set_sni("own", "a.test#own;*.a.test#own;x.b.test#own").unwrap();
    street.one.set_sni("own", "c.test#own;two.test#own").unwrap_err();
    let error = street.two.set_sni("own", "a.test#own;*.b.test#own").unwrap_err();
    assert_eq!(taken(&error), [(1, "a.test".to_owned()), (2, "*.b.test".to_owned())]);
    street.one.set_sni("own", "").unwrap();
    street.two.set_sni("own", "a.test#own;*.a.test#own;*.b.test#own;c.test#own").unwrap();
}

#[test]
fn instances_on_listeners_of_their_own_have_any_names() {
    let street = Street::new();
    street.one.set_sni("own", "a.test#own;*.a.test#own").unwrap();
    for id in ["alone", "alone-too"] {
        let door = street.one.beside_as(id, |spec| spec);
        assert!(!door.instance.is_shared());
        door.set_sni("default", "a.test#default;*.a.test#default;one.test#default").unwrap();
    }
    // They took nothing from anybody.
    street.two.set_sni("own", "b.test#own").unwrap();
    street.one.set_sni("own", "").unwrap();
    street.two.set_sni("own", "a.test#own;*.a.test#own").unwrap();
}

#[tokio::test]
async fn nobody_comes_to_an_instance_that_does_not_share_the_listener() {
    let street = Street::of(ClientAuth::Optional, ClientAuth::Optional);
    let mut door = street.one.beside_as("alone", |spec| spec.client_auth(ClientAuth::Optional));
    door.set_sni("default", "alone.test#default").unwrap();
    door.acceptor = Acceptor::shared(&door.instances);
    for version in VERSIONS {
        let visit = door.visit(client(None, version), "alone.test").await;
        assert_eq!(visit.client.unwrap_err(), Some(AlertDescription::UnrecognisedName));
    }
}

#[test]
fn an_endpoint_that_is_taken_keeps_its_instance_from_being_created() {
    let street = Street::new();
    street.one.set_sni("own", "a.test#own;*.w.test#own").unwrap();
    let create = |id: &str, endpoints: &[&str]| {
        let spec = sharing(InstanceSpec::new(id.parse().unwrap()), endpoints);
        street.one.instances.create(spec)
    };
    for (endpoints, name) in [
        (&["three.test", "one.test"][..], "one.test"),
        (&["a.test"], "a.test"),
        (&["x.w.test"], "x.w.test"),
    ] {
        match create("three", endpoints).unwrap_err() {
            CreateError::NameTaken(taken) => assert_eq!(taken.as_str(), name),
            other => panic!("{other:?}"),
        }
        assert!(street.one.instances.get(&"three".parse().unwrap()).is_none());
    }
    // What was refused has claimed nothing.
    let three = create("three", &["three.test", "w.test", "three.test"]).unwrap();
    assert_eq!(three.endpoints().len(), 3);
    assert!(matches!(create("four", &["three.test"]), Err(CreateError::NameTaken(_))));
    assert!(matches!(create("three", &["four.test"]), Err(CreateError::Exists(_))));
    create("four", &["four.test"]).unwrap();
    street.one.set_sni("own", "v.test#own").unwrap();
    let error = street.one.set_sni("own", "*.test.test#own;four.test#own").unwrap_err();
    assert_eq!(taken(&error), [(2, "four.test".to_owned())]);
}

#[tokio::test]
async fn a_removed_instances_names_are_free() {
    let street = Street::of(ClientAuth::Optional, ClientAuth::Optional);
    street.one.set_sni("own", "a.test#own;*.w.test#own;x.v.test#own").unwrap();
    let Street { one, two, .. } = street;
    let stale = Door { instance: one.instance.clone(), ..two.beside_as("spare", |spec| spec) };
    one.instances.remove(one.instance.id()).unwrap();
    for version in VERSIONS {
        for name in ["one.test", "a.test", "x.w.test"] {
            let visit = two.visit(client(None, version), name).await;
            assert_eq!(visit.client.unwrap_err(), Some(AlertDescription::UnrecognisedName));
        }
    }
    two.set_sni("own", "one.test#own;a.test#own;x.w.test#own;*.v.test#own").unwrap();
    for version in VERSIONS {
        for name in ["one.test", "a.test", "x.w.test", "x.v.test"] {
            let visit = two.visit(client(None, version), name).await;
            assert_eq!(visit.admitted().await.instance().as_str(), "mqtt-two");
        }
    }
    // Under the same id it begins anew.
    let again = two.beside_as("mqtt-test", |spec| sharing(spec, &[]));
    let error = again.set_sni("default", "a.test#default").unwrap_err();
    assert_eq!(taken(&error), [(1, "a.test".to_owned())]);
    drop(stale);
}

#[test]
fn of_many_that_claim_a_name_at_once_one_has_it() {
    let street = Street::new();
    let doors: Vec<_> = (0..8)
        .map(|number| street.one.beside_as(&format!("many-{number}"), |spec| sharing(spec, &[])))
        .collect();
    for round in 0..50 {
        let config =
            format!("r{round}.test#default;*.r{round}.test#default;x.w{round}.test#default");
        let wild = format!("*.w{round}.test#default");
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let claim = |(at, door)| {
                let config = if at % 2 == 0 { &config } else { &wild };
                scope.spawn(move || Door::set_sni(door, "default", config))
            };
            let claims: Vec<_> = doors.iter().enumerate().map(claim).collect();
            claims.into_iter().map(|claim| claim.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|it| it.is_ok()).count(), 1, "round {round}");
        for door in &doors {
            door.set_sni("default", "").unwrap();
        }
    }
}

/// Two that each change and remove at once leave no name behind that belongs to nobody.
#[test]
fn a_name_that_is_claimed_while_its_instance_is_removed_is_free_afterwards() {
    for _ in 0..100 {
        let street = Street::new();
        let three = street.one.beside_as("three", |spec| sharing(spec, &["three.test"]));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let set = SetSniConfig {
                    mqtt_instance_id: three.instance.id().clone(),
                    default_certificate: "default".parse().unwrap(),
                    sni_config: "a.test#default;*.a.test#default".parse().unwrap(),
                };
                match set.apply(&three.instances, &mqtls::Caller::local()) {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.code(), ErrorCode::MqttInstanceNotFound),
                }
            });
            street.one.instances.remove(three.instance.id()).unwrap();
        });
        street.two.set_sni("own", "three.test#own;a.test#own;*.a.test#own").unwrap();
    }
}

/// A look at the names falls between no two tables: `x.a.test` is covered by each, and none has the
/// certificate `w2` for it.
#[test]
fn a_name_that_is_covered_by_one_pattern_and_then_by_another_is_always_its_own() {
    const CHANGES: usize = 400;
    let street = Street::new();
    let [_, w2, _] = ["w1", "w2", "x"].map(|id| {
        let identity = street.one.server_ca.server(&["*.a.test"]);
        street.one.put(id, &identity);
        identity
    });
    let tables = ["*.a.test#w1", "*.a.test#w2;x.a.test#x", "x.a.test#x", "*.a.test#w1;x.a.test#x"];
    street.one.set_sni("own", tables[0]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look = || {
            while !done.load(Ordering::SeqCst) {
                let route = street.one.instances.route("x.a.test", &SCHEMES, &SUITES).unwrap();
                assert_eq!(route.instance().id(), street.one.instance.id());
                assert!(route.chosen().is_none_or(|key| key.cert[0] != *w2.end_entity()));
            }
        };
        let lookers = [scope.spawn(look), scope.spawn(look)];
        for table in tables.iter().cycle().take(CHANGES) {
            street.one.set_sni("own", table).unwrap();
        }
        done.store(true, Ordering::SeqCst);
        for looker in lookers {
            looker.join().unwrap();
        }
    });
}

#[test]
fn a_change_of_an_instance_that_shares_frees_what_nobody_uses() {
    let street = Street::new();
    for door in [street.one.beside_as("alone", |spec| spec), street.two] {
        door.put("first", &door.server_ca.server(&["a.test"]));
        door.put("second", &door.server_ca.server(&["a.test"]));
        door.set_sni("first", "q.a.test#first").unwrap();
        let replaced = Arc::downgrade(&door.instance.sni().table().unwrap());
        door.set_sni("second", "q.a.test#second").unwrap();
        assert!(replaced.upgrade().is_none(), "{}", door.instance.id());
        assert!(door.instance.sweep().unwrap().is_empty());
    }
}

/// The patterns that the instances of the next test serve, and the names that are asked for.
const PATTERNS: [&str; 7] =
    ["a.t.test", "b.t.test", "*.t.test", "t.test", "*.u.test", "c.u.test", "*.a.t.test"];
const ASKED: [&str; 10] = [
    "a.t.test",
    "b.t.test",
    "z.t.test",
    "t.test",
    "c.u.test",
    "d.u.test",
    "u.test",
    "x.a.t.test",
    "end-0.test",
    "end-1.test",
];

/// What an instance holds, as a naive reading of the rules has it.
#[derive(Clone, Default)]
struct Held {
    endpoint: String,
    patterns: Vec<&'static str>,
}

impl Held {
    fn all(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().copied().chain([self.endpoint.as_str()])
    }

    fn conflicts(&self, pattern: &str) -> bool {
        self.all().any(|held| covers(held, pattern) || covers(pattern, held))
    }

    fn answers(&self, name: &str) -> bool {
        self.all().any(|held| covers(held, name))
    }
}

/// Whether a pattern covers a name, or is the same.
fn covers(pattern: &str, name: &str) -> bool {
    let below = pattern.strip_prefix('*').and_then(|parent| name.strip_suffix(parent));
    pattern == name || below.is_some_and(|label| !label.contains(['.', '*']) && !label.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_set_and_removed_each_name_leads_where_a_naive_reading_says(
        steps in prop::collection::vec((0..3_usize, any::<u8>(), 0..8_u8), 1..20),
    ) {
        let street = Door::open();
        let (mut doors, mut held) = (vec![], vec![]);
        let create = |number: usize| {
            let endpoint = format!("end-{number}.test");
            let door = street.beside_as(&format!("i-{number}"), |spec| sharing(spec, &[&endpoint]));
            (door, Held { endpoint, patterns: vec![] })
        };
        for number in 0..3 {
            let (door, nothing) = create(number);
            doors.push(door);
            held.push(nothing);
        }
        for (at, patterns, kind) in steps {
            if kind == 0 {
                street.instances.remove(doors[at].instance.id()).unwrap();
                (doors[at], held[at]) = create(at);
            } else {
                let chosen = |(bit, pattern): (usize, &&'static str)| {
                    (patterns >> bit & 1 == 1).then_some(*pattern)
                };
                let wanted: Vec<_> = PATTERNS.iter().enumerate().filter_map(chosen).collect();
                let others = |pattern: &str| {
                    let mut others = held.iter().enumerate().filter(|(other, _)| *other != at);
                    others.any(|(_, held)| held.conflicts(pattern))
                };
                let refused: Vec<_> = { wanted.iter().zip(1..) }
                    .filter(|(pattern, _)| others(pattern))
                    .map(|(pattern, entry)| (entry, (*pattern).to_owned()))
                    .collect();
                let config: String = wanted.iter().map(|it| format!("{it}#default;")).collect();
                match doors[at].set_sni("default", &config) {
                    Ok(_) => prop_assert_eq!(refused, vec![]),
                    Err(error) => prop_assert_eq!(taken(&error), refused),
                }
                if wanted.iter().all(|pattern| !others(pattern)) {
                    held[at].patterns = wanted;
                }
            }
            for name in ASKED {
                let expected = held.iter().position(|held| held.answers(name));
                let found = street.instances.route(name, &SCHEMES, &SUITES);
                let found = found.map(|route| route.instance().id().to_string());
                prop_assert_eq!(found, expected.map(|at| format!("i-{at}")), "{}", name);
            }
        }
    }
}

const SCHEMES: [SignatureScheme; 1] = [SignatureScheme::ECDSA_NISTP256_SHA256];
const SUITES: [CipherSuite; 1] = [CipherSuite::TLS13_AES_128_GCM_SHA256];
