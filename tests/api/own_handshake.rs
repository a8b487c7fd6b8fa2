//! Accept loops of the embedder's own whose handshakes have a context: they resume, and their gate
//! knows what was seen.

use std::sync::Arc;

use mqtls::CaStatus::Active;
use mqtls::{Admission, ClientAuth, Ended, Handshake, Refusal};
use rustls::{ClientConfig, Error, HandshakeKind, ServerConfig};

use crate::support::{Door, PlainHandshake, TestCa, VERSIONS, client};

/// A whole handshake in steps; what the client is left with, too: its tickets are in its
/// configuration.
pub(crate) fn shaken(
    door: &Door,
    client: &Arc<ClientConfig>,
) -> (Handshake, Result<PlainHandshake, Error>) {
    let mut context = door.instance.handshake().unwrap();
    let config = context.config();
    let shaken = context.step(|| {
        let mut handshake = PlainHandshake::between(config, Arc::clone(client));
        handshake.finish().map(|()| handshake)
    });
    (context, shaken)
}

fn come(door: &Door, client: &Arc<ClientConfig>) -> (HandshakeKind, Result<Admission, Refusal>) {
    let (context, shaken) = shaken(door, client);
    let server = shaken.unwrap().server;
    (server.handshake_kind().unwrap(), context.admit(&server))
}

#[test]
fn r01_a_device_resumes_and_is_the_same_one_while_its_ca_is_active() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        door.register(&ca, Active).unwrap();
        let config = Arc::new(client(Some(&ca.device("device-1")), version));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let (kind, admission) = come(&door, &config);
            assert_eq!(kind, expected, "{version:?}");
            let admission = admission.unwrap();
            assert_eq!(admission.device().unwrap().common_name(), Some("device-1"));
            assert_eq!(admission.device().unwrap().ca_serial(), &ca.serial());
        }

        let (context, shaken) = shaken(&door, &config);
        let report = door.deactivate(&ca).connections;
        let refusal = context.admit(&shaken.unwrap().server).unwrap_err();
        assert_eq!((refusal, report.ended), (Refusal::ChangedMeanwhile(ca.serial()), 0));
        door.activate(&ca);
        let (kind, admission) = come(&door, &config);
        assert_eq!(kind, HandshakeKind::Full);
        assert_eq!(admission.unwrap().ended(), None);
    }
}

#[test]
fn l02_a_resumed_connection_ends_with_its_ca() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        door.register(&ca, Active).unwrap();
        let config = Arc::new(client(Some(&ca.device("device-1")), version));
        let admissions = [(); 3].map(|()| come(&door, &config).1.unwrap());
        assert_eq!(door.deactivate(&ca).connections.ended, 3);
        for admission in admissions {
            assert_eq!(admission.ended(), Some(Ended::CaInactive(ca.serial())));
        }
    }
}

#[test]
fn a_handshake_outside_of_steps_resumes_nothing_and_is_refused() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        door.register(&ca, Active).unwrap();
        let config = Arc::new(client(Some(&ca.device("device-1")), version));
        drop(come(&door, &config).1.unwrap());
        let context = door.instance.handshake().unwrap();
        let mut outside = PlainHandshake::between(context.config(), Arc::clone(&config));
        outside.finish().unwrap();
        assert_eq!(outside.server.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(context.admit(&outside.server).unwrap_err(), Refusal::NotProven);
    }
}

#[test]
fn the_gate_takes_no_handshake_that_is_not_complete_and_no_other_ones() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        door.register(&ca, Active).unwrap();
        let config = |name| Arc::new(client(Some(&ca.device(name)), version));
        let mut context = door.instance.handshake().unwrap();
        let begun =
            context.step(|| PlainHandshake::between(door.instance.server_config(), config("1")));
        assert_eq!(context.admit(&begun.server).unwrap_err(), Refusal::NotProven);

        // What one handshake found counts for no other connection.
        let (context, _its_own) = shaken(&door, &config("1"));
        let (_its_own, other) = shaken(&door, &config("2"));
        assert_eq!(context.admit(&other.unwrap().server).unwrap_err(), Refusal::NotProven);
    }
}

#[test]
fn a_protocol_of_mqtt_is_agreed_on_and_any_other_one_does_without() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        door.register(&ca, Active).unwrap();
        let protocols: [&[&[u8]]; 3] = [&[b"mqtt"], &[b"h2", b"x-amzn-mqtt-ca"], &[b"h2"]];
        let agreed = [Some(b"mqtt".as_slice()), Some(b"x-amzn-mqtt-ca"), None];
        for (offered, agreed) in protocols.into_iter().zip(agreed) {
            let mut config = client(Some(&ca.device("device-1")), version);
            config.alpn_protocols = offered.iter().map(|it| it.to_vec()).collect();
            let mut context = door.instance.handshake().unwrap();
            let server = context.config_for(offered.iter().copied());
            let shaken = context.step(|| {
                let mut handshake = PlainHandshake::between(server, Arc::new(config));
                handshake.finish().map(|()| handshake)
            });
            let server = shaken.unwrap().server;
            assert_eq!(server.alpn_protocol(), agreed);
            assert!(context.admit(&server).unwrap().device().is_some());
        }
    }
}

#[test]
fn p11_another_instances_device_is_nobody_at_the_gate() {
    for version in VERSIONS {
        let (ours, ca) = (Door::open(), TestCa::root("fleet"));
        let theirs = ours.beside("mqtt-other");
        ours.register(&ca, Active).unwrap();
        let config = Arc::new(client(Some(&ca.device("device-1")), version));
        for kind in [HandshakeKind::Full, HandshakeKind::Full] {
            // Made with the one's configuration in the other one's handshake, and with the other one's
            // certificates: with the one's own it would be shown none.
            let mut context = theirs.instance.handshake().unwrap();
            let mut server = ServerConfig::clone(&ours.instance.handshake().unwrap().config());
            server.cert_resolver = theirs.instance.resolver();
            let server = Arc::new(server);
            let shaken = context.step(|| {
                let mut handshake = PlainHandshake::between(server, Arc::clone(&config));
                handshake.finish().map(|()| handshake)
            });
            let server = shaken.unwrap().server;
            assert_eq!(server.handshake_kind(), Some(kind));
            assert_eq!(context.admit(&server).unwrap_err(), Refusal::NotProven);
            assert_eq!(theirs.instance.trust().connections(), 0);
        }
    }
}

#[test]
fn who_shows_no_certificate_is_anonymous_where_that_is_allowed() {
    for version in VERSIONS {
        let config = Arc::new(client(None, version));
        let door = Door::open_with(ClientAuth::Optional);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (kind, admission) = come(&door, &config);
            assert_eq!((kind, admission.unwrap().device().is_none()), (expected, true));
        }
        let (_context, shaken) = shaken(&Door::open(), &config);
        assert!(shaken.is_err());
    }
}

#[test]
fn a_removed_instance_begins_no_handshake() {
    let door = Door::open();
    let (context, shaken) = shaken(&door, &{
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        Arc::new(client(Some(&ca.device("device-1")), &rustls::version::TLS13))
    });
    door.instances.remove(door.instance.id()).unwrap();
    let refusal = context.admit(&shaken.unwrap().server).unwrap_err();
    assert_eq!(refusal, Refusal::InstanceRemoved);
    assert!(door.instance.handshake().is_none());
}
