//! Whether tickets are issued, how many, how large, and what else they may be used for.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use mqtls::CaStatus::Active;
use mqtls::instance::CreateError;
use mqtls::{InstanceSpec, Instances, Memory, Resumption, Tickets};
use rustls::HandshakeKind::{Full, Resumed};
use rustls::client::TicketRequest;
use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom};
use rustls::server::{ProducesTickets, ServerSessionMemoryCache};
use rustls::{ClientConfig, ServerConfig};

use crate::support::{Door, NOW, Peer, PlainHandshake, TestCa, VERSIONS, client, provider};
use crate::ticket_tools::{Declines, Glass, Wire, come, keys, sealed_by};

/// A door with these settings, and a client that it believes.
fn door_and_client(
    resumption: Resumption,
    version: &'static rustls::SupportedProtocolVersion,
) -> (Door, ClientConfig) {
    let door = Door::open_as(|spec| spec.resumption(resumption));
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    let client = client(Some(&ca.device("device")), version);
    (door, client)
}

#[derive(Debug)]
struct SwitchedOff;

impl ProducesTickets for SwitchedOff {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        panic!("it is off")
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        panic!("it is off")
    }

    fn decrypt(&self, _ticket: &[u8]) -> Option<Vec<u8>> {
        panic!("it is off")
    }
}

#[tokio::test]
async fn nothing_is_resumed_where_resumption_is_off() {
    for version in VERSIONS {
        for off in [Resumption::Off, sealed_by(&Arc::new(SwitchedOff))] {
            let (door, mut client) = door_and_client(off, version);
            client.send_ticket_request = Some(asking_for(2));
            for _ in 0..3 {
                let visit = door.visit(client.clone(), "localhost").await;
                let connection = visit.client.as_ref().unwrap().get_ref().1;
                assert_eq!(connection.handshake_kind(), Some(Full));
                visit.admitted().await;
            }
            assert_eq!(tickets_in_one_visit(&door, &client).await, 0);
        }
    }
}

#[tokio::test]
async fn where_what_seals_tickets_is_switched_off_no_more_are_issued() {
    for version in VERSIONS {
        let glass = Glass::new();
        let (door, client) = door_and_client(sealed_by(&glass), version);
        assert_eq!(come(&door, &client).await.0, Full);
        assert_eq!(glass.issued(), 1);
        glass.switch_off();
        door.clock.set(NOW + 3599);
        // rustls asks on TLS 1.3 alone before it opens one.
        let expected = if version == &rustls::version::TLS13 { Full } else { Resumed };
        assert_eq!(come(&door, &client).await.0, expected);
        assert_eq!(glass.issued(), 1);
        assert_eq!(tickets_in_one_visit(&door, &client).await, 0);
    }
}

fn asking_for(count: u8) -> TicketRequest {
    TicketRequest { new_session_count: count, resumption_count: count }
}

#[tokio::test]
async fn a_tls13_client_gets_as_many_tickets_as_are_set_and_no_more_than_it_asks_for() {
    let unset = || Tickets::new();
    let set = |count| Tickets::new().per_handshake(count);
    for (tickets, asked, expected) in [
        (unset(), None, 1),
        (unset(), Some(3), 1),
        (unset(), Some(0), 0),
        (set(0), None, 0),
        (set(0), Some(1), 0),
        (set(3), None, 3),
        (set(3), Some(2), 2),
        (set(3), Some(0), 0),
        (set(3), Some(255), 3),
        (set(usize::MAX), None, Tickets::MAX_PER_HANDSHAKE),
        (set(usize::MAX), Some(255), Tickets::MAX_PER_HANDSHAKE),
    ] {
        let version = &rustls::version::TLS13;
        let (door, mut client) = door_and_client(Resumption::On(tickets), version);
        client.send_ticket_request = asked.map(asking_for);
        // In a full handshake, and in a resumed one where it can be one.
        for first in [true, false] {
            let received = tickets_in_one_visit(&door, &client).await;
            assert_eq!(
                received,
                u32::try_from(expected).unwrap(),
                "asked for {asked:?}, first: {first}"
            );
        }
        let kind = come(&door, &client).await.0;
        assert_eq!(kind, if expected == 0 { Full } else { Resumed });
    }
}

#[tokio::test]
async fn a_tls12_client_gets_its_ticket_whatever_the_number_for_tls13() {
    let none_for_tls13 = Resumption::On(Tickets::new().per_handshake(0));
    let (door, client) = door_and_client(none_for_tls13, &rustls::version::TLS12);
    assert_eq!(come(&door, &client).await.0, Full);
    assert_eq!(come(&door, &client).await.0, Resumed);
}

/// How many TLS 1.3 tickets a client gets. It reads until the server has no more to say.
async fn tickets_in_one_visit(door: &Door, client: &ClientConfig) -> u32 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = async {
        let mut connection = door.acceptor.accept(far).await.unwrap();
        connection.write_all(b"!").await.unwrap();
        connection.flush().await.unwrap();
        connection
    };
    let client = async {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client.clone()));
        let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, near).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'!');
        stream.get_ref().1.tls13_tickets_received()
    };
    tokio::join!(server, client).1
}

#[tokio::test]
async fn a_ticket_for_which_no_message_has_room_is_not_issued_whatever_is_allowed() {
    for version in VERSIONS {
        let padding = Arc::new(Padding(keys()));
        let tickets = Tickets::new().sealed_by(padding).largest(usize::MAX);
        let door = Door::open_as(|spec| spec.resumption(Resumption::On(tickets)));
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let config = client(Some(&ca.device("device")), version);
        for _ in 0..2 {
            assert_eq!(come(&door, &config).await.0, Full);
        }
    }
}

/// Seals, and fills up to more than a message has room for.
struct Padding(Arc<dyn ProducesTickets>);

impl ProducesTickets for Padding {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = self.0.encrypt(plain)?;
        sealed.resize(70_000, 0);
        Some(sealed)
    }

    fn decrypt(&self, _ticket: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

impl std::fmt::Debug for Padding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Padding")
    }
}

#[tokio::test]
async fn a_ticket_that_would_be_too_large_is_not_issued() {
    for version in VERSIONS {
        for (less, expected) in [(0, Resumed), (1, Full), (usize::MAX, Full)] {
            let (door, client) = where_a_ticket_has_less_room(less, version).await;
            let mut declines = Declines::watch();
            assert_eq!(come(&door, &client).await.0, expected, "{less} less than it needs");
            // The client had none to offer.
            assert!(declines.take().is_empty());
        }
    }
}

/// A door whose tickets may have so many bytes less than they need, and a client that has been there.
async fn where_a_ticket_has_less_room(
    less: usize,
    version: &'static rustls::SupportedProtocolVersion,
) -> (Door, ClientConfig) {
    let glass = Glass::new();
    let limited = |bytes| Tickets::new().sealed_by(Arc::clone(&glass) as _).largest(bytes);
    loop {
        let (door, client) = door_and_client(Resumption::On(limited(usize::MAX)), version);
        assert_eq!(come(&door, &client).await.0, Full);
        let length = glass.last().len();
        let limited = limited(length.saturating_sub(less));
        let (door, client) = door_and_client(Resumption::On(limited), version);
        assert_eq!(come(&door, &client).await.0, Full);
        // Now and then it is longer than the one before: the words in it grow.
        if glass.last().len() == length {
            return (door, client);
        }
    }
}

#[tokio::test]
async fn a_ticket_that_is_larger_than_any_is_not_opened() {
    for version in VERSIONS {
        let glass = Glass::new();
        let (door, client) = door_and_client(sealed_by(&glass), version);
        let small = Tickets::new().sealed_by(Arc::clone(&glass) as _).largest(64);
        let beside = door.beside_as("mqtt-small", |spec| {
            spec.client_auth(mqtls::ClientAuth::Optional).resumption(Resumption::On(small))
        });
        assert_eq!(come(&door, &client).await.0, Full);
        let mut declines = Declines::watch();
        let visit = beside.visit(client, "localhost").await;
        assert_eq!(visit.not_believed(), mqtls::Refusal::UnknownIssuer);
        assert_eq!(declines.take(), ["it is larger than any that was issued"]);
        assert_eq!(glass.opened(), 0);
    }
}

#[tokio::test]
async fn r08_early_data_is_rejected_and_what_follows_is_heard() {
    let (door, mut client) = door_and_client(Resumption::default(), &rustls::version::TLS13);
    client.enable_early_data = true;
    // Our own tickets allow none, so the client's is from a server that takes early data.
    let mut eager = ServerConfig::clone(&door.instance.server_config());
    eager.session_storage = ServerSessionMemoryCache::new(8);
    eager.send_tls13_tickets = 2;
    eager.max_early_data_size = 1024;
    let (eager, client) = (Arc::new(eager), Arc::new(client));
    let mut handshake = PlainHandshake::between(eager, Arc::clone(&client));
    handshake.finish().unwrap();
    assert_ne!(handshake.client.tls13_tickets_received(), 0);

    let mut peer = Peer::of(ClientConfig::clone(&client));
    peer.0.early_data().unwrap().write_all(b"early").unwrap();
    peer.0.writer().write_all(b"late").unwrap();
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let (server, ()) = tokio::join!(door.acceptor.accept(far), peer.go_on(&mut near));
    assert!(!peer.0.is_early_data_accepted());
    assert_eq!(peer.0.handshake_kind(), Some(Full));
    let mut heard = [0; 4];
    tokio::io::AsyncWriteExt::write_all(&mut near, &peer.flight()).await.unwrap();
    tokio::io::AsyncReadExt::read_exact(&mut server.unwrap(), &mut heard).await.unwrap();
    assert_eq!(&heard, b"late");
}

#[tokio::test]
async fn r08_our_tickets_allow_no_early_data() {
    let (door, mut client) = door_and_client(Resumption::default(), &rustls::version::TLS13);
    client.enable_early_data = true;
    assert_eq!(come(&door, &client).await.0, Full);
    let mut peer = Peer::of(client);
    assert!(peer.0.early_data().is_none());
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let (server, ()) = tokio::join!(door.acceptor.accept(far), peer.go_on(&mut near));
    server.unwrap();
    assert_eq!(peer.0.handshake_kind(), Some(Resumed));
}

#[tokio::test]
async fn r08_a_bare_server_config_takes_no_ticket_that_the_listener_issued() {
    for version in VERSIONS {
        let (door, client) = door_and_client(Resumption::default(), version);
        assert_eq!(come(&door, &client).await.0, Full);
        let client = Arc::new(client);
        let bare = door.instance.server_config();
        let mut handshake = PlainHandshake::between(bare, Arc::clone(&client));
        handshake.finish().unwrap();
        assert_eq!(handshake.client.handshake_kind(), Some(Full));
    }
}

#[derive(Debug)]
struct Dry;

impl SecureRandom for Dry {
    fn fill(&self, _: &mut [u8]) -> Result<(), GetRandomFailed> {
        Err(GetRandomFailed)
    }
}

#[test]
fn an_instance_that_cannot_tell_its_tickets_from_anothers_is_not_created() {
    let dry = CryptoProvider { secure_random: &Dry, ..CryptoProvider::clone(&provider()) };
    let instances = Instances::new(Arc::new(dry), Memory::new());
    let spec = |resumption| InstanceSpec::new("mqtt-dry".parse().unwrap()).resumption(resumption);
    for on in [Resumption::default(), sealed_by(&Wire::new())] {
        let error = instances.create(spec(on)).unwrap_err();
        let expected = rustls::Error::FailedToGetRandomBytes;
        assert!(matches!(&error, CreateError::Tickets(cause) if *cause == expected), "{error:?}");
    }
    instances.create(spec(Resumption::Off)).unwrap();
}

#[test]
fn what_seals_tickets_is_not_shown() {
    let on = sealed_by(&Glass::new());
    assert!(format!("{:?}", Glass::new()).contains("must not be shown"));
    let spec = InstanceSpec::new("mqtt-test".parse().unwrap()).resumption(on);
    let shown = format!("{spec:?}");
    assert!(shown.contains("Tickets") && !shown.contains("must not be shown"), "{shown}");
}

#[tokio::test]
async fn a_ticket_is_announced_for_no_longer_than_it_is_good() {
    const WEEK: u64 = 7 * 24 * 60 * 60;
    for (inner, lineage, expected) in [
        (3600, 24 * 3600, 3600),
        (3600, 60, 60),
        (u32::MAX, WEEK - 1, WEEK - 1),
        (u32::MAX, 10 * WEEK, WEEK),
        (u32::MAX, u64::MAX, WEEK),
    ] {
        let tickets =
            Tickets::new().sealed_by(Glass::lasting(inner)).lineage(Duration::from_secs(lineage));
        let version = &rustls::version::TLS12;
        let (door, client) = door_and_client(Resumption::On(tickets), version);
        assert_eq!(announced(&door, client).await, expected);
    }
}

/// The lifetime in the NewSessionTicket of TLS 1.2, which travels in clear.
async fn announced(door: &Door, client: ClientConfig) -> u64 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const NEW_SESSION_TICKET: u8 = 4;
    let mut peer = Peer::of(client);
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let acceptor = door.acceptor.clone();
    let server = tokio::spawn(async move { acceptor.accept(far).await });
    near.write_all(&peer.flight()).await.unwrap();
    peer.read_some(&mut near).await;
    near.write_all(&peer.flight()).await.unwrap();
    let mut answer = vec![0; 64 * 1024];
    let length = near.read(&mut answer).await.unwrap();
    let _connection = server.await.unwrap().unwrap();
    assert_eq!((answer[0], answer[5]), (22, NEW_SESSION_TICKET));
    assert!(length > 13);
    u32::from_be_bytes(answer[9..13].try_into().unwrap()).into()
}
