//! Where a name leads on a shared listener, from which table the client is answered, and accept
//! loops of the embedder's own that ask.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mqtls::control::ErrorCode;
use mqtls::instance::Route;
use mqtls::sni::Rule;
use mqtls::{
    Acceptor, Caller, ClientAuth, Directory, Ended, InstanceId, InstanceSpec, Instances, Memory,
    SetSniConfig,
};
use rustls::SignatureScheme;
use rustls::SupportedCipherSuite;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::listener_load::all_wait;
use crate::shared::{Street, sharing, through};
use crate::support::{
    Dice, HeldHandshake, Identity, NOW, PlainHandshake, TestCa, VERSIONS, client, client_speaking,
    provider, rsa_key, with_schemes,
};

const PSS: SignatureScheme = SignatureScheme::RSA_PSS_SHA256;
const P256: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

/// Where a client goes that can do all that the provider can, with these signature schemes.
fn route(instances: &Instances, name: &str, schemes: &[SignatureScheme]) -> Option<Route> {
    let suites: Vec<_> = provider().cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
    instances.route(name, schemes, &suites)
}

/// What a route says that the client is shown.
fn chosen(route: &Route) -> Option<&CertificateDer<'_>> {
    route.chosen().map(|key| key.end_entity_cert().unwrap())
}

#[test]
fn h05_a_route_explains_what_it_answers_whatever_was_published_since() {
    let street = Street::new();
    let rsa = street.one.server_ca.server_over(rsa_key(), &["x.w.test"], |_| {});
    street.one.put("rsa", &rsa);
    street.one.set_sni("own", "x.w.test#rsa;*.w.test#own").unwrap();
    let suites: Vec<_> = provider().cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
    let route = |name| street.one.instances.route(name, &[PSS], &suites).unwrap();
    let told = |route: &Route, name, schemes: &[SignatureScheme]| {
        let explanation = route.explain(Some(name), schemes, &suites);
        let answer = explanation.answer.map(|it| (it.rule, it.certificate_id.to_string()));
        (explanation.generation, answer, explanation.candidates.len())
    };
    let before = route("x.w.test");
    let generation = street.one.instance.sni().table().unwrap().generation();
    let expected = (generation, Ok((Rule::Exact, "rsa".to_owned())), 3);
    assert_eq!(told(&before, "X.W.test.", &[PSS]), expected);
    assert_eq!(told(&before, "x.w.test", &[P256]).1, Ok((Rule::Wildcard, "own".to_owned())));

    street.one.set_sni("own", "x.w.test#own").unwrap();
    let after = route("x.w.test");
    assert_eq!(
        told(&after, "x.w.test", &[P256]),
        (generation + 1, Ok((Rule::Exact, "own".to_owned())), 2)
    );
    assert_eq!(told(&before, "x.w.test", &[PSS]), expected);
}

#[test]
fn a_route_leads_to_the_instance_and_says_what_the_client_is_shown() {
    let street = Street::new();
    let named = street.one.server_ca.server(&["x.w.test"]);
    let rsa = street.one.server_ca.server_over(rsa_key(), &["x.w.test"], |_| {});
    street.one.put("named", &named);
    street.one.put("rsa", &rsa);
    let config = "*.w.test#own;x.w.test#named;both.test#named;both.test#rsa;only.test#rsa";
    street.one.set_sni("own", config).unwrap();
    let own = street.shows(0);
    let all = &[P256, PSS][..];
    let check = || {
        for (name, schemes, shown) in [
            ("x.w.test", all, Some(named.end_entity())),
            ("X.w.TEST", all, Some(named.end_entity())),
            ("x.w.test.", all, Some(named.end_entity())),
            ("only.test", &[PSS], Some(rsa.end_entity())),
            ("y.w.test", all, Some(&own)),
            ("Y.W.test.", all, Some(&own)),
            // Nothing under the name suits the client: the table is asked again.
            ("only.test", &[P256], None),
            // Of several the table chooses.
            ("both.test", all, None),
            // No entry covers the endpoint.
            ("one.test", all, None),
            ("ONE.test", all, None),
        ] {
            let route = route(&street.one.instances, name, schemes).unwrap();
            assert!(Arc::ptr_eq(route.instance(), &street.one.instance), "{name}");
            assert_eq!(chosen(&route), shown, "{name}");
        }
        for name in ["w.test", "a.b.w.test", "three.test", "", ".", "127.0.0.1", "x..w.test"] {
            assert!(route(&street.one.instances, name, all).is_none(), "{name}");
        }
    };
    check();
    // A change that is refused leaves all as it was.
    street.one.set_sni("own", "x.w.test#own;two.test#own").unwrap_err();
    check();
}

#[tokio::test]
async fn the_exact_name_and_the_key_type_are_chosen_as_on_a_listener_of_ones_own() {
    let street = Street::of(ClientAuth::Optional, ClientAuth::Optional);
    let named = street.one.server_ca.server(&["x.w.test"]);
    let rsa = street.one.server_ca.server_over(rsa_key(), &["x.w.test"], |_| {});
    street.one.put("named", &named);
    street.one.put("rsa", &rsa);
    street.one.set_sni("own", "*.w.test#own;x.w.test#named;x.w.test#rsa").unwrap();
    let own = street.shows(0);
    for version in VERSIONS {
        for (name, schemes, shown) in [
            ("x.w.test", &[P256, PSS][..], named.end_entity()),
            ("x.w.test", &[PSS], rsa.end_entity()),
            ("y.w.test", &[P256, PSS], &own),
        ] {
            let config = client_speaking(&[version], with_schemes(provider(), schemes), None);
            let visit = street.one.visit(config, name).await;
            assert_eq!(visit.shown(), *shown, "{name} {schemes:?}");
        }
    }
}

#[test]
fn a_handshake_is_answered_from_the_table_that_its_route_was_found_in() {
    for version in VERSIONS {
        let street = Street::of(ClientAuth::Optional, ClientAuth::Optional);
        let named = street.one.server_ca.server(&["x.test"]);
        street.one.put("named", &named);
        street.one.set_sni("own", "x.test#named").unwrap();
        let find = |name| route(&street.one.instances, name, &[P256, PSS]).unwrap();
        let routes = ["x.test", "one.test"].map(|name| (name, find(name)));
        // One name is another instance's now, and the other one has a certificate of its own.
        street.one.set_sni("own", "one.test#named").unwrap();
        street.two.set_sni("own", "x.test#own").unwrap();
        let own = street.shows(0);
        for ((name, route), shown) in routes.into_iter().zip([named.end_entity(), &own]) {
            let mut handshake = route.handshake().unwrap();
            assert!(Arc::ptr_eq(handshake.instance(), &street.one.instance));
            let client = Arc::new(client(None, version));
            let config = handshake.config();
            let shaken = handshake.step(|| {
                let mut plain = PlainHandshake::between_as(config, client, name);
                plain.finish().unwrap();
                plain
            });
            assert_eq!(shaken.client.peer_certificates().unwrap()[0], *shown, "{name}");
            assert!(handshake.admit(&shaken.server).unwrap().device().is_none());
        }
        let moved = find("x.test");
        assert!(Arc::ptr_eq(moved.instance(), &street.two.instance));
    }
}

#[test]
fn no_handshake_begins_on_a_route_to_an_instance_that_was_removed_or_has_no_certificates() {
    let street = Street::new();
    street.one.set_sni("own", "x.test#own").unwrap();
    let find = |name| route(&street.two.instances, name, &[P256, PSS]);
    let routes = ["x.test", "one.test"].map(|name| find(name).unwrap());
    street.one.instances.remove(street.one.instance.id()).unwrap();
    for route in routes {
        assert!(route.handshake().is_none());
    }
    assert!(find("x.test").is_none() && find("one.test").is_none());
    let bare = sharing(InstanceSpec::new("bare".parse().unwrap()), &["bare.test"]);
    street.two.instances.create(bare).unwrap();
    assert!(find("bare.test").is_none());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_permit_goes_where_the_name_leads_by_then() {
    for version in VERSIONS {
        let mut street = Street::of(ClientAuth::Optional, ClientAuth::Optional);
        street.one.acceptor = Acceptor::shared(&street.one.instances).permits(1);
        street.one.set_sni("own", "x.test#own").unwrap();
        let begin = async |name| {
            let mut held = HeldHandshake::begin_as(&street.one, client(None, version), name);
            let hello = held.flight().await;
            held.pass(hello).await;
            all_wait().await;
            held
        };
        let mut holder = begin("one.test").await;
        let answer = holder.flight().await;
        let waiter = begin("x.test").await;
        street.one.set_sni("own", "").unwrap();
        street.two.set_sni("own", "x.test#own").unwrap();
        assert_eq!(through(holder.release_with(answer).await).await, "mqtt-test");
        let visit = waiter.release().await;
        assert_eq!(visit.shown(), street.shows(1));
        assert_eq!(through(visit).await, "mqtt-two");
    }
}

/// Of what is asked one after another nothing is answered from an older table than what came
/// before, and no name from a table that does not have it, whichever of the names it is.
#[test]
fn all_names_of_an_instance_change_in_one_step() {
    const NAMES: usize = 100;
    const CHANGES: usize = 200;
    let street = Street::new();
    let configs = ["a", "b"].map(|kind| {
        let entries =
            (0..NAMES).map(|n| format!("{kind}{n}.test#own;*.{kind}{n}.test#own;s{n}.test#own;"));
        entries.collect::<String>()
    });
    let set = |change: usize| street.one.set_sni("own", &configs[change % 2]).unwrap().generation;
    let first = set(0);
    let kind_of = |generation: u64| if (generation - first) % 2 == 0 { 'a' } else { 'b' };
    let done = AtomicBool::new(false);
    let ask = |seed| {
        let mut dice = Dice::seeded(seed);
        while !done.load(Ordering::SeqCst) {
            let n = dice.roll(NAMES);
            let (kind, prefix) = (*dice.pick(&['a', 'b', 's']), *dice.pick(&["", "x."]));
            let prefix = if kind == 's' { "" } else { prefix };
            let find = |name: &str| route(&street.one.instances, name, &[P256]);
            let before = generation(&find("one.test").unwrap());
            let found = find(&format!("{prefix}{kind}{n}.test"));
            let after = generation(&find("one.test").unwrap());
            assert!(before <= after);
            if let Some(found) = &found {
                let its = generation(found);
                assert!((before..=after).contains(&its), "{before} {its} {after}");
                assert!(kind == 's' || kind == kind_of(its));
            } else {
                assert!(kind != 's' && (before != after || kind != kind_of(before)));
            }
        }
    };
    std::thread::scope(|scope| {
        let askers = [1, 2].map(|seed| scope.spawn(move || ask(seed)));
        for change in 1..CHANGES {
            set(change);
        }
        done.store(true, Ordering::SeqCst);
        for asker in askers {
            asker.join().unwrap();
        }
    });
}

/// Which table a route was found in, as its `Debug` tells.
fn generation(route: &Route) -> u64 {
    let shown = format!("{route:?}");
    let (_, behind) = shown.split_once("generation: ").unwrap();
    behind.split([',', ' ']).next().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_shared_accept_loop_sweeps_every_instance() {
    let lasts = |spec: InstanceSpec| {
        spec.client_auth(ClientAuth::Optional).max_lifetime(Duration::from_secs(60))
    };
    let street = Street::with(lasts, lasts);
    let mut up = vec![];
    for name in ["one.test", "two.test"] {
        let visit = street.one.visit(client(None, VERSIONS[0]), name).await;
        up.push(visit.admitted().await);
    }
    let acceptor = street.one.acceptor.clone();
    let never = || std::future::pending::<std::io::Result<()>>();
    let accepting = tokio::spawn(async move { acceptor.next(never).await });
    street.one.clock.set(NOW + 61);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    for connection in &up {
        assert_eq!(connection.handle().ended(), Some(Ended::LifetimeOver));
    }
    accepting.abort();
}

/// A clock that does something when it is asked the next time.
#[derive(Default)]
struct Meanwhile(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meanwhile").finish_non_exhaustive()
    }
}

impl TimeProvider for Meanwhile {
    fn current_time(&self) -> Option<UnixTime> {
        let act = self.0.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}

#[test]
fn an_instance_that_is_removed_while_an_operation_begins_claims_nothing() {
    let clock = Arc::new(Meanwhile::default());
    let source = Arc::new(Memory::new());
    let own = TestCa::root("server CA").server(&["a.test"]);
    let instances = Instances::with_clock(provider(), Arc::clone(&source), Arc::clone(&clock) as _);
    let [one, two] = ["one", "two"].map(|id| {
        let id: InstanceId = id.parse().unwrap();
        source.insert(id.clone(), "own".parse().unwrap(), own.material());
        instances.create(sharing(InstanceSpec::new(id), &[])).unwrap()
    });
    let remover = instances.clone();
    let id = one.id().clone();
    *clock.0.lock().unwrap() = Some(Box::new(move || assert!(remover.remove(&id).is_some())));
    let error = apply(&instances, one.id(), "a.test#own;*.a.test#own").unwrap_err();
    assert_eq!(error.code(), ErrorCode::MqttInstanceNotFound);
    assert!(instances.get(one.id()).is_none(), "the clock was asked");
    assert!(route(&instances, "a.test", &[P256]).is_none());
    apply(&instances, two.id(), "a.test#own;*.a.test#own").unwrap();
}

#[test]
fn a_certificate_in_one_instances_directory_is_no_other_ones() {
    let root = tempfile::TempDir::new().unwrap();
    let ca = TestCa::root("server CA");
    let put = |instance: &str, id: &str, identity: &Identity| {
        let folder = root.path().join(instance);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{id}.pem")), identity.pem()).unwrap();
    };
    let both = [ca.server(&["one.test"]), ca.server(&["two.test"])];
    put("one", "both", &both[0]);
    put("two", "both", &both[1]);
    put("one", "only", &ca.server(&["only.test"]));
    let instances = Instances::new(provider(), Directory::open(root.path()).unwrap());
    let ids: [InstanceId; 2] = ["one", "two"].map(|id| id.parse().unwrap());
    for id in &ids {
        let spec = InstanceSpec::new(id.clone());
        instances.create(sharing(spec, &[])).unwrap();
        apply(&instances, id, &format!("x.{id}.test#both")).unwrap();
    }
    apply(&instances, &ids[0], "x.one.test#both;y.one.test#only").unwrap();
    let error = apply(&instances, &ids[1], "x.two.test#both;y.two.test#only").unwrap_err();
    assert_eq!(error.code(), ErrorCode::ParameterFieldCheckFailed);
    assert!(route(&instances, "y.two.test", &[P256]).is_none());
    for (name, identity) in [("x.one.test", &both[0]), ("x.two.test", &both[1])] {
        let route = route(&instances, name, &[P256]).unwrap();
        assert_eq!(chosen(&route), Some(identity.end_entity()), "{name}");
    }
}

/// With the first certificate of the configuration as the default one, too.
fn apply(
    instances: &Instances,
    id: &InstanceId,
    config: &str,
) -> Result<(), mqtls::OperationError> {
    let (_, first) = config.split(';').next().unwrap().split_once('#').unwrap();
    let set = SetSniConfig {
        mqtt_instance_id: id.clone(),
        default_certificate: first.parse().unwrap(),
        sni_config: config.parse().unwrap(),
    };
    set.apply(instances, &Caller::local()).map(drop)
}
