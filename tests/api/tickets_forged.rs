//! Tickets that somebody else offers, and tickets that say what none of ours would.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mqtls::CaStatus::Active;
use mqtls::trust::Refusal;
use mqtls::{ClientAuth, Refused};
use rustls::HandshakeKind::{Full, FullWithHelloRetryRequest, Resumed};
use rustls::crypto::CryptoProvider;
use rustls::{HandshakeKind, NamedGroup};
use rustls_pki_types::CertificateDer;
use tokio::io::AsyncWriteExt;

use crate::support::{
    Door, Identity, TestCa, VERSIONS, Visit, client, client_of, provider, record,
};
use crate::ticket_tools::{
    Declines, Glass, apart, careless_of_names, come, come_as, joined, sealed_by, switch_certificate,
};

const UNREADABLE: &str = "it says nothing that can be read";

/// A door whose tickets are of glass, and a device that it believes.
fn of_glass(client_auth: ClientAuth) -> (Door, Arc<Glass>, Identity) {
    let glass = Glass::new();
    let door = Door::open_as(|spec| spec.client_auth(client_auth).resumption(sealed_by(&glass)));
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    (door, glass, ca.device("device"))
}

#[tokio::test]
async fn r09_a_ticket_under_another_name_without_a_certificate_is_nobodys() {
    for version in VERSIONS {
        let (door, glass, device) = of_glass(ClientAuth::Optional);
        let mut client = client(Some(&device), version);
        careless_of_names(&mut client);
        let shows = switch_certificate(&mut client);
        let (kind, connection) = come(&door, &client).await;
        assert_eq!(kind, Full);
        assert!(connection.device().is_some());
        assert!(names_a_device(&glass.last()));

        shows.store(false, Ordering::SeqCst);
        let mut declines = Declines::watch();
        let (kind, connection) = come_as(&door, &client, "other.test").await;
        assert_eq!(kind, Full);
        assert!(connection.device().is_none());
        // It opened, and there was nothing to decline it for.
        assert_eq!(glass.opened(), 1);
        assert!(declines.take().is_empty());

        // Nor does the thief's own next ticket bear the name of its owner.
        assert!(!names_a_device(&glass.last()));
        let (kind, connection) = come_as(&door, &client, "other.test").await;
        assert_eq!(kind, Resumed);
        assert!(connection.device().is_none());
        assert!(!names_a_device(&glass.last()));
        assert!(declines.take().is_empty());
    }
}

#[tokio::test]
async fn r09_a_ticket_under_another_name_with_another_certificate_is_the_certificates() {
    for version in VERSIONS {
        let (door, glass, victim) = of_glass(ClientAuth::Optional);
        let ca = TestCa::root("thieves");
        door.register(&ca, Active).unwrap();
        let thief = ca.device("thief");
        let mut client = client(Some(&thief), version);
        careless_of_names(&mut client);
        assert_eq!(come(&door, &client).await.0, Full);
        let own = glass.last();
        // A ticket of the victim's, as far as the server can tell.
        let _at_home = come(&door, &crate::support::client(Some(&victim), version)).await;
        let stolen = joined(apart(&own).0, apart(&glass.last()).1);
        glass.change(move |_| stolen.clone());
        let (kind, connection) = come_as(&door, &client, "other.test").await;
        assert_eq!(kind, Full);
        assert_eq!(connection.device().unwrap().common_name(), Some("thief"));
        assert_eq!(leaf_in(&glass.last()), *thief.end_entity());
    }
}

/// Whether a ticket is one of somebody who showed a certificate.
fn names_a_device(plain: &[u8]) -> bool {
    apart(plain).1[0] & 0x0f != 0
}

/// The certificate at the place that the binding names.
fn leaf_in(plain: &[u8]) -> CertificateDer<'_> {
    let (session, binding) = apart(plain);
    let [start, length] = [0, 2].map(|at| {
        let place = &binding[LEAF][at..at + 2];
        usize::from(u16::from_be_bytes(place.try_into().unwrap()))
    });
    session[start..start + length].into()
}

#[tokio::test]
async fn r09_a_resumed_session_is_its_own_devices_or_nobodys() {
    for version in VERSIONS {
        let (door, glass, device) = of_glass(ClientAuth::Optional);
        let other = TestCa::root("others");
        door.register(&other, Active).unwrap();
        // Its certificate is longer, and so what stands at its place in the session is not one.
        let others = [Some(other.device("another device")), None];
        for (mine, theirs) in [
            (Some(&device), others[0].as_ref()),
            (Some(&device), others[1].as_ref()),
            (None, Some(&device)),
        ] {
            glass.change(|plain| plain);
            come(&door, &client(theirs, version)).await;
            let mut binding = apart(&glass.last()).1.to_vec();
            if mine.is_none() {
                // It would lie behind the session, which is short.
                binding[LEAF].copy_from_slice(&[0, 0, 0, 1]);
            }
            let mine = client(mine, version);
            assert_eq!(come(&door, &mine).await.0, Full);
            glass.change(move |plain| joined(apart(&plain).0, &binding));
            let visit = door.visit(mine, "localhost").await;
            assert_eq!(visit.turned_away_at_the_gate(), Refusal::NotProven);
        }
    }
}

#[tokio::test]
async fn r04_an_anonymous_ticket_is_declined_where_a_certificate_is_required() {
    for version in VERSIONS {
        let (door, glass, device) = of_glass(ClientAuth::Required);
        let client = client(Some(&device), version);
        assert_eq!(come(&door, &client).await.0, Full);
        let mut anonymous = apart(&glass.last()).1[..INCARNATION_AND_TIME].to_vec();
        anonymous[0] &= 0xf0;
        glass.change(move |plain| joined(apart(&plain).0, &anonymous));
        let mut declines = Declines::watch();
        assert_eq!(come(&door, &client).await.0, Full);
        let reason = "it is for a client without a certificate, and one is required";
        assert_eq!(declines.take(), [reason]);
    }
}

/// Of the binding, with the octet before them that holds its version and the number of CAs.
const INCARNATION_AND_TIME: usize = 1 + 8 + 5;
const TIME: Range<usize> = 9..14;
/// Where the device's certificate begins in the session, and how long it is.
const LEAF: Range<usize> = 14..18;
/// Before the path.
const LAST_SECOND: Range<usize> = 18..23;

#[tokio::test]
async fn whatever_octet_of_a_binding_is_another_nobody_comes_in_as_somebody_else() {
    for version in VERSIONS {
        let (door, glass, device) = of_glass(ClientAuth::Required);
        let first = client(Some(&device), version);
        let (_, connection) = come(&door, &first).await;
        let sha256 = connection.device().unwrap().sha256();
        let sealed = glass.last();
        let length = apart(&sealed).1.len();
        assert_eq!(leaf_in(&sealed), *device.end_entity());
        for (at, flip) in (0..length).flat_map(|at| [(at, 1), (at, 0x80)]) {
            glass.change(|plain| plain);
            let client = client(Some(&device), version);
            assert_eq!(come(&door, &client).await.0, Full);
            glass.change(move |plain| {
                let (session, binding) = apart(&plain);
                let mut binding = binding.to_vec();
                binding[at] ^= flip;
                joined(session, &binding)
            });
            let visit = door.visit(client, "localhost").await;
            if LEAF.contains(&at) && visit.server.is_err() {
                assert_eq!(visit.turned_away_at_the_gate(), Refusal::NotProven);
                continue;
            }
            let (kind, admitted) = how(visit).await;
            assert_eq!(admitted, sha256);
            // A time that is later or earlier may be good, too, and under which number the CA's
            // certificate came is for those to know who seal it.
            let times = TIME.contains(&at) || LAST_SECOND.contains(&at);
            let may_resume = times || at == LAST_SECOND.end;
            assert!(may_resume || kind == Full, "octet {at} of {length}");
        }
    }
}

async fn how(visit: Visit) -> (HandshakeKind, mqtls::Sha256) {
    let kind = visit.client.as_ref().unwrap().get_ref().1.handshake_kind().unwrap();
    (kind, visit.admitted().await.device().unwrap().sha256())
}

#[tokio::test]
async fn a_plain_text_that_is_cut_short_or_goes_on_is_declined() {
    type Change = fn(&[u8]) -> Vec<u8>;
    let changes: [Change; 8] = [
        |_| vec![],
        |plain| plain[..1].to_vec(),
        |plain| plain[..plain.len() - 1].to_vec(),
        |plain| [plain, &[0]].concat(),
        // What rustls alone would seal.
        |plain| apart(plain).0.to_vec(),
        |plain| joined(apart(plain).0, &[]),
        |plain| {
            let (session, binding) = apart(plain);
            joined(session, &binding[..binding.len() - 1])
        },
        |plain| {
            let (session, binding) = apart(plain);
            joined(session, &[binding, &[0]].concat())
        },
    ];
    for version in VERSIONS {
        let (door, glass, device) = of_glass(ClientAuth::Required);
        let client = client(Some(&device), version);
        assert_eq!(come(&door, &client).await.0, Full);
        for change in changes {
            let mut declines = Declines::watch();
            glass.change(move |plain| change(&plain));
            assert_eq!(come(&door, &client).await.0, Full);
            assert_eq!(declines.take(), [UNREADABLE]);
        }
        // And a session that rustls cannot read, with a binding that is good.
        glass.change(|plain| joined(b"?", apart(&plain).1));
        assert_eq!(come(&door, &client).await.0, Full);
        glass.change(|plain| plain);
        assert_eq!(come(&door, &client).await.0, Resumed);
    }
}

#[tokio::test]
async fn r09_other_octets_than_the_certificate_are_nobodys() {
    // One octet before it, one behind it, one more, one fewer, none.
    type Place = fn(u16, u16) -> (u16, u16);
    let places: [Place; 5] = [
        |start, length| (start - 1, length),
        |start, length| (start + 1, length),
        |start, length| (start, length + 1),
        |start, length| (start, length - 1),
        |start, _| (start, 0),
    ];
    for version in VERSIONS {
        for place in places {
            let (door, glass, device) = of_glass(ClientAuth::Required);
            let client = client(Some(&device), version);
            assert_eq!(come(&door, &client).await.0, Full);
            glass.change(move |plain| {
                let (session, binding) = apart(&plain);
                let mut binding = binding.to_vec();
                let number = |at: usize| u16::from_be_bytes([binding[at], binding[at + 1]]);
                let (start, length) = place(number(LEAF.start), number(LEAF.start + 2));
                binding[LEAF]
                    .copy_from_slice(&[start.to_be_bytes(), length.to_be_bytes()].concat());
                joined(session, &binding)
            });
            let visit = door.visit(client, "localhost").await;
            assert_eq!(visit.turned_away_at_the_gate(), Refusal::NotProven);
        }
    }
}

#[tokio::test]
async fn r09_an_intermediate_at_the_place_of_the_device_is_nobodys() {
    for version in VERSIONS {
        let (door, glass, _) = of_glass(ClientAuth::Required);
        let root = TestCa::root("root");
        let sub = root.child("sub");
        door.register(&root, Active).unwrap();
        let client = client(Some(&sub.device("device").with_chain(&[&sub])), version);
        assert_eq!(come(&door, &client).await.0, Full);
        let intermediate = sub.der.clone();
        glass.change(move |plain| {
            let (session, binding) = apart(&plain);
            let start = session.windows(intermediate.len()).position(|it| it == &*intermediate);
            let place = [start.unwrap(), intermediate.len()].map(|it| u16::try_from(it).unwrap());
            let mut binding = binding.to_vec();
            binding[LEAF].copy_from_slice(&place.map(u16::to_be_bytes).concat());
            joined(session, &binding)
        });
        let visit = door.visit(client, "localhost").await;
        assert_eq!(visit.turned_away_at_the_gate(), Refusal::NotProven);
    }
}

#[tokio::test]
async fn of_many_tickets_in_one_client_hello_eight_are_opened() {
    for (offered, opened) in [(8, 8), (9, 8), (200, 8)] {
        let (door, glass, _) = of_glass(ClientAuth::Required);
        let mut declines = Declines::watch();
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        near.write_all(&hello_with_tickets(offered)).await.unwrap();
        near.shutdown().await.unwrap();
        let refused = door.acceptor.accept(far).await.unwrap_err();
        assert!(matches!(refused, Refused::Gone(_)), "{refused:?}");
        assert_eq!(glass.opened(), opened);
        let reasons = declines.take();
        assert_eq!(reasons.len(), offered);
        let (first, rest) = reasons.split_at(opened);
        assert!(first.iter().all(|reason| reason == UNREADABLE));
        let too_many = "too many tickets were offered in one handshake";
        assert!(rest.iter().all(|reason| reason == too_many));
    }
}

/// A TLS 1.3 ClientHello that offers this many tickets, none of which says anything.
fn hello_with_tickets(count: usize) -> Vec<u8> {
    let two = |body: &[u8]| [&u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat();
    let mut extensions = vec![];
    let mut extend = |kind: u16, body: &[u8]| {
        extensions.extend(kind.to_be_bytes());
        extensions.extend(two(body));
    };
    extend(10, &two(&[0x00, 0x1d]));
    extend(13, &two(&[0x04, 0x03]));
    extend(43, &[2, 3, 4]);
    extend(45, &[1, 1]);
    extend(51, &two(&[&[0x00, 0x1d][..], &two(&[9; 32])].concat()));
    let identities: Vec<u8> =
        (0..count).flat_map(|_| [&two(b"ticket")[..], &[0; 4]].concat()).collect();
    let binders: Vec<u8> = (0..count).flat_map(|_| [&[32][..], &[0; 32]].concat()).collect();
    extend(41, &[two(&identities), two(&binders)].concat());
    let mut body = vec![3, 3];
    body.extend([0x5a; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(two(&extensions));
    record(22, 0x0301, &[&[1, 0][..], &two(&body)].concat())
}

#[tokio::test]
async fn a_session_is_resumed_behind_a_hello_retry_request() {
    // The client's first key share is for a group that the server does not speak.
    let speaking = |groups: &[_]| {
        let mut provider = CryptoProvider::clone(&provider());
        provider.kx_groups.retain(|group| groups.contains(&group.name()));
        provider.kx_groups.sort_by_key(|group| groups.iter().position(|it| *it == group.name()));
        Arc::new(provider)
    };
    let server = speaking(&[NamedGroup::secp256r1]);
    let glass = Glass::new();
    let door = Door::unconfigured_as(|spec| spec.resumption(sealed_by(&glass)), server)
        .with_default_certificate();
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    let both = speaking(&[NamedGroup::X25519, NamedGroup::secp256r1]);
    let mut client = client_of(both, Some(&ca.device("device")), &rustls::version::TLS13);
    careless_of_names(&mut client);
    for expected in [FullWithHelloRetryRequest, Resumed] {
        let (kind, connection) = come(&door, &client).await;
        assert_eq!(kind, expected);
        assert_eq!(connection.device().unwrap().common_name(), Some("device"));
    }
    assert_eq!(glass.opened(), 1);
}
