//! Tickets of TLS 1.2 that are kept, and what tickets are without: the device's certificate.

use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fmt, iter};

use mqtls::CaStatus::Active;
use mqtls::trust::Refusal;
use mqtls::{ClientAuth, Resumption, Tickets};
use rustls::HandshakeKind::{Full, Resumed};
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::line::on_versions;
use crate::own_handshake::shaken;
use crate::support::{Door, Identity, NOW, Peer, TestCa, TestClock, VERSIONS, client};
use crate::ticket_tools::{
    FULL_AT, Glass, Parts, careless_of_names, come, come_as, keys, sealed_by,
};

/// For how long a ticket of [`Glass`] is kept: an eighth of its hour.
const KEPT: u64 = 450;

/// A door whose tickets are of glass, its CA, and a client that it believes.
fn of_glass(
    client_auth: ClientAuth,
    version: &'static SupportedProtocolVersion,
) -> (Door, Arc<Glass>, TestCa, ClientConfig) {
    let glass = Glass::new();
    let door = Door::open_as(|spec| spec.client_auth(client_auth).resumption(sealed_by(&glass)));
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    let device = (client_auth == ClientAuth::Required).then(|| ca.device("device"));
    let client = client(device.as_ref(), version);
    (door, glass, ca, client)
}

#[tokio::test]
async fn on_tls12_a_ticket_is_kept_for_an_eighth_of_its_time_and_then_renewed() {
    for (client_auth, alpn) in [
        (ClientAuth::Required, None),
        (ClientAuth::Required, Some("mqtt")),
        (ClientAuth::Optional, None),
        (ClientAuth::Optional, Some("mqtt")),
    ] {
        let (door, glass, _, mut client) = of_glass(client_auth, &TLS12);
        client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        assert_eq!(come(&door, &client).await.0, Full);
        assert_eq!(glass.issued(), 1);
        let mut issued = 1;
        for began in [NOW, NOW + KEPT, NOW + 2 * KEPT] {
            for (after, expected) in [(0, 0), (1, 0), (KEPT - 1, 0), (KEPT, 1), (KEPT, 0)] {
                door.clock.set(began + after);
                let ticket = glass.last();
                assert_eq!(come(&door, &client).await.0, Resumed);
                issued += expected;
                assert_eq!(glass.issued(), issued, "{client_auth:?}, {began} + {after}");
                assert_eq!(glass.last() == ticket, expected == 0);
            }
        }
    }
}

#[tokio::test]
async fn on_tls13_each_handshake_brings_a_ticket() {
    for client_auth in [ClientAuth::Required, ClientAuth::Optional] {
        let (door, glass, _, client) = of_glass(client_auth, &TLS13);
        for (issued, expected) in [(1, Full), (2, Resumed), (3, Resumed)] {
            assert_eq!(come(&door, &client).await.0, expected);
            assert_eq!(glass.issued(), issued);
        }
    }
}

#[tokio::test]
async fn where_a_ticket_is_kept_no_new_session_ticket_is_sent() {
    const SERVER_HELLO: u8 = 2;
    const NEW_SESSION_TICKET: u8 = 4;
    let (door, _, _, client) = of_glass(ClientAuth::Required, &TLS12);
    assert_eq!(come(&door, &client).await.0, Full);
    let (types, kept_length) = answer(&door, &client).await;
    assert_eq!(types, [SERVER_HELLO]);
    door.clock.set(NOW + KEPT);
    let (types, length) = answer(&door, &client).await;
    assert_eq!(types, [SERVER_HELLO, NEW_SESSION_TICKET]);
    assert!(kept_length < length);
}

/// The types of the handshake messages in clear with which the server answers, and how long the answer
/// is.
async fn answer(door: &Door, client: &ClientConfig) -> (Vec<u8>, usize) {
    const HANDSHAKE: u8 = 22;
    let answer = first_answer(door, client).await;
    let mut rest = &answer[..];
    let mut types = vec![];
    while rest[0] == HANDSHAKE {
        let (record, behind) = rest[5..].split_at(u16::from_be_bytes([rest[3], rest[4]]).into());
        let mut messages = record;
        while let [kind, high, middle, low, behind @ ..] = messages {
            types.push(*kind);
            messages = &behind[u32::from_be_bytes([0, *high, *middle, *low]) as usize..];
        }
        rest = behind;
    }
    (types, answer.len())
}

/// What the server says to a ClientHello.
async fn first_answer(door: &Door, client: &ClientConfig) -> Vec<u8> {
    let mut peer = Peer::of(client.clone());
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let acceptor = door.acceptor.clone();
    let _server = tokio::spawn(async move { acceptor.accept(far).await });
    near.write_all(&peer.flight()).await.unwrap();
    let mut answer = vec![0; 64 * 1024];
    let length = near.read(&mut answer).await.unwrap();
    answer.truncate(length);
    answer
}

#[tokio::test]
async fn a_full_handshake_brings_a_ticket_also_where_one_was_offered_that_is_good() {
    // What a client offers under another name opens, and resumes nothing.
    let all = [ClientAuth::Required, ClientAuth::Optional, ClientAuth::Disabled];
    for (version, client_auth) in on_versions(all) {
        let (door, glass, _, mut client) = of_glass(client_auth, version);
        careless_of_names(&mut client);
        assert_eq!(come(&door, &client).await.0, Full);
        assert_eq!((glass.opened(), glass.issued()), (0, 1));
        door.clock.set(NOW + 5);
        assert_eq!(come_as(&door, &client, "other.test").await.0, Full);
        assert_eq!((glass.opened(), glass.issued()), (1, 2));
        assert_eq!(come_as(&door, &client, "other.test").await.0, Resumed);
        let is_kept = version == &TLS12;
        assert_eq!((glass.opened(), glass.issued()), (2, if is_kept { 2 } else { 3 }));
        // Nor does it go back to the handshake of the ticket that was offered.
        let full_at = &Parts::of(&glass.last()).binding[FULL_AT];
        assert_eq!(full_at, &(NOW + 5).to_be_bytes()[3..]);
    }
}

#[tokio::test]
async fn a_ticket_of_another_version_is_of_no_use_and_keeps_nothing() {
    for client_auth in [ClientAuth::Required, ClientAuth::Optional, ClientAuth::Disabled] {
        let (door, glass, ca, on_tls12) = of_glass(client_auth, &TLS12);
        let device = (client_auth == ClientAuth::Required).then(|| ca.device("device"));
        let on_tls13 = client(device.as_ref(), &TLS13);
        for (one, other) in [(&on_tls12, &on_tls13), (&on_tls13, &on_tls12)] {
            glass.change(|plain| plain);
            come(&door, one).await;
            let of_one = glass.last();
            come(&door, other).await;
            let (of_other, issued) = (glass.last(), glass.issued());
            glass.change(move |_| of_one.clone());
            assert_eq!(come(&door, other).await.0, Full);
            assert_eq!(glass.issued(), issued + 1);

            // Nor does it keep rustls from what else a client of TLS 1.3 offers: it asks each time.
            let mut handshake = door.instance.handshake().unwrap();
            let ticketer = Arc::clone(&handshake.config().ticketer);
            assert!(handshake.step(|| ticketer.enabled() && ticketer.decrypt(b"?").is_some()));
            glass.change(|plain| plain);
            assert!(handshake.step(|| ticketer.enabled() && ticketer.decrypt(&of_other).is_some()));
            assert!(handshake.step(|| ticketer.enabled()));
        }
    }
}

#[test]
fn r01_who_is_resumed_comes_in_whatever_else_rustls_asks() {
    let (door, _, _, client) = of_glass(ClientAuth::Required, &TLS12);
    let client = Arc::new(client);
    assert_eq!(chain_after(&door, &client).0, Full);
    let (mut context, shaken) = shaken(&door, &client);
    let server = shaken.unwrap().server;
    assert_eq!(server.handshake_kind(), Some(Resumed));
    let config = context.config();
    assert!(!context.step(|| config.session_storage.can_cache()));
    let _admission = context.admit(&server).unwrap();
}

#[tokio::test]
async fn a_clock_that_is_set_back_behind_its_issue_has_a_ticket_renewed() {
    let (door, glass, _, client) = of_glass(ClientAuth::Required, &TLS12);
    assert_eq!(come(&door, &client).await.0, Full);
    door.clock.set(NOW + KEPT + 10);
    assert_eq!(come(&door, &client).await.0, Resumed);
    assert_eq!(glass.issued(), 2);
    for (now, issued) in [(KEPT + 10, 2), (KEPT + 9, 3), (KEPT + 9, 3), (0, 4), (KEPT - 1, 4)] {
        door.clock.set(NOW + now);
        assert_eq!(come(&door, &client).await.0, Resumed);
        assert_eq!(glass.issued(), issued, "{now}");
    }
}

/// Keys of which the last two open tickets: new ones are taken when the clock says so.
struct Rotating {
    clock: Arc<TestClock>,
    period: u64,
    keys: Mutex<Vec<Keys>>,
}

/// Keys, and in which period they were taken.
type Keys = (u64, Arc<dyn ProducesTickets>);

impl Rotating {
    /// The present period, and all keys that were taken so far.
    fn present(&self) -> (u64, Vec<Keys>) {
        let number = (self.clock.current_time().unwrap().as_secs() - NOW) / self.period;
        let mut all = self.keys.lock().unwrap();
        if all.last().is_none_or(|(last, _)| *last < number) {
            all.push((number, keys()));
        }
        (number, all.clone())
    }
}

impl ProducesTickets for Rotating {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(2 * self.period).unwrap()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.present().1.last().unwrap().1.encrypt(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (number, keys) = self.present();
        let mut good = keys.iter().filter(|(taken, _)| taken + 1 >= number);
        good.find_map(|(_, keys)| keys.decrypt(ticket))
    }
}

impl fmt::Debug for Rotating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rotating")
    }
}

#[test]
fn who_comes_back_at_regular_intervals_while_a_key_is_kept_is_always_resumed() {
    for version in VERSIONS {
        for interval in [7, 20, 44, 45, 46, 60, 89, 90, 91, 100, 179, 180, 220, 359, 360] {
            let (door, clock, client) = with_rotating_keys(version);
            // Wherever in a period it begins.
            let mut now = NOW + 17 * interval * 60 % PERIOD;
            let mut expected = Full;
            while now < NOW + 4 * PERIOD + interval * 60 {
                clock.set(now);
                door.clock.set(now);
                let kind = chain_after(&door, &client).0;
                assert_eq!(kind, expected, "every {interval} minutes, at {}", now - NOW);
                expected = Resumed;
                now += interval * 60;
            }
        }
    }
}

#[test]
fn who_kept_a_ticket_is_resumed_for_three_eighths_of_its_time_after_that() {
    const KEPT: u64 = 2 * PERIOD / 8;
    // Issued in the last second of the keys, so that these are the first to go.
    let (issued, kept) = (PERIOD - 1, PERIOD - 1 + KEPT - 1);
    for (gap, expected) in [(3 * KEPT, Resumed), (3 * KEPT + 1, Resumed), (3 * KEPT + 2, Full)] {
        let (door, clock, client) = with_rotating_keys(&TLS12);
        for (at, expected) in [(issued, Full), (kept, Resumed), (kept + gap, expected)] {
            clock.set(NOW + at);
            door.clock.set(NOW + at);
            assert_eq!(chain_after(&door, &client).0, expected, "{gap}, {at}");
        }
    }
}

/// A door with [`Rotating`] keys that go by this clock, and a client that it believes.
fn with_rotating_keys(
    version: &'static SupportedProtocolVersion,
) -> (Door, Arc<TestClock>, Arc<ClientConfig>) {
    let clock = TestClock::at(NOW);
    let (of_keys, keys) = (Arc::clone(&clock), Mutex::default());
    let rotating = Rotating { clock: of_keys, period: PERIOD, keys };
    let tickets =
        Tickets::new().sealed_by(Arc::new(rotating)).lineage(Duration::from_secs(1_000_000));
    let door = Door::open_as(|spec| spec.resumption(Resumption::On(tickets)));
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    (door, clock, Arc::new(client(Some(&ca.device("device")), version)))
}

/// For which a key is the present one.
const PERIOD: u64 = 6 * 60 * 60;

#[tokio::test]
async fn what_is_announced_says_how_long_a_ticket_is_kept() {
    const DAY: u64 = 24 * 60 * 60;
    for (lifetime, lineage, kept) in [
        (0, DAY, 0),
        (7, DAY, 0),
        (8, DAY, 1),
        (80_000, DAY, 10_000),
        (u32::MAX, 800, 100),
        (u32::MAX, 100 * DAY, 7 * DAY / 8),
    ] {
        let glass = Glass::lasting(lifetime);
        let tickets =
            Tickets::new().sealed_by(Arc::clone(&glass) as _).lineage(Duration::from_secs(lineage));
        let door = Door::open_as(|spec| spec.resumption(Resumption::On(tickets)));
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let client = client(Some(&ca.device("device")), &TLS12);
        assert_eq!(come(&door, &client).await.0, Full);
        if kept > 0 {
            door.clock.set(NOW + kept - 1);
            assert_eq!(come(&door, &client).await.0, Resumed);
        }
        assert_eq!(glass.issued(), 1, "{lifetime}, {lineage}");
        door.clock.set(NOW + kept);
        assert_eq!(come(&door, &client).await.0, Resumed);
        assert_eq!(glass.issued(), 2, "{lifetime}, {lineage}");
    }
}

#[test]
fn what_a_ticket_claims_is_nothing_outside_of_its_handshake_and_to_another_instance() {
    let (door, glass, _, client) = of_glass(ClientAuth::Required, &TLS12);
    assert_eq!(chain_after(&door, &Arc::new(client)).0, Full);
    let beside = door.beside("mqtt-other");
    let mut handshake = door.instance.handshake().unwrap();
    let own = handshake.config();
    let others = beside.instance.handshake().unwrap().config();
    assert!(handshake.step(|| own.ticketer.decrypt(&glass.last())).is_some());
    assert!(!handshake.step(|| own.ticketer.enabled()));
    assert!(own.ticketer.enabled());
    assert!(handshake.step(|| others.ticketer.enabled()));
    assert_eq!(handshake.step(|| others.ticketer.encrypt(b"session")), None);
    assert!(!door.instance.server_config().ticketer.enabled());
}

#[test]
fn r09_a_ticket_that_is_opened_behind_a_certificate_counts_for_nothing() {
    for version in VERSIONS {
        let (door, glass, ca, _) = of_glass(ClientAuth::Required, version);
        let [mine, theirs] = ["mine", "theirs"].map(|name| ca.device(name));
        let of = |device: &Identity| Arc::new(client(Some(device), version));
        assert_eq!(chain_after(&door, &of(&theirs)).0, Full);
        let stolen = glass.last();
        let (mut context, shaken) = shaken(&door, &of(&mine));
        assert!(shaken.is_ok());
        let own = Parts::of(&glass.last()).binding;
        let ticketer = Arc::clone(&context.config().ticketer);
        assert!(context.step(|| ticketer.decrypt(&stolen)).is_some());
        assert!(context.step(|| ticketer.enabled()));
        assert!(context.step(|| ticketer.encrypt(b"session")).is_some());
        assert_eq!(Parts::of(&glass.last()).binding, own);
    }
}

#[test]
fn who_was_refused_is_issued_no_ticket_in_that_handshake() {
    for version in VERSIONS {
        let (door, glass, _, _) = of_glass(ClientAuth::Optional, version);
        let stranger = TestCa::root("strangers").device("stranger");
        let (mut context, shaken) = shaken(&door, &Arc::new(client(Some(&stranger), version)));
        assert!(shaken.is_err());
        let ticketer = Arc::clone(&context.config().ticketer);
        assert!(context.step(|| ticketer.enabled()));
        assert_eq!(context.step(|| ticketer.encrypt(b"session")), None);
        assert_eq!(glass.issued(), 0);
    }
}

#[test]
fn a_ticket_that_is_declined_counts_for_nothing_in_the_next_one() {
    for client_auth in [ClientAuth::Required, ClientAuth::Optional] {
        let (door, glass, ca, _) = of_glass(client_auth, &TLS12);
        let client = Arc::new(client(Some(&ca.device("device")), &TLS12));
        assert_eq!(chain_after(&door, &client).0, Full);
        let good = glass.last();
        let mut handshake = door.instance.handshake().unwrap();
        let ticketer = Arc::clone(&handshake.config().ticketer);
        assert!(handshake.step(|| ticketer.decrypt(&good)).is_some());
        assert_eq!(handshake.step(|| ticketer.decrypt(b"?")), None);
        assert!(handshake.step(|| ticketer.enabled()));
        let next = handshake.step(|| ticketer.encrypt(b"session"));
        // Of whom nothing is known, where such come in.
        assert_eq!(next.is_some(), client_auth == ClientAuth::Optional);
        assert!(next.is_none_or(|next| Parts::of(&next).binding[0] & 0x0f == 0));
    }
}

#[tokio::test]
async fn on_tls12_a_session_has_no_id_under_which_it_could_be_stored() {
    let (door, _, _, client) = of_glass(ClientAuth::Required, &TLS12);
    let answer = first_answer(&door, &client).await;
    // A record's header, a message's, the version, and the random; then how long the id is.
    assert_eq!((answer[5], answer[5 + 4 + 2 + 32]), (2, 0));
}

#[tokio::test]
async fn r02_a_renewed_ticket_is_worth_no_more_than_the_one_before() {
    for version in VERSIONS {
        let (door, glass, ca, client) = of_glass(ClientAuth::Required, version);
        assert_eq!(come(&door, &client).await.0, Full);
        let first = Parts::of(&glass.last());
        door.clock.set(NOW + KEPT);
        assert_eq!(come(&door, &client).await.0, Resumed);
        let renewed = Parts::of(&glass.last());
        assert_eq!(renewed.binding, first.binding);
        assert_eq!((first.issued, u64::from(renewed.issued)), (0, KEPT));

        door.deactivate(&ca);
        let visit = door.visit(client.clone(), "localhost").await;
        assert_eq!(visit.not_believed(), Refusal::InactiveCa(ca.serial()));
        door.activate(&ca);
        assert_eq!(come(&door, &client).await.0, Full);
    }
}

/// How a handshake went, and the chain that rustls says the client has.
fn chain_after(
    door: &Door,
    client: &Arc<ClientConfig>,
) -> (HandshakeKind, Vec<CertificateDer<'static>>) {
    let (context, shaken) = shaken(door, client);
    let server = shaken.unwrap().server;
    let _admission = context.admit(&server).unwrap();
    let chain = server.peer_certificates().unwrap().to_vec();
    (server.handshake_kind().unwrap(), chain)
}

fn contains(plain: &[u8], der: &[u8]) -> bool {
    plain.windows(der.len()).any(|part| part == der)
}

#[test]
fn r01_a_ticket_is_without_the_devices_certificate_and_the_session_has_it_again() {
    for version in VERSIONS {
        let (door, glass, _, _) = of_glass(ClientAuth::Required, version);
        let root = TestCa::root("root");
        let sub = root.child("sub");
        door.register(&root, Active).unwrap();
        let device = sub.device("device").with_chain(&[&sub]);
        let config = Arc::new(client(Some(&device), version));
        for expected in [Full, Resumed, Resumed] {
            assert_eq!(chain_after(&door, &config), (expected, device.chain.clone()));
            let plain = glass.last();
            assert!(!contains(&plain, device.end_entity()));
            // What is not on record stays with the client.
            assert!(contains(&plain, &sub.der));
            door.clock.set(NOW + KEPT);
        }
    }
}

#[test]
fn r09_the_certificate_that_is_put_back_is_that_of_the_record_that_the_ticket_names() {
    // Whoever has the keys can give a session to another device, and to nobody who is not on record.
    for version in VERSIONS {
        let (door, glass, ca, _) = of_glass(ClientAuth::Required, version);
        // As long as each other: rustls' part says how long it is.
        let mine = ca.device("mine");
        let length = mine.end_entity().len();
        let mut devices = iter::repeat_with(|| ca.device("them"));
        let theirs = devices.find(|it| it.end_entity().len() == length).unwrap();
        let of = |device: &Identity| Arc::new(client(Some(device), version));
        assert_eq!(chain_after(&door, &of(&theirs)).1, theirs.chain);
        let binding = Parts::of(&glass.last()).binding;
        let client = of(&mine);
        assert_eq!(chain_after(&door, &client), (Full, mine.chain.clone()));
        glass.change(move |plain| Parts::of(&plain).bound(&binding).plain());
        assert_eq!(chain_after(&door, &client), (Resumed, theirs.chain.clone()));
        door.delete_device(&ca, &theirs);
        assert_eq!(chain_after(&door, &client), (Full, mine.chain));
    }
}
