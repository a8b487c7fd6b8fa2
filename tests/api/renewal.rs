//! Certificates that are renewed where they come from are served without an operation.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mqtls::certificate::{Password, SourceError};
use mqtls::instance::{RenewalFault, WatchError};
use mqtls::sni::SniTable;
use mqtls::{
    Caller, CertificateId, CertificateMaterial, CertificateSource, Directory, Event, Events,
    Instance, InstanceId, InstanceSpec, Instances, Memory, NamePattern, SetSniConfig, Sha256,
};
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::sign::SigningKey;
use rustls::{Error, SignatureScheme};
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::support::{Door, Identity, NOW, TestCa, VERSIONS, client, date, key, provider, rsa_key};

fn shown(instance: &Instance, name: &str) -> Sha256 {
    let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];
    let suites = provider().cipher_suites.iter().map(|suite| suite.suite()).collect::<Vec<_>>();
    instance
        .sni()
        .explain(Some(name), &schemes, &suites)
        .unwrap()
        .answer
        .unwrap()
        .certificate
        .sha256()
}

fn sha256(identity: &Identity) -> Sha256 {
    Sha256::of(identity.end_entity())
}

fn id(text: &str) -> CertificateId {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_renewed_certificate_is_served_for_all_of_its_names_in_one_step() {
    let door = Door::open();
    let [first, second] = [(); 2].map(|()| door.server_ca.server(&["*.a.test", "b.test"]));
    door.put("one", &first);
    let config = "x.a.test#one;*.a.test#one;b.test#one;c.test#default";
    let before = door.set_sni("default", config).unwrap().generation;
    let other = shown(&door.instance, "c.test");
    let mut events = door.instances.events();
    assert_eq!(door.instances.reload().len(), 0, "nothing has changed");
    assert_eq!(door.instance.sni().table().unwrap().generation(), before);

    door.put("one", &second);
    let table = door.instance.sni().table().unwrap();
    let told = door.instances.reload();
    let [(instance, renewal)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((instance, &renewal.renewed[..]), (door.instance.id(), &[id("one")][..]));
    assert!(renewal.failed.is_empty());
    for name in ["x.a.test", "y.a.test", "b.test"] {
        assert_eq!(shown(&door.instance, name), sha256(&second), "{name}");
    }
    assert_eq!(shown(&door.instance, "c.test"), other);
    assert_eq!(door.instance.sni().table().unwrap().generation(), before + 1);
    let generation = before + 1;
    let changed = Event::CertificatesChanged { instance: door.instance.id().clone(), generation };
    assert_eq!(events.try_next(), Some(changed));
    // A table that is held from before answers as it did.
    assert_eq!(table.certificate(&id("one")).unwrap().sha256(), sha256(&first));
    drop(table);
    assert!(door.instance.sweep().unwrap().is_empty(), "the old key is freed");
    // The same configuration as before changes nothing, and keeps what was renewed.
    assert_eq!(door.set_sni("default", config).unwrap().generation, generation);
    assert_eq!(shown(&door.instance, "b.test"), sha256(&second));
}

#[test]
fn renewing_one_of_many_leaves_most_of_the_table_where_it_lies() {
    let door = Door::open();
    let [first, second, other] = [(); 3].map(|()| door.server_ca.server(&["*.test"]));
    let ids: Vec<_> = (0..3000).map(|at| id(&format!("c{at}"))).collect();
    for id in &ids {
        door.put(id.as_str(), &other);
    }
    door.put("c7", &first);
    let names: Vec<NamePattern> =
        (0..3000).map(|at| format!("n{at}.test").parse().unwrap()).collect();
    let config: String = (0..3000).map(|at| format!("n{at}.test#c{at};")).collect();
    door.set_sni("default", &config).unwrap();
    let before = door.instance.sni().table().unwrap();
    door.put("c7", &second);
    assert_eq!(door.instances.reload()[0].1.renewed, [id("c7")]);
    let after = door.instance.sni().table().unwrap();
    let elsewhere = names.iter().filter(|name| {
        !std::ptr::eq(before.map().get(name).unwrap(), after.map().get(name).unwrap())
    });
    assert!((1..=1024).contains(&elsewhere.count()));
    let elsewhere = ids.iter().filter(|id| {
        !std::ptr::eq(before.certificate(id).unwrap(), after.certificate(id).unwrap())
    });
    assert!((1..=1024).contains(&elsewhere.count()));
    for (id, name) in ids.iter().zip(&names) {
        let (served, shown) = (after.certificate(id).unwrap(), after.map().get(name).unwrap());
        let expected = if id.as_str() == "c7" { &second } else { &other };
        assert_eq!(served.sha256(), sha256(expected));
        assert!(Arc::ptr_eq(shown.certificates().next().unwrap().1, served));
    }
    // The old table is freed without what it shares with the current one.
    drop(before);
    assert!(door.instance.sweep().unwrap().is_empty());
    assert_eq!(shown(&door.instance, "n8.test"), sha256(&other));
    assert_eq!(shown(&door.instance, "n7.test"), sha256(&second));
}

#[test]
fn what_a_renewal_replaces_is_freed_by_it_and_what_another_id_still_serves_is_not() {
    let door = Door::open();
    let [first, second] = [(); 2].map(|()| door.server_ca.server(&["*.test"]));
    door.put("one", &first);
    door.put("two", &first);
    door.set_sni("default", "one.test#one;two.test#two").unwrap();
    let served = |of: &str| {
        let table = door.instance.sni().table().unwrap();
        Arc::clone(table.certificate(&id(of)).unwrap())
    };
    assert!(Arc::ptr_eq(&served("one"), &served("two")));
    let old = Arc::downgrade(&served("one"));
    door.put("one", &second);
    assert_eq!(door.instances.reload()[0].1.renewed, [id("one")]);
    assert!(door.instance.sweep().unwrap().is_empty(), "one that is served is not retired");
    assert_eq!(shown(&door.instance, "two.test"), sha256(&first));
    // Round and back: each is what the other was.
    door.put("one", &first);
    door.put("two", &second);
    assert_eq!(door.instances.reload()[0].1.renewed, [id("one"), id("two")]);
    assert!(door.instance.sweep().unwrap().is_empty());
    assert_eq!(shown(&door.instance, "one.test"), sha256(&first));
    assert!(Arc::ptr_eq(&old.upgrade().unwrap(), &served("one")));
    door.put("one", &second);
    assert_eq!(door.instances.reload().len(), 1);
    assert!(old.upgrade().is_none(), "the renewal frees it itself");
    assert!(door.instance.sweep().unwrap().is_empty());
}

#[test]
fn a_certificate_that_comes_back_while_a_table_with_it_is_held_is_served_and_not_retired() {
    let door = Door::open();
    let [first, second] = [(); 2].map(|()| door.server_ca.server(&["*.test"]));
    door.put("one", &first);
    door.set_sni("default", "one.test#one").unwrap();
    let held = door.instance.sni().table().unwrap();
    let of = |table: &SniTable| Arc::clone(table.certificate(&id("one")).unwrap());
    for (next, certificates) in [(&second, 1), (&first, 0)] {
        door.put("one", next);
        assert_eq!(door.instances.reload().len(), 1);
        let left = door.instance.sweep().unwrap();
        assert_eq!((left.tables, left.certificates), (1, certificates));
    }
    assert!(Arc::ptr_eq(&of(&held), &of(&door.instance.sni().table().unwrap())));
    drop(held);
    assert!(door.instance.sweep().unwrap().is_empty());
}

#[tokio::test]
async fn r06_tickets_survive_a_renewal() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        door.register(&ca, mqtls::CaStatus::Active).unwrap();
        let config = client(Some(&ca.device("device")), version);
        let first = door.visit(config.clone(), "localhost").await;
        drop(first.admitted().await);
        door.put("default", &door.server_ca.server(&["localhost"]));
        assert_eq!(door.instances.reload().len(), 1);
        let again = door.visit(config, "localhost").await.admitted().await;
        assert!(again.is_resumed());
    }
}

/// What becomes of a certificate at its source, and what is said of it.
struct Fault {
    case: &'static str,
    make: fn(&Door),
    is_expected: fn(&RenewalFault) -> bool,
}

const FAULTS: [Fault; 4] = [
    Fault {
        case: "gone",
        make: |door| assert!(door.source.remove(door.instance.id(), &id("one"))),
        is_expected: |fault| matches!(fault, RenewalFault::Source(SourceError::NotFound(_))),
    },
    Fault {
        case: "with another one's key",
        make: |door| {
            let [one, other] = [(); 2].map(|()| door.server_ca.server(&["one.test"]));
            door.put("one", &Identity { chain: one.chain, key: other.key });
        },
        is_expected: |fault| matches!(fault, RenewalFault::Certificate(_)),
    },
    Fault {
        case: "expired",
        make: |door| put_valid(door, NOW - 100, NOW - 1),
        is_expected: |fault| matches!(fault, RenewalFault::Expired(_)),
    },
    Fault {
        case: "not valid yet",
        make: |door| put_valid(door, NOW + 1, NOW + 100),
        is_expected: |fault| matches!(fault, RenewalFault::NotYetValid(_)),
    },
];

#[test]
fn what_cannot_be_served_leaves_in_force_what_is() {
    for Fault { case, make, is_expected } in FAULTS {
        let door = Door::open();
        let [one, two] = ["one", "two"].map(|name| door.server_ca.server(&[name]));
        door.put("one", &one);
        door.put("two", &two);
        door.set_sni("default", "one.test#one;two.test#two").unwrap();
        let mut events = door.instances.events();
        make(&door);
        let renewed = door.server_ca.server(&["two.test"]);
        door.put("two", &renewed);
        let told = door.instances.reload();
        let [(_, renewal)] = &told[..] else { panic!("{case}") };
        assert_eq!(renewal.renewed, [id("two")], "{case}: one fault keeps no other back");
        let [failed] = &renewal.failed[..] else { panic!("{case}") };
        assert_eq!(failed.id, id("one"));
        assert!(is_expected(&failed.fault), "{case}: {:?}", failed.fault);
        assert_eq!(shown(&door.instance, "one.test"), sha256(&one), "{case}");
        assert_eq!(shown(&door.instance, "two.test"), sha256(&renewed), "{case}");
        let standing = door.instance.failed_renewal(&id("one")).unwrap();
        assert!(standing.reason.starts_with(&failed.fault.to_string()), "{}", standing.reason);
        assert_eq!(door.instance.failed_renewals(), 1);
        assert!(matches!(events.try_next(), Some(Event::CertificatesChanged { .. })));
        assert!(matches!(events.try_next(), Some(Event::CertificateNotRenewed { .. })));
    }
}

#[test]
fn each_attempt_to_renew_counts_and_one_that_says_nothing_new_is_not_told() {
    let door = Door::open();
    let one = door.server_ca.server(&["one.test"]);
    door.put("one", &one);
    door.set_sni("default", "one.test#one").unwrap();
    door.source.remove(door.instance.id(), &id("one"));
    let mut events = door.instances.events();
    door.instances.reload();
    let standing = door.instance.failed_renewal(&id("one"));
    assert!(standing.is_some() && events.try_next().is_some());
    door.clock.set(NOW + 10);
    door.instances.reload();
    assert_eq!(door.instance.failed_renewals(), 2);
    assert_eq!(door.instance.failed_renewal(&id("one")), standing, "since then");
    assert_eq!(events.try_next(), None);
    door.put("one", &one);
    assert!(door.instances.reload().is_empty());
    assert_eq!(door.instance.failed_renewal(&id("one")), None);
}

#[test]
fn one_certificate_is_renewed_without_a_look_at_any_other() {
    let source = Arc::new(Memory::new());
    let asked = Asked::over(Arc::clone(&source));
    let instances = Instances::new(provider(), Arc::clone(&asked));
    let instance = instances.create(InstanceSpec::new("mqtt-test".parse().unwrap())).unwrap();
    let ca = TestCa::root("server CA");
    let put = |text: &str, identity: &Identity| {
        source.insert(instance.id().clone(), id(text), identity.material());
    };
    let (before, after) = (ca.server(&["*.test"]), ca.server(&["*.test"]));
    ["one", "two", "three"].iter().for_each(|id| put(id, &before));
    assert!(instances.reload_certificate(instance.id(), &id("one")).is_none(), "no map yet");
    SetSniConfig {
        mqtt_instance_id: instance.id().clone(),
        default_certificate: id("one"),
        sni_config: "two.test#two;three.test#three".parse().unwrap(),
    }
    .apply(&instances, &Caller::local())
    .unwrap();
    asked.take();
    ["one", "two"].iter().for_each(|id| put(id, &after));
    let renewal = instances.reload_certificate(instance.id(), &id("two")).unwrap();
    assert_eq!((&renewal.renewed[..], renewal.failed.len()), (&[id("two")][..], 0));
    assert_eq!(asked.take(), [id("two")]);
    for (name, identity) in [("two.test", &after), ("one.test", &before), ("three.test", &before)] {
        assert_eq!(shown(&instance, name), sha256(identity), "{name}");
    }
    assert!(instances.reload_certificate(instance.id(), &id("two")).unwrap().is_empty());
    assert_eq!(asked.take(), [id("two")]);
    assert!(instances.reload_certificate(instance.id(), &id("four")).is_none(), "not served");
    assert!(instances.reload_certificate(&"nobody".parse().unwrap(), &id("two")).is_none());
    assert_eq!(asked.take(), []);
}

/// A source whose certificates all have one password.
struct Locked(Arc<Memory>);

impl CertificateSource for Locked {
    fn load(
        &self,
        instance: &InstanceId,
        id: &CertificateId,
        password: Option<&Password>,
    ) -> Result<CertificateMaterial, SourceError> {
        if password != Some(&Password::from("open".to_owned())) {
            return Err(SourceError::NotFound(id.clone()));
        }
        self.0.load(instance, id, None)
    }
}

#[test]
fn a_certificate_with_a_password_is_renewed_time_and_again() {
    let source = Arc::new(Memory::new());
    let instances = Instances::new(provider(), Locked(Arc::clone(&source)));
    let instance = instances.create(InstanceSpec::new("mqtt-test".parse().unwrap())).unwrap();
    let ca = TestCa::root("server CA");
    let put = |identity: &Identity| {
        source.insert(instance.id().clone(), id("one"), identity.material());
    };
    put(&ca.server(&["one.test"]));
    SetSniConfig {
        mqtt_instance_id: instance.id().clone(),
        default_certificate: id("one"),
        sni_config: "one.test#one#open".parse().unwrap(),
    }
    .apply(&instances, &Caller::local())
    .unwrap();
    for _ in 0..3 {
        let next = ca.server(&["one.test"]);
        put(&next);
        let renewal = instances.reload_certificate(instance.id(), &id("one")).unwrap();
        assert_eq!((&renewal.renewed[..], renewal.failed.len()), (&[id("one")][..], 0));
        assert_eq!(shown(&instance, "one.test"), sha256(&next));
    }
}

#[test]
fn a_failure_stands_until_its_certificate_is_looked_at() {
    let door = Door::open();
    let [one, two] = ["one", "two"].map(|name| door.server_ca.server(&[name]));
    door.put("one", &one);
    door.put("two", &two);
    door.set_sni("default", "one.test#one;two.test#two").unwrap();
    for text in ["one", "two"] {
        door.source.remove(door.instance.id(), &id(text));
    }
    let standing = || {
        let failed = ["one", "two"].into_iter();
        let failed = failed.filter(|text| door.instance.failed_renewal(&id(text)).is_some());
        failed.collect::<Vec<_>>()
    };
    let reload = |text| door.instances.reload_certificate(door.instance.id(), &id(text)).unwrap();
    assert_eq!(reload("one").failed[0].id, id("one"));
    assert_eq!((standing(), door.instance.failed_renewals()), (vec!["one"], 1));
    assert_eq!(reload("two").failed[0].id, id("two"));
    assert_eq!((standing(), door.instance.failed_renewals()), (vec!["one", "two"], 2));
    door.put("one", &one);
    door.put("two", &two);
    assert!(reload("one").is_empty());
    assert_eq!((standing(), door.instance.failed_renewals()), (vec!["two"], 2));
    assert!(door.instances.reload().is_empty());
    assert_eq!((standing(), door.instance.failed_renewals()), (vec![], 2));
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_taken_once_it_is() {
    let door = Door::open();
    put_valid(&door, NOW - 1, NOW + 100);
    door.set_sni("default", "one.test#one").unwrap();
    put_valid(&door, NOW + 10, NOW + 100);
    assert_eq!(door.instances.reload()[0].1.failed.len(), 1);
    door.clock.set(NOW + 10);
    assert_eq!(door.instances.reload()[0].1.renewed, [id("one")]);
    assert_eq!(door.instance.failed_renewal(&id("one")), None);
}

fn put_valid(door: &Door, from: u64, until: u64) {
    let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let server = door.server_ca.server_over(key, &["one.test"], |params| {
        params.not_before = date(from);
        params.not_after = date(until);
    });
    door.put("one", &server);
}

#[test]
fn of_two_certificates_of_a_name_neither_takes_the_others_type_of_key() {
    let door = Door::open();
    let rsa = door.server_ca.server_over(rsa_key(), &["a.test"], |_| {});
    let ecdsa = door.server_ca.server(&["a.test"]);
    door.put("rsa", &rsa);
    door.put("ecdsa", &ecdsa);
    door.set_sni("default", "a.test#rsa;a.test#ecdsa").unwrap();
    let generation = door.instance.sni().table().unwrap().generation();
    door.put("rsa", &door.server_ca.server(&["a.test"]));
    let told = door.instances.reload();
    assert!(matches!(told[0].1.failed[0].fault, RenewalFault::KeyTypeTaken));
    assert_eq!(door.instance.sni().table().unwrap().generation(), generation);
    // Alone under its names it may have any.
    door.set_sni("default", "a.test#ecdsa").unwrap();
    door.put("ecdsa", &rsa);
    assert_eq!(door.instances.reload()[0].1.renewed, [id("ecdsa")]);
    assert_eq!(shown(&door.instance, "a.test"), sha256(&rsa));
}

#[test]
fn on_the_shared_listener_a_renewed_certificate_is_routed_to() {
    let door = Door::open_as(|spec| spec.shared(["localhost".parse().unwrap()]));
    door.put("one", &door.server_ca.server(&["a.test"]));
    door.set_sni("default", "a.test#one").unwrap();
    let routed = || {
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let suites = provider().cipher_suites.iter().map(|suite| suite.suite()).collect::<Vec<_>>();
        // As a client asks that writes the dot behind a name.
        let route = door.instances.route("A.test.", &schemes, &suites).unwrap();
        Sha256::of(&route.chosen().unwrap().cert[0])
    };
    let renewed = door.server_ca.server(&["a.test"]);
    door.put("one", &renewed);
    assert_ne!(routed(), sha256(&renewed));
    assert_eq!(door.instances.reload().len(), 1);
    assert_eq!(routed(), sha256(&renewed));
}

#[test]
fn on_the_shared_listener_no_name_goes_back_to_what_another_has_left() {
    let door = Door::open_as(|spec| spec.shared(["localhost".parse().unwrap()]));
    let versions: Vec<_> = (0..20).map(|_| door.server_ca.server(&["*.test"])).collect();
    door.put("one", &versions[0]);
    let names: Vec<_> = (0..2000).map(|at| format!("n{at}.test")).collect();
    let config: String = names.iter().map(|name| format!("{name}#one;")).collect();
    door.set_sni("default", &config).unwrap();
    let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
    let suites: Vec<_> = provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
    let version = |name: &str| {
        let route = door.instances.route(name, &schemes, &suites).unwrap();
        let shown = route.instance().sni().explain(Some(name), &schemes, &suites).unwrap();
        // From the tables of the listener, where they have it.
        let shown = route
            .chosen()
            .map_or(shown.answer.unwrap().certificate.sha256(), |it| Sha256::of(&it.cert[0]));
        versions.iter().position(|version| sha256(version) == shown).unwrap()
    };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut newest = 0;
            for name in names.iter().cycle() {
                let next = version(name);
                assert!(next >= newest, "{name} has version {next}, another had {newest}");
                newest = next;
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        for next in &versions[1..] {
            door.put("one", next);
            assert_eq!(door.instances.reload().len(), 1);
        }
        is_over.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert!(names.iter().all(|name| version(name) == versions.len() - 1));
}

#[test]
fn an_instance_without_a_map_has_nothing_to_renew_and_one_that_is_gone_is_not_there() {
    let door = Door::unconfigured_as(|spec| spec, provider());
    assert!(door.instances.reload().is_empty());
    assert!(door.instances.reload_instance(door.instance.id()).unwrap().is_empty());
    assert!(door.instances.reload_instance(&"nobody".parse().unwrap()).is_none());
}

#[test]
fn a_thousand_names_and_instances_share_one_certificate_that_is_made_once() {
    let mut provider = CryptoProvider::clone(&provider());
    let keys: &CountedKeys = Box::leak(Box::new(CountedKeys::of(provider.key_provider)));
    provider.key_provider = keys;
    let door = Door::unconfigured_as(|spec| spec, Arc::new(provider)).with_default_certificate();
    let one = door.server_ca.server(&["*.test"]);
    door.put("one", &one);
    let names: String = (0..1000).map(|at| format!("n{at}.test#one;")).collect();
    door.set_sni("default", &names).unwrap();
    let others: Vec<_> = (0..20).map(|at| door.beside(&format!("other-{at}"))).collect();
    let served = |instance: &Instance| {
        let table = instance.sni().table().unwrap();
        Arc::clone(table.certificate(&id("one")).unwrap())
    };
    let defaults = 1 + others.len();
    assert_eq!(keys.count(), defaults + 1);
    for other in &others {
        other.put("one", &one);
        other.set_sni("one", "").unwrap();
        assert!(Arc::ptr_eq(&served(&other.instance), &served(&door.instance)));
    }
    assert_eq!(keys.count(), defaults + 1);
    // Renewed everywhere, it is freed when the last has let go of it.
    let weak = Arc::downgrade(&served(&door.instance));
    let next = door.server_ca.server(&["*.test"]);
    for door in others.iter().chain([&door]) {
        door.put("one", &next);
    }
    assert_eq!(door.instances.reload().len(), 21);
    assert_eq!(keys.count(), defaults + 2);
    assert_eq!(door.instances.reload().len(), 0);
    assert_eq!(keys.count(), defaults + 2, "what is known is not made");
    door.instances.sweep();
    door.instances.sweep();
    assert!(weak.upgrade().is_none());
    assert!(Arc::ptr_eq(&served(&others[0].instance), &served(&door.instance)));
}

/// A provider's keys, counted as they are made.
#[derive(Debug)]
struct CountedKeys {
    inner: &'static dyn KeyProvider,
    made: AtomicUsize,
}

impl CountedKeys {
    fn of(inner: &'static dyn KeyProvider) -> Self {
        Self { inner, made: AtomicUsize::new(0) }
    }

    fn count(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

impl KeyProvider for CountedKeys {
    fn load_private_key(&self, der: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        self.made.fetch_add(1, Ordering::SeqCst);
        self.inner.load_private_key(der)
    }
}

/// A source that keeps a list of what it was asked for.
struct Asked<S> {
    source: S,
    ids: Mutex<Vec<CertificateId>>,
    again: Notify,
}

impl<S: CertificateSource> Asked<S> {
    fn over(source: S) -> Arc<Self> {
        Arc::new(Self { source, ids: Mutex::default(), again: Notify::new() })
    }

    fn take(&self) -> Vec<CertificateId> {
        std::mem::take(&mut self.ids.lock().unwrap())
    }
}

impl<S: CertificateSource> CertificateSource for Asked<S> {
    fn load(
        &self,
        instance: &InstanceId,
        id: &CertificateId,
        password: Option<&Password>,
    ) -> Result<CertificateMaterial, SourceError> {
        self.ids.lock().unwrap().push(id.clone());
        let loaded = self.source.load(instance, id, password);
        self.again.notify_one();
        loaded
    }

    fn folder(&self) -> Option<&Path> {
        self.source.folder()
    }
}

/// A set whose certificates lie in a folder, and one instance of it.
struct House {
    root: TempDir,
    instances: Instances,
    instance: Arc<Instance>,
    events: Events,
    asked: Arc<Asked<Directory>>,
    ca: TestCa,
}

impl House {
    /// With one certificate, under the id `one`.
    fn with(write: impl FnOnce(&Path, &Identity)) -> (Self, Identity) {
        Self::serving("", write)
    }

    /// And with what an `SniConfig` names beside it.
    fn serving(config: &str, write: impl FnOnce(&Path, &Identity)) -> (Self, Identity) {
        let root = TempDir::new().unwrap();
        let folder = root.path().join("mqtt-test");
        fs::create_dir(&folder).unwrap();
        let ca = TestCa::root("server CA");
        let first = ca.server(&["localhost"]);
        write(&folder, &first);
        let asked = Asked::over(Directory::open(root.path()).unwrap());
        let instances = Instances::new(provider(), Arc::clone(&asked));
        let instance = instances.create(InstanceSpec::new("mqtt-test".parse().unwrap())).unwrap();
        SetSniConfig {
            mqtt_instance_id: instance.id().clone(),
            default_certificate: id("one"),
            sni_config: config.parse().unwrap(),
        }
        .apply(&instances, &Caller::local())
        .unwrap();
        asked.take();
        let events = instances.events();
        (Self { root, instances, instance, events, asked, ca }, first)
    }

    fn folder(&self) -> std::path::PathBuf {
        self.root.path().join("mqtt-test")
    }

    /// The next event, which comes in a few seconds or never.
    async fn told(&mut self) -> Event {
        let told = tokio::time::timeout(Duration::from_secs(60), self.events.next());
        told.await.expect("an event").unwrap()
    }

    fn shown(&self) -> Sha256 {
        shown(&self.instance, "localhost")
    }
}

#[tokio::test]
async fn a_file_that_is_replaced_is_served() {
    let (mut house, first) =
        House::with(|folder, first| fs::write(folder.join("one.pem"), first.pem()).unwrap());
    let watch = house.instances.watch().unwrap();
    let mut last = first;
    for replace in [true, false] {
        assert_eq!(house.shown(), sha256(&last));
        last = house.ca.server(&["localhost"]);
        let file = house.folder().join("one.pem");
        if replace {
            fs::write(house.folder().join("one.pem.new"), last.pem()).unwrap();
            fs::rename(house.folder().join("one.pem.new"), &file).unwrap();
        } else {
            fs::write(&file, last.pem()).unwrap();
        }
        assert!(matches!(house.told().await, Event::CertificatesChanged { .. }));
        assert_eq!(house.shown(), sha256(&last));
    }
    drop(watch);
    assert_eq!(house.instance.failed_renewals(), 0);
}

#[tokio::test]
async fn a_mounts_pair_is_served_when_its_link_is_exchanged() {
    let (mut house, first) = House::with(|folder, first| {
        write_version(folder, "..1", first);
        link("..1", &folder.join("one/..data"));
        link("..data/tls.crt", &folder.join("one/tls.crt"));
        link("..data/tls.key", &folder.join("one/tls.key"));
    });
    let _watch = house.instances.watch().unwrap();
    assert_eq!(house.shown(), sha256(&first));
    let second = house.ca.server(&["localhost"]);
    let mount = house.folder().join("one");
    write_version(&house.folder(), "..2", &second);
    link("..2", &mount.join("..data_tmp"));
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    fs::remove_dir_all(mount.join("..1")).unwrap();
    assert!(matches!(house.told().await, Event::CertificatesChanged { .. }));
    assert_eq!(house.shown(), sha256(&second));
    assert_eq!(house.instance.failed_renewals(), 0);
}

#[test]
fn a_mounts_pair_is_whole_however_often_its_link_is_exchanged_while_it_is_read() {
    let (house, first) = House::with(|folder, first| {
        write_version(folder, "..1", first);
        link("..1", &folder.join("one/..data"));
    });
    let mount = house.folder().join("one");
    let second = house.ca.server(&["localhost"]);
    write_version(&house.folder(), "..2", &second);
    let is_over = AtomicBool::new(false);
    let mut renewals = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in ["..2", "..1"].into_iter().cycle() {
                link(version, &mount.join("..data_tmp"));
                fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        for _ in 0..300 {
            let id = id("one");
            let renewal = house.instances.reload_certificate(house.instance.id(), &id).unwrap();
            renewals += renewal.renewed.len();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(house.instance.failed_renewals(), 0);
    assert!(renewals > 0);
    assert!([&first, &second].map(sha256).contains(&house.shown()));
    assert!(house.instance.sweep().unwrap().is_empty());
}

/// One state of what a mount holds.
fn write_version(folder: &Path, version: &str, identity: &Identity) {
    let folder = folder.join("one").join(version);
    fs::create_dir_all(&folder).unwrap();
    let chain = crate::support::pem("CERTIFICATE", identity.end_entity());
    fs::write(folder.join("tls.crt"), chain).unwrap();
    fs::write(folder.join("tls.key"), identity.key.serialize_pem()).unwrap();
}

fn link(to: &str, at: &Path) {
    std::os::unix::fs::symlink(to, at).unwrap();
}

#[tokio::test]
async fn half_of_a_pair_is_waited_out_and_what_stays_wrong_is_told() {
    let write = |folder: &Path, chain: Option<&Identity>, key: Option<&Identity>| {
        let folder = folder.join("one");
        fs::create_dir_all(&folder).unwrap();
        if let Some(chain) = chain {
            let chain = crate::support::pem("CERTIFICATE", chain.end_entity());
            fs::write(folder.join("tls.crt"), chain).unwrap();
        }
        if let Some(key) = key {
            fs::write(folder.join("tls.key"), key.key.serialize_pem()).unwrap();
        }
    };
    let (mut house, first) = House::with(|folder, first| write(folder, Some(first), Some(first)));
    let _watch = house.instances.watch().unwrap();
    let second = house.ca.server(&["localhost"]);
    // What was asked for before is over.
    house.asked.again.notify_one();
    house.asked.again.notified().await;
    write(&house.folder(), Some(&second), None);
    house.asked.again.notified().await;
    assert_eq!(house.shown(), sha256(&first));
    write(&house.folder(), None, Some(&second));
    assert!(matches!(house.told().await, Event::CertificatesChanged { .. }));
    assert_eq!(house.shown(), sha256(&second));
    assert_eq!(house.instance.failed_renewals(), 0);

    let third = house.ca.server(&["localhost"]);
    write(&house.folder(), Some(&third), None);
    let told = house.told().await;
    let Event::CertificateNotRenewed { certificate_id, reason, .. } = told else {
        panic!("{told:?}");
    };
    assert_eq!(certificate_id, id("one"));
    assert!(reason.contains("private key"), "{reason}");
    assert_eq!(house.shown(), sha256(&second));
    assert!(house.instance.failed_renewals() > 0);
}

#[tokio::test]
async fn of_many_files_the_one_that_changes_is_read_and_what_leads_to_it() {
    let config: String = (0..100).map(|at| format!("n{at}.test#c{at};")).collect();
    let (mut house, first) = House::serving(&(config + "link.test#link"), |folder, first| {
        let pem = first.pem();
        for id in (0..100).map(|at| format!("c{at}")).chain(["one".to_owned()]) {
            fs::write(folder.join(id + ".pem"), &pem).unwrap();
        }
        // Another one, so that no other is its twin.
        fs::write(folder.join("c7.pem"), TestCa::root("CA").server(&["n7.test"]).pem()).unwrap();
        std::os::unix::fs::symlink("c7.pem", folder.join("link.pem")).unwrap();
    });
    let _watch = house.instances.watch().unwrap();
    let second = house.ca.server(&["n7.test"]);
    fs::write(house.folder().join("c7.pem"), second.pem()).unwrap();
    assert!(matches!(house.told().await, Event::CertificatesChanged { .. }));
    let asked: BTreeSet<_> = house.asked.take().into_iter().collect();
    assert_eq!(asked, [id("c7"), id("link")].into());
    for (name, identity) in [("n7.test", &second), ("link.test", &second), ("n8.test", &first)] {
        assert_eq!(shown(&house.instance, name), sha256(identity), "{name}");
    }
}

#[test]
fn a_source_without_a_folder_cannot_be_watched() {
    let instances = Instances::new(provider(), Memory::new());
    assert!(matches!(instances.watch().unwrap_err(), WatchError::NoFolder));
    assert!(Memory::new().folder().is_none());
}
