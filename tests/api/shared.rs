//! Many instances behind one listener: the server name finds the instance, and nothing of one is
//! reached through another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mqtls::CaStatus::Active;
use mqtls::certificate::SourceError;
use mqtls::control::{Cause, EntryFault};
use mqtls::instance::Outcome;
use mqtls::trust::Refusal;
use mqtls::{
    Acceptor, Caller, ClientAuth, Directory, InstanceSpec, Instances, Refused, SetSniConfig,
    Sha256, SniConfig,
};
use rustls::HandshakeKind::{Full, Resumed};
use rustls::{AlertDescription, SignatureScheme};
use rustls_pki_types::CertificateDer;

use crate::support::{
    Door, HeldHandshake, Identity, Peer, TestCa, VERSIONS, Visit, client, hello_by_hand,
    host_names, provider, record,
};
use crate::ticket_tools::{Declines, Glass, careless_of_names, come_as, sealed_by};

/// A spec that shares the listener, with these endpoints.
pub(crate) fn sharing(spec: InstanceSpec, endpoints: &[&str]) -> InstanceSpec {
    spec.shared(endpoints.iter().map(|name| name.parse().unwrap()))
}

/// Two doors of one street, each to an instance of its own, through one acceptor. The first is
/// reached as `one.test`, and the second as `two.test`; each shows certificates that are only its
/// own.
pub(crate) struct Street {
    pub(crate) one: Door,
    pub(crate) two: Door,
    shown: [Identity; 2],
}

impl Street {
    pub(crate) fn new() -> Self {
        Self::of(ClientAuth::Required, ClientAuth::Required)
    }

    pub(crate) fn of(one: ClientAuth, two: ClientAuth) -> Self {
        Self::with(|spec| spec.client_auth(one), |spec| spec.client_auth(two))
    }

    pub(crate) fn with(
        one: impl FnOnce(InstanceSpec) -> InstanceSpec,
        two: impl FnOnce(InstanceSpec) -> InstanceSpec,
    ) -> Self {
        let mut first = Door::open_as(|spec| one(sharing(spec, &["one.test"])));
        let mut second = first.beside_as("mqtt-two", |spec| two(sharing(spec, &["two.test"])));
        first.acceptor = Acceptor::shared(&first.instances);
        second.acceptor = first.acceptor.clone();
        let shown = [("one.test", &first), ("two.test", &second)].map(|(name, door)| {
            let identity = door.server_ca.server(&[name]);
            door.put("own", &identity);
            door.set_sni("own", "").unwrap();
            identity
        });
        Self { one: first, two: second, shown }
    }

    pub(crate) fn shows(&self, of: usize) -> CertificateDer<'static> {
        self.shown[of].end_entity().clone().into_owned()
    }
}

/// Through which instance a client came in, after a byte went each way.
pub(crate) async fn through(visit: Visit) -> String {
    visit.admitted().await.instance().to_string()
}

#[tokio::test]
async fn a_name_leads_to_its_instance_and_to_all_that_is_its_own() {
    let street = Street::of(ClientAuth::Optional, ClientAuth::Optional);
    street.one.set_sni("own", "x.one.test#own;*.w.test#own").unwrap();
    street.two.set_sni("own", "x.two.test#own;*.v.w.test#own").unwrap();
    let names = [
        ("one.test", 0),
        ("x.one.test", 0),
        ("a.w.test", 0),
        ("v.w.test", 0),
        ("two.test", 1),
        ("x.two.test", 1),
        ("a.v.w.test", 1),
        ("TWO.test", 1),
        ("X.Two.TEST", 1),
    ];
    let ids = [street.one.instance.id().to_string(), street.two.instance.id().to_string()];
    for version in VERSIONS {
        for (name, expected) in names {
            let visit = street.one.visit(client(None, version), name).await;
            assert_eq!(visit.shown(), street.shows(expected), "{name}");
            assert_eq!(through(visit).await, ids[expected], "{name}");
        }
    }
    assert_eq!(street.one.instance.connections(), 0);
}

const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 112];
const DECODE_ERROR: u8 = 50;

#[tokio::test]
async fn c05_no_name_an_unknown_one_or_an_address_is_told_unrecognized_name() {
    let street = Street::new();
    street.one.set_sni("own", "*.w.test#own").unwrap();
    let names: [Option<&[u8]>; 9] = [
        None,
        Some(b"three.test"),
        Some(b"x.one.test"),
        Some(b"w.test"),
        Some(b"a.b.w.test"),
        Some(b"test"),
        Some(b"127.0.0.1"),
        Some(b"::1"),
        Some(b"one.test.two.test"),
    ];
    for name in names {
        let extension = name.map(|name| host_names(&[name]));
        let hello = record(22, 0x0301, &hello_by_hand(0x0303, extension.as_deref()));
        let (refused, told) = street.one.answer_to(&hello).await;
        assert!(matches!(refused, Refused::UnrecognizedName(_)), "{name:?}: {refused:?}");
        assert_eq!(told, UNRECOGNIZED_NAME, "{name:?}");
    }
    assert_eq!(street.one.instances.stats().of(Outcome::UnrecognizedName), 9);
    for version in VERSIONS {
        for name in ["three.test", "127.0.0.1"] {
            let visit = street.one.visit(client(None, version), name).await;
            assert_eq!(visit.client.unwrap_err(), Some(AlertDescription::UnrecognisedName));
        }
    }
}

/// By hand, since no library sends a trailing dot.
#[tokio::test]
async fn whether_a_certificate_is_asked_for_does_not_hang_on_the_dot() {
    const CERTIFICATE_REQUEST: u8 = 13;
    let street = Street::of(ClientAuth::Required, ClientAuth::Disabled);
    for (name, asked) in [
        ("one.test", true),
        ("one.test.", true),
        ("One.Test.", true),
        ("two.test", false),
        ("two.test.", false),
        ("TWO.test.", false),
    ] {
        let extension = host_names(&[name.as_bytes()]);
        let hello = record(22, 0x0301, &hello_by_hand(0x0303, Some(&extension)));
        let (_gone, told) = street.one.answer_to(&hello).await;
        let kinds = handshake_messages(&told);
        assert!(kinds.contains(&SERVER_HELLO), "{name}: {kinds:?}");
        assert_eq!(kinds.contains(&CERTIFICATE_REQUEST), asked, "{name}: {kinds:?}");
    }
}

const SERVER_HELLO: u8 = 2;

/// The types of the handshake messages in a server's first flight of TLS 1.2.
fn handshake_messages(mut flight: &[u8]) -> Vec<u8> {
    let mut messages = vec![];
    while let [22, _, _, high, low, rest @ ..] = flight {
        let (body, behind) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        messages.extend(body);
        flight = behind;
    }
    let mut rest = messages.as_slice();
    let mut kinds = vec![];
    while let [kind, high, middle, low, body @ ..] = rest {
        kinds.push(*kind);
        let length = u32::from_be_bytes([0, *high, *middle, *low]);
        rest = &body[usize::try_from(length).unwrap()..];
    }
    kinds
}

#[tokio::test]
async fn c05_two_host_names_are_a_decode_error() {
    let street = Street::new();
    let names = host_names(&[b"one.test", b"two.test"]);
    let hello = record(22, 0x0301, &hello_by_hand(0x0303, Some(&names)));
    let (refused, told) = street.one.answer_to(&hello).await;
    assert!(matches!(refused, Refused::Tls(_)), "{refused:?}");
    assert_eq!(told.last(), Some(&DECODE_ERROR));
}

#[tokio::test]
async fn a_fallback_takes_whoever_no_name_leads_elsewhere() {
    for shares in [true, false] {
        let street = Street::of(ClientAuth::Optional, ClientAuth::Optional);
        let mut door = street.one.beside_as("fallback", |spec| {
            let spec = spec.client_auth(ClientAuth::Optional);
            if shares { sharing(spec, &["three.test"]) } else { spec }
        });
        door.acceptor = Acceptor::shared(&door.instances).fallback(&door.instance);
        for version in VERSIONS {
            for (name, expected) in [
                ("one.test", "mqtt-test"),
                ("two.test", "mqtt-two"),
                ("three.test", "fallback"),
                ("four.test", "fallback"),
                ("127.0.0.1", "fallback"),
            ] {
                let visit = door.visit(client(None, version), name).await;
                assert_eq!(through(visit).await, expected, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_name_of_an_instance_without_certificates_does_not_fall_back() {
    let street = Street::of(ClientAuth::Optional, ClientAuth::Optional);
    let spec = InstanceSpec::new("bare".parse().unwrap()).client_auth(ClientAuth::Optional);
    let bare = street.one.instances.create(sharing(spec, &["bare.test"])).unwrap();
    let mut door = street.two;
    door.acceptor = Acceptor::shared(&door.instances).fallback(&door.instance);
    for version in VERSIONS {
        let visit = door.visit(client(None, version), "bare.test").await;
        assert_eq!(visit.client.unwrap_err(), Some(AlertDescription::UnrecognisedName));
    }
    drop(bare);
}

#[tokio::test]
async fn p11_a_device_of_one_instance_is_unknown_at_the_other() {
    for version in VERSIONS {
        let street = Street::new();
        let ca = TestCa::root("fleet");
        street.one.register(&ca, Active).unwrap();
        let device = ca.device("device");
        let visit = street.one.visit(client(Some(&device), version), "one.test").await;
        assert_eq!(through(visit).await, "mqtt-test");
        let visit = street.one.visit(client(Some(&device), version), "two.test").await;
        assert_eq!(visit.not_believed(), Refusal::UnknownIssuer);
        // The same CA in both is two records.
        street.two.register(&ca, Active).unwrap();
        street.one.deactivate(&ca);
        let visit = street.one.visit(client(Some(&device), version), "two.test").await;
        assert_eq!(through(visit).await, "mqtt-two");
        let visit = street.one.visit(client(Some(&device), version), "one.test").await;
        assert_eq!(visit.not_believed(), Refusal::InactiveCa(ca.serial()));
    }
}

#[tokio::test]
async fn s04_the_same_name_and_serial_with_other_keys_in_two_instances_are_each_its_own() {
    let [one, two] = [(); 2].map(|()| {
        TestCa::root_with("fleet", |params| {
            params.serial_number = Some(rcgen::SerialNumber::from_slice(&[7]));
        })
    });
    assert_eq!(one.serial(), two.serial());
    for version in VERSIONS {
        let street = Street::new();
        street.one.register(&one, Active).unwrap();
        street.two.register(&two, Active).unwrap();
        let [ones, twos] = [&one, &two].map(|ca| ca.device("device"));
        for (device, name, comes_in) in [
            (&ones, "one.test", true),
            (&twos, "two.test", true),
            (&ones, "two.test", false),
            (&twos, "one.test", false),
        ] {
            let visit = street.one.visit(client(Some(device), version), name).await;
            if comes_in {
                assert_eq!(
                    visit.admitted().await.device().unwrap().sha256(),
                    Sha256::of(device.end_entity())
                );
            } else {
                assert_eq!(visit.not_believed(), Refusal::UnknownIssuer, "{name}");
            }
        }
        street.one.delete(&one);
        let visit = street.one.visit(client(Some(&twos), version), "two.test").await;
        assert_eq!(through(visit).await, "mqtt-two");
    }
}

/// A street whose tickets are all sealed with the same keys, and a CA that both believe.
fn of_one_set_of_keys() -> (Street, TestCa) {
    let glass = Glass::new();
    let street = Street::with(
        |spec| spec.resumption(sealed_by(&glass)),
        |spec| spec.resumption(sealed_by(&glass)),
    );
    let ca = TestCa::root("fleet");
    street.one.register(&ca, Active).unwrap();
    street.two.register(&ca, Active).unwrap();
    (street, ca)
}

#[tokio::test]
async fn r04_a_ticket_of_one_instance_is_nothing_at_the_other() {
    for version in VERSIONS {
        let (street, ca) = of_one_set_of_keys();
        let mut client = client(Some(&ca.device("device")), version);
        careless_of_names(&mut client);
        assert_eq!(come_as(&street.one, &client, "one.test").await.0, Full);
        assert_eq!(come_as(&street.one, &client, "one.test").await.0, Resumed);
        let mut declines = Declines::watch();
        let (kind, connection) = come_as(&street.one, &client, "two.test").await;
        assert_eq!((kind, connection.instance().as_str()), (Full, "mqtt-two"));
        assert_eq!(
            declines.take(),
            ["it is another instance's, or an earlier one's of the same id"]
        );
    }
}

#[tokio::test]
async fn r04_tickets_of_a_name_that_has_moved_are_not_resumed() {
    for version in VERSIONS {
        let (street, ca) = of_one_set_of_keys();
        let client = client(Some(&ca.device("device")), version);
        street.one.set_sni("own", "moves.test#own").unwrap();
        assert_eq!(come_as(&street.one, &client, "moves.test").await.0, Full);
        assert_eq!(come_as(&street.one, &client, "moves.test").await.0, Resumed);
        street.one.set_sni("own", "").unwrap();
        street.two.set_sni("own", "moves.test#own").unwrap();
        let (kind, connection) = come_as(&street.one, &client, "moves.test").await;
        assert_eq!((kind, connection.instance().as_str()), (Full, "mqtt-two"));
        let (kind, connection) = come_as(&street.one, &client, "moves.test").await;
        assert_eq!((kind, connection.instance().as_str()), (Resumed, "mqtt-two"));
    }
}

#[tokio::test]
async fn whether_a_certificate_is_asked_for_is_each_instances_own() {
    let street = Street::of(ClientAuth::Required, ClientAuth::Disabled);
    let ca = TestCa::root("fleet");
    street.one.register(&ca, Active).unwrap();
    let device = ca.device("device");
    for version in VERSIONS {
        for name in ["one.test", "One.Test", "ONE.TEST"] {
            let visit = street.one.visit(client(None, version), name).await;
            assert!(matches!(visit.server, Err(Refused::NoDeviceCertificate)), "{name}");
            let visit = street.one.visit(client(Some(&device), version), name).await;
            assert!(visit.admitted().await.device().is_some(), "{name}");
        }
        for name in ["two.test", "tWO.test"] {
            for identity in [None, Some(&device)] {
                let visit = street.one.visit(client(identity, version), name).await;
                assert!(visit.admitted().await.device().is_none(), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_name_that_is_another_one_in_the_second_client_hello_is_refused() {
    // A server that speaks P-256 only asks a client that guessed X25519 for a second ClientHello.
    let street = {
        let mut provider = rustls::crypto::CryptoProvider::clone(&provider());
        provider.kx_groups.retain(|group| group.name() == rustls::NamedGroup::secp256r1);
        let door = Door::unconfigured_as(
            |spec| sharing(spec.client_auth(ClientAuth::Required), &["one.test"]),
            Arc::new(provider),
        );
        let mut door = door.with_default_certificate();
        let other = door.beside_as("mqtt-two", |spec| {
            sharing(spec.client_auth(ClientAuth::Disabled), &["two.test"])
        });
        door.acceptor = Acceptor::shared(&door.instances);
        drop(other);
        door
    };
    for (second, expected) in [("one.test", None), ("two.test", Some(()))] {
        let config = client(None, &rustls::version::TLS13);
        let mut held = HeldHandshake::begin_as(&street, config, "one.test");
        let first = held.flight().await;
        held.pass(first).await;
        let mut again = held.flight().await;
        while again.iter().all(|record| record[0] != HANDSHAKE) {
            // What old middleboxes like to see may come on its own.
            again.extend(held.flight().await);
        }
        for record in &mut again {
            rename(record, b"one.test", second.as_bytes());
        }
        let visit = held.release_with(again).await;
        match (visit.server.unwrap_err(), expected) {
            (Refused::NoDeviceCertificate, None) => {}
            (Refused::Tls(error), Some(())) => {
                let rustls::Error::PeerMisbehaved(why) = error else { panic!("{error:?}") };
                assert_eq!(why, rustls::PeerMisbehaved::ServerNameDifferedOnRetry);
            }
            (other, _) => panic!("{second}: {other:?}"),
        }
    }
}

/// The type of a record in which a handshake message stands, unencrypted.
const HANDSHAKE: u8 = 22;

/// Puts another name of the same length into a record.
fn rename(record: &mut [u8], from: &[u8], to: &[u8]) {
    // Extensions come in any order: it may be the end.
    let at = record.windows(from.len()).position(|window| window == from);
    if let Some(at) = at {
        record[at..at + to.len()].copy_from_slice(to);
    }
}

#[tokio::test]
async fn a_handshake_under_way_is_answered_from_the_table_that_its_name_was_found_in() {
    let street = Street::of(ClientAuth::Optional, ClientAuth::Optional);
    let named = street.one.server_ca.server(&["x.test"]);
    street.one.put("named", &named);
    for version in VERSIONS {
        street.one.set_sni("own", "x.test#named").unwrap();
        let mut held = HeldHandshake::begin_as(&street.one, client(None, version), "x.test");
        let hello = held.flight().await;
        held.pass(hello).await;
        let answer = held.flight().await;
        street.one.set_sni("own", "").unwrap();
        street.two.set_sni("own", "x.test#own").unwrap();
        let visit = held.release_with(answer).await;
        assert_eq!(visit.shown(), *named.end_entity());
        assert_eq!(through(visit).await, "mqtt-test");
        let visit = street.one.visit(client(None, version), "x.test").await;
        assert_eq!(visit.shown(), street.shows(1));
        street.two.set_sni("own", "").unwrap();
    }
}

#[tokio::test]
async fn certificates_of_one_instances_folder_are_never_served_by_another() {
    let root = tempfile::TempDir::new().unwrap();
    let server_ca = TestCa::root("server CA");
    let shown = ["one", "two"].map(|id| {
        let identity = server_ca.server(&[&format!("{id}.test")]);
        std::fs::create_dir(root.path().join(id)).unwrap();
        let put = |name: &str| {
            std::fs::write(root.path().join(id).join(name), identity.pem()).unwrap();
        };
        put("same.pem");
        put(&format!("only-{id}.pem"));
        identity
    });
    let instances = Instances::new(provider(), Directory::open(root.path()).unwrap());
    let set = |id: &str, certificate: &str| {
        let set = SetSniConfig {
            mqtt_instance_id: id.parse().unwrap(),
            default_certificate: certificate.parse().unwrap(),
            sni_config: SniConfig::default(),
        };
        set.apply(&instances, &Caller::local())
    };
    for id in ["one", "two"] {
        let spec = InstanceSpec::new(id.parse().unwrap()).client_auth(ClientAuth::Disabled);
        instances.create(sharing(spec, &[&format!("{id}.test")])).unwrap();
        set(id, "same").unwrap();
    }
    let error = set("one", "only-two").unwrap_err();
    let Cause::Sni(refused) = error.cause() else { panic!("{error:?}") };
    let EntryFault::Source(SourceError::NotFound(_)) = &refused.errors[0].fault else {
        panic!("{refused:?}");
    };
    let door = Door { acceptor: Acceptor::shared(&instances), ..Door::open() };
    for version in VERSIONS {
        for (name, expected) in [("one.test", &shown[0]), ("two.test", &shown[1])] {
            let visit = door.visit(client(None, version), name).await;
            assert_eq!(visit.shown(), *expected.end_entity(), "{name}");
        }
    }
}

/// An embedder's slip: a connection with the configuration of one instance in a step of another's.
#[test]
fn a_step_of_one_instance_shows_nothing_of_it_to_a_connection_of_another() {
    let street = Street::of(ClientAuth::Optional, ClientAuth::Optional);
    let offer = client(None, &rustls::version::TLS13);
    for (name, its_own) in [("one.test", true), ("two.test", false)] {
        let route = street.one.instances.route(name, &[SignatureScheme::ED25519], &[]);
        let mut handshake = route.unwrap().handshake().unwrap();
        assert_eq!(handshake.instance().endpoints()[0].as_str(), name);
        let config = street.one.instance.server_config();
        let mut server = handshake.step(|| rustls::ServerConnection::new(config)).unwrap();
        let mut client = Peer::of(offer.clone());
        server.read_tls(&mut client.flight().as_slice()).unwrap();
        let answered = handshake.step(|| server.process_new_packets());
        assert_eq!(answered.is_ok(), its_own, "{answered:?}");
    }
}

/// What answers for a name that comes and goes is its own certificate or nobody, never the default
/// of the instance that has just lost it.
#[test]
fn a_name_that_comes_and_goes_is_never_answered_from_a_table_without_it() {
    const CHANGES: usize = 300;
    let street = Street::of(ClientAuth::Optional, ClientAuth::Optional);
    let named = street.one.server_ca.server(&["x.test"]);
    street.one.put("named", &named);
    street.two.put("named", &named);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let visit = || visit_until(&done, &street.one, named.end_entity());
        let visitors = [scope.spawn(visit), scope.spawn(visit)];
        for change in 0..CHANGES {
            let door = if change % 2 == 0 { &street.one } else { &street.two };
            door.set_sni("own", "x.test#named").unwrap();
            door.set_sni("own", "").unwrap();
        }
        done.store(true, Ordering::SeqCst);
        for visitor in visitors {
            assert!(visitor.join().unwrap() > 0);
        }
    });
}

/// Asks for `x.test` over and over and is shown this certificate, or told that nobody has the name.
fn visit_until(done: &AtomicBool, door: &Door, named: &CertificateDer<'_>) -> usize {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let mut visits = 0;
    while !done.load(Ordering::SeqCst) {
        let config = client(None, &rustls::version::TLS13);
        let visit = runtime.block_on(door.visit(config, "x.test"));
        match &visit.client {
            Ok(_) => assert_eq!(visit.shown(), *named),
            Err(alert) => assert_eq!(*alert, Some(AlertDescription::UnrecognisedName)),
        }
        visits += 1;
    }
    visits
}
