//! What a `SetSniConfig` would do is told before it does it, and it is done to no other map than that
//! with which it was compared.

use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use mqtls::certificate::{CertificateSource, Password, SourceError};
use mqtls::control::{
    Cause, EntryFault, ErrorCode, NameChangeKind, Place, SetSniConfigResponse, SniConfigPlan,
    Warning,
};
use mqtls::sni::SniTable;
use mqtls::{
    Caller, CertificateId, CertificateMaterial, ClientAuth, Instance, InstanceId, InstanceSpec,
    Instances, Memory, NamePattern, OperationError, SetSniConfig,
};

use crate::shared::Street;
use crate::support::{Door, Identity, NOW, TestCa, TestClock, key, provider, rsa_key};

pub(crate) fn door_with(ids: &[&str]) -> Door {
    let door = Door::unconfigured(ClientAuth::Disabled, provider());
    for id in ["default"].iter().chain(ids) {
        door.put(id, &identity(&door.server_ca, id));
    }
    door
}

/// A certificate for most names of these tests, over an RSA key where the id starts with an R.
pub(crate) fn identity(ca: &TestCa, id: &str) -> Identity {
    let key = if id.starts_with('R') { rsa_key() } else { key(&rcgen::PKCS_ECDSA_P256_SHA256) };
    ca.server_over(key, &["a.com", "*.a.com", "*.b.com", "*.y.a.com", "c.com"], |_| {})
}

pub(crate) fn operation(door: &Door, default: &str, config: &str) -> SetSniConfig {
    SetSniConfig {
        mqtt_instance_id: door.instance.id().clone(),
        default_certificate: default.parse().unwrap(),
        sni_config: config.parse().unwrap(),
    }
}

pub(crate) fn plan(door: &Door, config: &str) -> SniConfigPlan {
    operation(door, "default", config).plan(&door.instances, &Caller::local()).unwrap()
}

fn apply_if(
    door: &Door,
    generation: u64,
    config: &str,
) -> Result<SetSniConfigResponse, OperationError> {
    operation(door, "default", config).apply_if(generation, &door.instances, &Caller::local())
}

pub(crate) fn table(door: &Door) -> Option<Arc<SniTable>> {
    door.instance.sni().table()
}

fn is_same(one: Option<Arc<SniTable>>, other: Option<Arc<SniTable>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(&one, &other),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

pub(crate) fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

pub(crate) fn warnings(plan: &SniConfigPlan) -> Vec<(Place, Warning)> {
    plan.warnings.iter().map(|told| (told.place, told.warning.clone())).collect()
}

pub(crate) fn id(text: &str) -> CertificateId {
    text.parse().unwrap()
}

/// What applying the operation makes of the same, after asserting that it is what was planned.
pub(crate) fn agreed(door: &Door, default: &str, config: &str) -> SniConfigPlan {
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

pub(crate) fn at(entry: usize) -> Place {
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

pub(crate) fn pattern(text: &str) -> NamePattern {
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
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| slow.apply(&instances, &Caller::local()).unwrap());
        let meeting = keeper.meeting.as_ref().unwrap();
        meeting.wait();
        let other = set(&instance, "a.com#E1");
        let instances = instances.clone();
        scope.spawn(move || {
            let plan = other.plan(&instances, &Caller::local()).unwrap();
            tell.send((plan.generation, plan.changes)).unwrap();
        });
        let told = told.recv_timeout(Duration::from_secs(60));
        // Before anything is asserted: whoever fails leaves nobody waiting.
        meeting.wait();
        assert_eq!(told.unwrap(), (1, true));
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
    let mut events = door.instances.events();
    let error = apply_if(&door, 1, "a.com#nowhere").unwrap_err();
    assert!(matches!(error.cause(), Cause::Sni(_)));
    for _ in 0..2 {
        // What changes nothing leaves the generation as it is, so that it can be said again.
        assert_eq!(apply_if(&door, 1, "a.com#E1").unwrap().generation, 1);
    }
    assert_eq!(events.try_next(), None);
    let planned = plan(&door, "a.com#E2").generation;
    assert_eq!(apply_if(&door, planned, "a.com#E2").unwrap().generation, 2);
    assert!(events.try_next().is_some());
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
