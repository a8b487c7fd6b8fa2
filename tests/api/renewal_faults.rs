//! Renewals and expiries where clocks, sources and files are at fault, and what is told of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mqtls::certificate::{Password, SourceError};
use mqtls::control::{Cause, EntryError, EntryFault, NameChangeKind};
use mqtls::instance::RenewalFault;
use mqtls::sni::NotShown;
use mqtls::{
    Caller, CertificateId, CertificateMaterial, CertificateSource, Event, Instance, InstanceId,
    InstanceSpec, Instances, Memory, OnExpiry, OnMiss, SetSniConfig, Sha256, SniPolicy,
};
use rustls::SignatureScheme;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

use crate::shared::sharing;
use crate::support::{Identity, Log, NOW, TestCa, date, key, provider, rsa_key};

/// A clock and a source that the test holds and that ask back, and an instance of theirs.
struct House {
    clock: Arc<Clock>,
    source: Arc<Source>,
    instances: Instances,
    instance: Arc<Instance>,
    ca: TestCa,
}

#[derive(Debug)]
struct Clock {
    now: AtomicU64,
    fails: AtomicBool,
    /// Asked for its statistics each time that the clock is asked for the time.
    asks: Mutex<Option<Arc<Instance>>>,
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        if let Some(instance) = &*self.asks.lock().unwrap() {
            let _counted = (instance.sni_stats(), instance.certificates());
        }
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.now.load(Ordering::SeqCst)));
        (!self.fails.load(Ordering::SeqCst)).then_some(now)
    }
}

struct Source {
    kept: Memory,
    /// Told of each load, which waits until it is let go on.
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl CertificateSource for Source {
    fn load(
        &self,
        instance: &InstanceId,
        id: &CertificateId,
        password: Option<&Password>,
    ) -> Result<CertificateMaterial, SourceError> {
        if let Some((begun, go_on)) = &*self.gate.lock().unwrap() {
            begun.send(()).unwrap();
            go_on.recv().unwrap();
        }
        self.kept.load(instance, id, password)
    }
}

impl House {
    fn with(policy: SniPolicy) -> Self {
        Self::of(|spec| spec.sni_policy(policy))
    }

    /// Its default certificate is there already, and not served yet.
    fn of(change: impl FnOnce(InstanceSpec) -> InstanceSpec) -> Self {
        let (now, fails, asks) = (NOW.into(), false.into(), Mutex::new(None));
        let clock = Arc::new(Clock { now, fails, asks });
        let source = Arc::new(Source { kept: Memory::new(), gate: Mutex::new(None) });
        let instances =
            Instances::with_clock(provider(), Arc::clone(&source), Arc::clone(&clock) as _);
        let spec = change(InstanceSpec::new("mqtt-test".parse().unwrap()));
        let instance = instances.create(spec).unwrap();
        let house = Self { clock, source, instances, instance, ca: TestCa::root("server CA") };
        house.put("default", &house.ca.server(&["localhost"]));
        house
    }

    fn put(&self, id: &str, identity: &Identity) {
        let instance = self.instance.id().clone();
        self.source.kept.insert(instance, id.parse().unwrap(), identity.material());
    }

    fn lose(&self, id: &str) {
        assert!(self.source.kept.remove(self.instance.id(), &id.parse().unwrap()));
    }

    fn operation(&self, config: &str) -> SetSniConfig {
        SetSniConfig {
            mqtt_instance_id: self.instance.id().clone(),
            default_certificate: "default".parse().unwrap(),
            sni_config: config.parse().unwrap(),
        }
    }

    fn set(&self, config: &str) {
        self.operation(config).apply(&self.instances, &Caller::local()).unwrap();
    }

    fn expiring(&self, name: &str, last: u64) -> Identity {
        let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
        self.ca.server_over(key, &[name], |params| params.not_after = date(last))
    }

    fn shown(&self, name: &str) -> Result<Sha256, NotShown> {
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];
        let suites: Vec<_> = provider().cipher_suites.iter().map(|it| it.suite()).collect();
        let explained = self.instance.sni().explain(Some(name), &schemes, &suites).unwrap();
        explained.answer.map(|answer| answer.certificate.sha256())
    }
}

fn sha256(identity: &Identity) -> Sha256 {
    Sha256::of(identity.end_entity())
}

fn id(text: &str) -> CertificateId {
    text.parse().unwrap()
}

#[test]
fn where_the_clock_fails_for_a_change_the_next_sweep_makes_up_for_it() {
    let house = House::with(SniPolicy::default().expired(OnExpiry::Refuse));
    house.put("old", &house.expiring("old.test", NOW + 100));
    house.set("old.test#old");
    house.put("default", &house.ca.server(&["localhost"]));
    house.clock.fails.store(true, Ordering::SeqCst);
    assert_eq!(house.instances.reload().len(), 1, "another certificate is renewed");
    house.clock.fails.store(false, Ordering::SeqCst);
    house.clock.now.store(NOW + 101, Ordering::SeqCst);
    house.instance.sweep().unwrap();
    assert_eq!(house.shown("old.test"), Err(NotShown::Expired));
    let generation = house.instance.sni().table().unwrap().generation();
    house.instance.sweep().unwrap();
    assert_eq!(house.instance.sni().table().unwrap().generation(), generation, "once");
}

#[test]
fn a_source_that_takes_its_time_holds_up_neither_sweeps_nor_operations() {
    let house = House::with(SniPolicy::default().expired(OnExpiry::Refuse));
    house.put("old", &house.expiring("old.test", NOW + 100));
    house.set("old.test#old");
    let renewed = house.ca.server(&["old.test"]);
    house.put("old", &renewed);
    let (begun, has_begun) = channel();
    let (go_on, may_go_on) = channel();
    *house.source.gate.lock().unwrap() = Some((begun, may_go_on));
    let told = std::thread::scope(|scope| {
        let reloading = scope.spawn(|| house.instances.reload());
        has_begun.recv().unwrap();
        house.clock.now.store(NOW + 101, Ordering::SeqCst);
        assert!(house.instance.sweep().is_some(), "nothing is locked");
        assert_eq!(house.shown("old.test"), Err(NotShown::Expired));
        // The table is another one by now, so both certificates are asked for once more.
        (0..4).for_each(|_| go_on.send(()).unwrap());
        reloading.join().unwrap()
    });
    assert_eq!(told[0].1.renewed, [id("old")]);
    assert_eq!(house.shown("old.test"), Ok(sha256(&renewed)));
}

#[test]
fn what_is_loaded_beside_a_change_is_loaded_once_more() {
    let house = House::with(SniPolicy::default());
    house.put("one", &house.ca.server(&["a.test"]));
    house.set("a.test#one");
    let (begun, has_begun) = channel();
    let (go_on, may_go_on) = channel();
    let [second, third] = [(); 2].map(|()| house.ca.server(&["a.test"]));
    *house.source.gate.lock().unwrap() = Some((begun, may_go_on));
    let one = [id("one")];
    let told = std::thread::scope(|scope| {
        house.put("one", &second);
        let reloading = scope
            .spawn(|| house.instances.reload_certificate(house.instance.id(), &one[0]).unwrap());
        has_begun.recv().unwrap();
        go_on.send(()).unwrap();
        // Whether the first load was behind this or before: the last one is.
        house.put("one", &third);
        go_on.send(()).unwrap();
        go_on.send(()).unwrap();
        reloading.join().unwrap()
    });
    assert_eq!(told.renewed, one);
    *house.source.gate.lock().unwrap() = None;
    house.instances.reload();
    assert_eq!(house.shown("a.test"), Ok(sha256(&third)));
}

#[test]
fn what_an_operation_has_loaded_anew_is_no_failure_any_more() {
    let house = House::with(SniPolicy::default());
    house.put("one", &house.ca.server(&["a.test"]));
    house.set("a.test#one");
    let failed = |house: &House| house.instance.failed_renewal(&id("one")).is_some();
    house.lose("one");
    house.instances.reload();
    assert!(failed(&house));
    house.operation("a.test#one").apply(&house.instances, &Caller::local()).unwrap_err();
    assert!(failed(&house), "nor is it where the operation failed, too");
    house.put("one", &house.ca.server(&["a.test"]));
    house.set("a.test#one");
    assert!(!failed(&house));
    assert!(house.instance.certificates().iter().all(|it| it.failed_renewal.is_none()));

    house.lose("one");
    house.instances.reload();
    house.set("");
    assert!(!failed(&house), "it is served no more");
    assert_eq!(house.instance.failed_renewals(), 2, "they are counted for ever");
}

#[test]
fn a_failure_is_told_again_where_its_reason_is_another_one() {
    let house = House::with(SniPolicy::default());
    let ids: Vec<_> = (0..20).map(|at| format!("c{at}")).collect();
    ids.iter().for_each(|id| house.put(id, &house.ca.server(&["a.test"])));
    house.set(&ids.iter().map(|id| format!("{id}.test#{id};")).collect::<String>());
    ids.iter().for_each(|id| house.lose(id));
    let mut events = house.instances.events();
    let mut told = || {
        let told = house.instances.reload();
        assert!(told[0].1.failed.iter().map(|it| &it.id).is_sorted());
        std::iter::from_fn(|| events.try_next()).count()
    };
    assert_eq!((told(), told()), (20, 0), "once");
    let since = |at: u64| {
        let failed = house.instance.failed_renewal(&id("c7")).unwrap();
        assert_eq!(failed.since, Some(UnixTime::since_unix_epoch(Duration::from_secs(at))));
        failed.reason
    };
    let missing = since(NOW);
    house.clock.now.store(NOW + 10, Ordering::SeqCst);
    house.put("c7", &house.expiring("a.test", NOW + 5));
    assert_eq!(told(), 1);
    assert_ne!(since(NOW + 10), missing);
}

#[test]
fn n10_an_expired_certificate_stays_under_its_own_id_only() {
    let house = House::with(SniPolicy::default());
    let old = house.expiring("a.test", NOW + 100);
    house.put("one", &old);
    house.put("two", &old);
    house.set("a.test#one");
    house.clock.now.store(NOW + 101, Ordering::SeqCst);
    house.set("a.test#one;b.test#default");
    let error = house.operation("a.test#two").apply(&house.instances, &Caller::local());
    let error = error.unwrap_err();
    let Cause::Sni(refused) = error.cause() else { panic!("{error:?}") };
    let [EntryError { fault: EntryFault::Expired { id: refused, .. }, .. }] = &refused.errors[..]
    else {
        panic!("{refused:?}")
    };
    assert_eq!(*refused, id("two"));
}

#[test]
fn a_renewed_key_may_have_any_type_that_no_other_one_has() {
    let house = House::with(SniPolicy::default());
    let rsa = || house.ca.server_over(rsa_key(), &["a.test"], |_| {});
    let eddsa = house.ca.server_over(key(&rcgen::PKCS_ED25519), &["a.test"], |_| {});
    house.put("one", &rsa());
    house.put("two", &house.ca.server(&["a.test"]));
    house.set("a.test#one;a.test#two;b.test#two");
    house.put("two", &eddsa);
    let told = house.instances.reload();
    assert_eq!((told[0].1.renewed.as_slice(), told[0].1.failed.len()), (&[id("two")][..], 0));
    assert_eq!(house.shown("a.test"), Ok(sha256(&eddsa)));

    // Both at once may change places.
    house.put("one", &house.ca.server(&["a.test"]));
    house.put("two", &rsa());
    let told = house.instances.reload();
    assert_eq!(told[0].1.renewed, [id("one"), id("two")]);

    // But what would stand beside its like does not come in, nor what waits for its place.
    house.put("one", &rsa());
    house.put("two", &rsa());
    let told = house.instances.reload();
    assert_eq!(told[0].1.renewed, [id("two")], "of the type that it has");
    let [failed] = &told[0].1.failed[..] else { panic!("{told:?}") };
    assert_eq!(failed.id, id("one"));
    assert!(matches!(failed.fault, RenewalFault::KeyTypeTaken));
}

#[test]
fn a_renewal_to_a_certificate_for_other_names_is_served_and_told() {
    let house = House::with(SniPolicy::default());
    house.put("one", &house.ca.server(&["*.a.test", "c.org"]));
    house.put("other", &house.ca.server(&["d.org"]));
    house.set("x.a.test#one;*.a.test#one;c.org#one;b.org#one;d.org#other");
    house.put("one", &house.ca.server(&["x.a.test", "c.org"]));
    house.put("other", &house.ca.server(&["d.org", "e.org"]));
    let log = Log::start();
    let told = house.instances.reload();
    // For b.org it never was.
    let uncovered = [(id("one"), "*.a.test".parse().unwrap())];
    assert_eq!(told[0].1.uncovered, uncovered);
    assert_eq!(told[0].1.renewed, [id("one"), id("other")]);
    let logged = log.so_far();
    let warned: Vec<_> = logged.iter().filter(|it| it.text.contains("not for its names")).collect();
    assert_eq!(warned.len(), 1);
    assert!(warned[0].text.contains("*.a.test") && warned[0].text.contains("count=1"));
}

#[test]
fn a_clock_may_ask_the_instance_whose_failures_are_told() {
    let house = House::with(SniPolicy::default());
    house.set("");
    house.lose("default");
    *house.clock.asks.lock().unwrap() = Some(Arc::clone(&house.instance));
    let (done, is_done) = channel();
    let instances = house.instances.clone();
    std::thread::spawn(move || {
        instances.reload();
        done.send(()).unwrap();
    });
    assert!(is_done.recv_timeout(Duration::from_secs(60)).is_ok(), "it is locked out");
    *house.clock.asks.lock().unwrap() = None;
    assert!(house.instance.failed_renewal(&id("default")).is_some());
}

#[test]
fn the_log_tells_of_each_expiry_once_and_of_many_in_short() {
    let house = House::with(SniPolicy::default().expired(OnExpiry::Refuse));
    let config: String = (0..60).map(|at| format!("n{at}.test#c{at};")).collect();
    for at in 0..60 {
        // Fifty at once, and ten one behind the other.
        let last = NOW + 100 + u64::try_from(at).unwrap().saturating_sub(49);
        house.put(&format!("c{at}"), &house.expiring(&format!("n{at}.test"), last));
    }
    house.set(&config);
    let log = Log::start();
    for at in 0..=10 {
        house.clock.now.store(NOW + 101 + at, Ordering::SeqCst);
        house.instance.sweep().unwrap();
    }
    let logged = log.so_far();
    let expired: Vec<_> =
        logged.iter().map(|it| &it.text).filter(|it| it.contains("expired")).collect();
    assert_eq!(expired.len(), 11);
    assert!(expired[0].contains("count=50") && expired[0].len() < 1000, "{}", expired[0]);
    assert!(expired[1..].iter().all(|it| it.contains("count=1") && it.len() < 500));
    assert!(expired[10].contains("c59") && !expired[10].contains("c58"), "{}", expired[10]);
}

#[test]
fn p10_no_part_of_a_key_is_told_where_its_file_has_lost_its_line_ends() {
    let house = House::with(SniPolicy::default());
    house.set("");
    let body = "QWERTYUIOPASDFGHJKLZXCVBNMQWERTYUIOP";
    let chain = house.ca.server(&["localhost"]);
    for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
        let certificate = crate::support::pem("CERTIFICATE", chain.end_entity());
        for end in ["-----END PRIVATE KEY-----\n", "-----\n", ""] {
            let text = format!("{certificate}-----BEGIN {label}-----MHcCAQEEI{body}{end}");
            let error = CertificateMaterial::from_pem(text.as_bytes(), None).unwrap_err();
            assert!(!format!("{error:?} {error}").contains(&body[..4]), "{error:?}");
            // Nor where it takes the place of the label itself.
            let text = format!("{certificate}-----BEGIN {body}{end}");
            let error = CertificateMaterial::from_pem(text.as_bytes(), None).unwrap_err();
            assert!(!format!("{error:?} {error}").contains(&body[..4]), "{error:?}");
        }
    }
}

#[test]
fn a_plan_shows_a_default_only_where_one_answers() {
    let lost = |house: &House| {
        house.put("one", &house.ca.server(&["a.test"]));
        house.set("a.test#one;*.b.test#one");
        let plan = house.operation("").plan(&house.instances, &Caller::local()).unwrap();
        let names = plan.difference.unwrap().names;
        assert!(names.iter().all(|it| it.kind == NameChangeKind::Lost));
        assert!(names.iter().all(|it| it.shown.before == [id("one")]));
        let back = house.operation("a.test#one").plan(&house.instances, &Caller::local());
        assert!(
            back.unwrap().difference.unwrap().names.iter().all(|it| it.shown.before.len() == 1)
        );
        names.into_iter().map(|it| it.shown.after).collect::<Vec<_>>()
    };
    let default = vec![id("default")];
    let refuses = || SniPolicy::default().unknown_name(OnMiss::Refuse);
    assert_eq!(lost(&House::with(SniPolicy::default())), [default.clone(), default.clone()]);
    assert_eq!(lost(&House::with(refuses())), [vec![], vec![]]);
    assert_eq!(lost(&House::of(|spec| sharing(spec, &[]))), [vec![], vec![]]);
    let endpoint = House::of(|spec| sharing(spec.sni_policy(refuses()), &["a.test"]));
    assert_eq!(lost(&endpoint), [default, vec![]]);

    let house = House::with(refuses());
    house.set("");
    house.put("one", &house.ca.server(&["a.test"]));
    let plan = house.operation("a.test#one").plan(&house.instances, &Caller::local()).unwrap();
    let [gained] = &plan.difference.unwrap().names[..] else { panic!() };
    assert_eq!((gained.kind, gained.shown.before.len()), (NameChangeKind::Gained, 0));
}

#[test]
fn a_removed_instance_is_renewed_no_more() {
    let house = House::with(SniPolicy::default());
    house.set("");
    let instance = Arc::clone(&house.instance);
    let generation = || instance.sni().table().unwrap().generation();
    house.instances.remove(instance.id()).unwrap();
    let mut events = house.instances.events();
    house.put("default", &house.ca.server(&["localhost"]));
    assert!(house.instances.reload().is_empty());
    assert!(house.instances.reload_instance(instance.id()).is_none());
    house.clock.now.store(NOW + 1_000_000_000, Ordering::SeqCst);
    instance.sweep();
    assert_eq!(generation(), 1);
    assert!(!matches!(events.try_next(), Some(Event::CertificatesChanged { .. })));
}
