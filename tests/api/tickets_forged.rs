//! Tickets that somebody else offers, and tickets that say what none of ours would.

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

use crate::line::on_versions;
use crate::support::{
    Door, Identity, TestCa, VERSIONS, Visit, client, client_of, provider, record,
};
use crate::ticket_tools::{
    DEVICE_DELETED, Declines, FULL_AT, Glass, Parts, careless_of_names, come, come_as,
    device_changed, sealed_by, switch_certificate,
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
        let own = Parts::of(&glass.last()).whole(&thief);
        // A ticket of the victim's, as far as the server can tell.
        let _at_home = come(&door, &crate::support::client(Some(&victim), version)).await;
        let record = record_in(&own.binding);
        let stolen = own.bound(&Parts::of(&glass.last()).binding).plain();
        glass.change(move |_| stolen.clone());
        let (kind, connection) = come_as(&door, &client, "other.test").await;
        assert_eq!(kind, Full);
        assert_eq!(connection.device().unwrap().common_name(), Some("thief"));
        assert_eq!(record_in(&Parts::of(&glass.last()).binding), record);
    }
}

/// Whether a ticket is one of somebody who showed a certificate.
fn names_a_device(plain: &[u8]) -> bool {
    Parts::of(plain).binding[0] & 0x0f != 0
}

/// The order and the word of the device's record that a binding names.
fn record_in(binding: &[u8]) -> (u64, u64) {
    let (order, behind) = number(&binding[RECORD..]);
    (order, number(behind).0)
}

/// A number that stands behind its length, and what is behind it.
fn number(octets: &[u8]) -> (u64, &[u8]) {
    let (number, behind) = octets[1..].split_at(octets[0].into());
    (number.iter().fold(0, |value, octet| value << 8 | u64::from(*octet)), behind)
}

/// A binding that names another record.
fn naming(binding: &[u8], (order, word): (u64, u64)) -> Vec<u8> {
    let written = |number: u64| {
        let octets: Vec<u8> = number.to_be_bytes().into_iter().skip_while(|it| *it == 0).collect();
        [&[u8::try_from(octets.len()).unwrap()], &octets[..]].concat()
    };
    [&binding[..RECORD], &written(order), &written(word), behind_record(binding)].concat()
}

/// From the last second of the path on.
fn behind_record(binding: &[u8]) -> &[u8] {
    number(number(&binding[RECORD..]).1).1
}

#[tokio::test]
async fn r09_a_resumed_session_is_its_own_devices_or_nobodys() {
    type Forge = fn(&[u8], &[u8]) -> Vec<u8>;
    let all: Forge = |_, theirs| theirs.to_vec();
    let record: Forge = |mine, theirs| naming(mine, record_in(theirs));
    for version in VERSIONS {
        let (door, glass, _) = of_glass(ClientAuth::Optional);
        let [ca, another] = ["ours", "theirs"].map(TestCa::root);
        for ca in [&ca, &another] {
            door.register(ca, Active).unwrap();
        }
        let device = ca.device("device");
        let of_the_same_ca = ca.device("other");
        let of_another_ca = another.device("device");
        for (mine, theirs, forge) in [
            (Some(&device), Some(&of_the_same_ca), all),
            (Some(&device), Some(&of_the_same_ca), record),
            (Some(&device), Some(&of_another_ca), all),
            (Some(&device), Some(&of_another_ca), record),
            (Some(&device), None, all),
            (None, Some(&device), all),
        ] {
            glass.change(|plain| plain);
            come(&door, &client(theirs, version)).await;
            let theirs = Parts::of(&glass.last()).binding;
            let client = client(mine, version);
            assert_eq!(come(&door, &client).await.0, Full);
            let mine = mine.cloned();
            glass.change(move |plain| {
                let parts = Parts::of(&plain);
                let parts = mine.iter().fold(parts, |parts, mine| parts.whole(mine));
                let forged = forge(&parts.binding, &theirs);
                parts.bound(&forged).plain()
            });
            let visit = door.visit(client, "localhost").await;
            assert_eq!(visit.turned_away_at_the_gate(), Refusal::NotProven);
        }
    }
}

/// Which record a ticket names instead of its own, of its own and another's.
type Names = fn((u64, u64), (u64, u64)) -> (u64, u64);

/// What happens before, to another device of the CA.
type Before = fn(&Door, &TestCa, &Identity);

/// Why the ticket of the first is declined.
type Reason = fn(&Identity, &Identity) -> String;

#[tokio::test]
async fn r09_a_ticket_that_names_a_record_that_is_not_as_it_says_is_declined() {
    let gone: Reason = |_, _| DEVICE_DELETED.to_owned();
    let mine: Reason = |mine, _| device_changed(mine);
    let theirs: Reason = |_, theirs| device_changed(theirs);
    let nothing: Before = |_, _, _| {};
    let cases: [(Before, Names, Reason); 9] = [
        (nothing, |(_, word), _| (0, word), gone),
        (nothing, |(order, word), _| (order + 1000, word), gone),
        (nothing, |(_, word), _| (u64::MAX, word), gone),
        (nothing, |(order, _), (_, word)| (order, word), mine),
        (nothing, |(_, word), (order, _)| (order, word), theirs),
        (nothing, |(order, _), _| (order, 0), mine),
        (|door, ca, theirs| drop(door.delete_device(ca, theirs)), |_, theirs| theirs, gone),
        (
            |door, ca, theirs| {
                door.deactivate_device(ca, theirs);
                door.activate_device(ca, theirs);
            },
            |_, theirs| theirs,
            theirs,
        ),
        // The word that the inactive one has, unless another test drew one at the same time.
        (
            |door, ca, theirs| drop(door.deactivate_device(ca, theirs)),
            |(_, last), (order, _)| (order, last + 1),
            theirs,
        ),
    ];
    for version in VERSIONS {
        for (at, (before, names, reason)) in cases.into_iter().enumerate() {
            let (door, glass, _) = of_glass(ClientAuth::Required);
            let ca = TestCa::root("ours");
            door.register(&ca, Active).unwrap();
            let [mine, theirs] = ["mine", "theirs"].map(|name| ca.device(name));
            come(&door, &client(Some(&theirs), version)).await;
            let other = record_in(&Parts::of(&glass.last()).binding);
            let client = client(Some(&mine), version);
            assert_eq!(come(&door, &client).await.0, Full);
            before(&door, &ca, &theirs);
            glass.change(move |plain| {
                let parts = Parts::of(&plain);
                let forged = naming(&parts.binding, names(record_in(&parts.binding), other));
                parts.bound(&forged).plain()
            });
            let mut declines = Declines::watch();
            let (kind, connection) = come(&door, &client).await;
            assert_eq!(kind, Full, "case {at}");
            assert_eq!(connection.device().unwrap().common_name(), Some("mine"));
            assert_eq!(declines.take(), [reason(&mine, &theirs)], "case {at}");
        }
    }
}

#[tokio::test]
async fn r04_an_anonymous_ticket_is_declined_where_a_certificate_is_required() {
    for version in VERSIONS {
        let (door, glass, device) = of_glass(ClientAuth::Required);
        let client = client(Some(&device), version);
        assert_eq!(come(&door, &client).await.0, Full);
        let mut anonymous = Parts::of(&glass.last()).binding;
        anonymous.truncate(INCARNATION_AND_TIME);
        anonymous[0] &= 0xf0;
        glass.change(move |plain| Parts::of(&plain).bound(&anonymous).plain());
        let mut declines = Declines::watch();
        assert_eq!(come(&door, &client).await.0, Full);
        let reason = "it is for a client without a certificate, and one is required";
        assert_eq!(declines.take(), [reason]);
    }
}

/// Of the binding, with the octet before them that holds its version and the number of CAs.
const INCARNATION_AND_TIME: usize = 1 + 8 + 5;
/// Where the device's record begins: its order and its word, each behind its length.
const RECORD: usize = INCARNATION_AND_TIME;
/// How long the last second is, which stands behind the record and before the path.
const LAST_SECOND: usize = 5;

#[tokio::test]
async fn whatever_octet_of_a_binding_is_another_nobody_comes_in_as_somebody_else() {
    for version in VERSIONS {
        let (door, glass, device) = of_glass(ClientAuth::Required);
        let first = client(Some(&device), version);
        let (_, connection) = come(&door, &first).await;
        let sha256 = connection.device().unwrap().sha256();
        let binding = Parts::of(&glass.last()).binding;
        let length = binding.len();
        let end = length - behind_record(&binding).len() + LAST_SECOND;
        for (at, flip) in (0..length).flat_map(|at| [(at, 1), (at, 0x80)]) {
            glass.change(|plain| plain);
            let client = client(Some(&device), version);
            assert_eq!(come(&door, &client).await.0, Full);
            assert_eq!(Parts::of(&glass.last()).binding, binding);
            glass.change(move |plain| {
                let mut parts = Parts::of(&plain);
                parts.binding[at] ^= flip;
                parts.plain()
            });
            let (kind, admitted) = how(door.visit(client, "localhost").await).await;
            assert_eq!(admitted, sha256);
            // A time that is later or earlier may be good, too, and under which number the CA's
            // certificate came is for those to know who seal it.
            let times = FULL_AT.contains(&at) || (end - LAST_SECOND..end).contains(&at);
            let may_resume = times || at == end;
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
    let changes: [Change; 11] = [
        |_| vec![],
        |plain| plain[..1].to_vec(),
        |plain| plain[..plain.len() - 1].to_vec(),
        |plain| [plain, &[0]].concat(),
        // What rustls alone would seal.
        |plain| Parts::of(plain).session,
        |plain| Parts::of(plain).bound(&[]).plain(),
        |plain| {
            let mut parts = Parts::of(plain);
            parts.binding.pop();
            parts.plain()
        },
        |plain| {
            let mut parts = Parts::of(plain);
            parts.binding.push(0);
            parts.plain()
        },
        // With no place for the certificate.
        |plain| {
            let mut parts = Parts::of(plain);
            parts.gap = u16::try_from(parts.session.len() + 1).unwrap();
            parts.plain()
        },
        |plain| Parts { gap: u16::MAX, ..Parts::of(plain) }.plain(),
        |plain| Parts { session: vec![], ..Parts::of(plain) }.plain(),
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
        glass.change(|plain| Parts { session: b"?".into(), gap: 0, ..Parts::of(&plain) }.plain());
        assert_eq!(come(&door, &client).await.0, Full);
        glass.change(|plain| plain);
        assert_eq!(come(&door, &client).await.0, Resumed);
    }
}

#[tokio::test]
async fn r09_a_session_of_other_octets_than_the_records_certificate_is_nobodys() {
    type Change = fn(&[u8]) -> Vec<u8>;
    let changes: [Change; 9] = [
        |der| other_at(der, 0),
        |der| other_at(der, der.len() / 2),
        |der| other_at(der, der.len() - 1),
        |der| der[1..].to_vec(),
        |der| der[..der.len() - 1].to_vec(),
        |der| [&[0], der].concat(),
        |der| [der, &[0]].concat(),
        |der| der[..1].to_vec(),
        |_| vec![],
    ];
    for version in VERSIONS {
        let (door, glass, device) = of_glass(ClientAuth::Required);
        for change in changes {
            glass.change(|plain| plain);
            let client = client(Some(&device), version);
            assert_eq!(come(&door, &client).await.0, Full);
            let (owner, other) = (device.clone(), change(device.end_entity()));
            glass.change(move |plain| {
                let mut parts = Parts::of(&plain).whole(&owner);
                parts.session = with_chain(&parts.session, &owner.chain, &[&other]);
                parts.plain()
            });
            let visit = door.visit(client, "localhost").await;
            assert_eq!(visit.turned_away_at_the_gate(), Refusal::NotProven);
        }
    }
}

fn other_at(octets: &[u8], at: usize) -> Vec<u8> {
    let mut octets = octets.to_vec();
    octets[at] ^= 1;
    octets
}

/// A session with another chain than it has.
fn with_chain(session: &[u8], old: &[CertificateDer<'_>], new: &[&[u8]]) -> Vec<u8> {
    let three =
        |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_be_bytes()[1..], body].concat();
    let old: Vec<u8> = old.iter().flat_map(|der| three(der)).collect();
    let new: Vec<u8> = new.iter().flat_map(|der| three(der)).collect();
    let (old, new) = (three(&old), three(&new));
    let start = session.windows(old.len()).position(|it| it == old).unwrap();
    [&session[..start], &new, &session[start + old.len()..]].concat()
}

#[tokio::test]
async fn r09_a_session_in_which_the_device_does_not_come_first_is_nobodys() {
    for (version, and_behind_it) in on_versions([false, true]) {
        let (door, glass, _) = of_glass(ClientAuth::Required);
        let root = TestCa::root("root");
        let sub = root.child("sub");
        door.register(&root, Active).unwrap();
        let device = sub.device("device").with_chain(&[&sub]);
        let client = client(Some(&device), version);
        assert_eq!(come(&door, &client).await.0, Full);
        glass.change(move |plain| {
            let mut parts = Parts::of(&plain).whole(&device);
            let chain: &[&[u8]] = &[&sub.der, device.end_entity()];
            let chain = if and_behind_it { chain } else { &chain[..1] };
            parts.session = with_chain(&parts.session, &device.chain, chain);
            parts.plain()
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
