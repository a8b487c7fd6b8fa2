//! What a ticket is worth, and until when.

use std::time::Duration;

use mqtls::CaStatus::{Active, Inactive};
use mqtls::trust::Refusal;
use mqtls::{ClientAuth, InstanceSpec, Refused, Resumption, Tickets};
use rustls::HandshakeKind::{Full, Resumed};
use rustls::{ClientConfig, SupportedProtocolVersion};
use webpki::Error::{CertExpired, CertNotValidYet};

use crate::support::{
    Door, Examinations, HeldHandshake, NOW, TestCa, VERSIONS, client, date, in_small_records,
};
use crate::ticket_tools::{CA_DELETED, Declines, Wire, come, keys, sealed_by};

const HOUR: u64 = 60 * 60;

/// What an operator does while a ticket is out.
type Change = fn(&Door, &TestCa);

/// Why the device is refused then.
type Expected = fn(&TestCa) -> Refusal;

/// Why the ticket is declined.
type Reason = fn(&TestCa) -> String;

type Case = (Change, Reason, Expected);

/// A door, its CA, and a client with a ticket from it.
async fn with_ticket(version: &'static SupportedProtocolVersion) -> (Door, TestCa, ClientConfig) {
    let door = Door::open();
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    let client = client(Some(&ca.device("device")), version);
    assert_eq!(come(&door, &client).await.0, Full);
    (door, ca, client)
}

fn ca_changed(ca: &TestCa) -> String {
    format!("the status of CA {} changed", ca.serial())
}

fn ca_deleted(_: &TestCa) -> String {
    CA_DELETED.to_owned()
}

fn lasting(lineage: Duration) -> Resumption {
    Resumption::On(Tickets::new().lineage(lineage))
}

#[tokio::test]
async fn r01_a_device_that_comes_back_is_resumed_as_the_same_device() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let client = client(Some(&ca.device("device")), version);
        let mut declines = Declines::watch();
        let (kind, first) = come(&door, &client).await;
        assert_eq!(kind, Full);
        for _ in 0..3 {
            let (kind, again) = come(&door, &client).await;
            assert_eq!(kind, Resumed);
            assert_eq!(format!("{:?}", again.device()), format!("{:?}", first.device()));
        }
        assert!(declines.take().is_empty());
    }
}

#[tokio::test]
async fn r01_a_client_without_a_certificate_is_resumed_without_one() {
    for version in VERSIONS {
        for client_auth in [ClientAuth::Optional, ClientAuth::Disabled] {
            let door = Door::open_with(client_auth);
            let client = client(None, version);
            for expected in [Full, Resumed, Resumed] {
                let (kind, connection) = come(&door, &client).await;
                assert_eq!(kind, expected);
                assert!(connection.device().is_none());
            }
        }
    }
}

#[tokio::test]
async fn r02_a_ticket_of_a_ca_that_is_inactive_or_gone_is_declined_and_its_bearer_refused() {
    let changes: [Case; 3] = [
        (|door, ca| drop(door.deactivate(ca)), ca_changed, |ca| Refusal::InactiveCa(ca.serial())),
        (|door, ca| drop(door.delete(ca)), ca_deleted, |_| Refusal::UnknownIssuer),
        (
            |door, ca| {
                door.delete(ca);
                door.register(ca, Inactive).unwrap();
            },
            ca_deleted,
            |ca| Refusal::InactiveCa(ca.serial()),
        ),
    ];
    for version in VERSIONS {
        for (change, reason, refusal) in changes {
            let (door, ca, client) = with_ticket(version).await;
            let mut declines = Declines::watch();
            change(&door, &ca);
            let visit = door.visit(client, "localhost").await;
            assert_eq!(visit.not_believed(), refusal(&ca));
            assert_eq!(declines.take(), [reason(&ca)]);
        }
    }
}

#[tokio::test]
async fn r02_a_ticket_from_before_a_change_is_declined_also_where_all_is_as_it_was() {
    let changes: [(Change, Reason); 2] = [
        (
            |door, ca| {
                door.deactivate(ca);
                door.activate(ca);
            },
            ca_changed,
        ),
        (
            |door, ca| {
                door.delete(ca);
                door.register(ca, Active).unwrap();
            },
            ca_deleted,
        ),
    ];
    for version in VERSIONS {
        for (change, reason) in changes {
            let (door, ca, client) = with_ticket(version).await;
            let mut declines = Declines::watch();
            change(&door, &ca);
            assert_eq!(come(&door, &client).await.0, Full);
            assert_eq!(declines.take(), [reason(&ca)]);
            assert_eq!(come(&door, &client).await.0, Resumed);
        }
    }
}

#[tokio::test]
async fn r02_another_ca_under_the_serial_number_is_another_ca() {
    for version in VERSIONS {
        let door = Door::open();
        let [ca, other] = ["fleet", "other"].map(|name| {
            TestCa::root_with(name, |params| {
                params.serial_number = Some(rcgen::SerialNumber::from_slice(&[7]));
            })
        });
        door.register(&ca, Active).unwrap();
        let client = client(Some(&ca.device("device")), version);
        assert_eq!(come(&door, &client).await.0, Full);
        let mut declines = Declines::watch();
        door.delete(&ca);
        door.register(&other, Active).unwrap();
        let visit = door.visit(client, "localhost").await;
        assert_eq!(visit.not_believed(), Refusal::UnknownIssuer);
        assert_eq!(declines.take(), [CA_DELETED]);
    }
}

#[tokio::test]
async fn r03_a_ticket_ends_with_the_devices_certificate() {
    for version in VERSIONS {
        let door = Door::open_as(|spec| spec.resumption(lasting(Duration::from_secs(100 * HOUR))));
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let end = NOW + 24 * HOUR;
        let device = ca.device_with("device", |params| params.not_after = date(end));
        let client = client(Some(&device), version);
        let mut declines = Declines::watch();
        assert_eq!(come(&door, &client).await.0, Full);
        for hour in 1..=24 {
            door.clock.set(NOW + hour * HOUR);
            assert_eq!(come(&door, &client).await.0, Resumed, "hour {hour}");
        }
        assert!(declines.take().is_empty());
        for hour in 25..=50 {
            door.clock.set(NOW + hour * HOUR);
            let refusal = door.visit(client.clone(), "localhost").await.not_believed();
            assert!(matches!(refusal, Refusal::Invalid(CertExpired { .. })), "{refusal:?}");
        }
        assert_eq!(declines.take()[0], "a certificate on the device's path has expired");
    }
}

#[tokio::test]
async fn r03_a_ticket_is_good_in_the_last_second_of_every_certificate_on_the_path_and_no_longer() {
    let end = NOW + HOUR;
    let expiring = |expires| {
        move |params: &mut rcgen::CertificateParams| {
            params.not_after = date(if expires { end } else { NOW + 1000 * HOUR });
        }
    };
    for version in VERSIONS {
        for at in 0..3 {
            let door = Door::open();
            let root = TestCa::root_with("root", expiring(at == 0));
            let sub = root.child_with("sub", expiring(at == 1));
            door.register(&root, Active).unwrap();
            let device = sub.device_with("device", expiring(at == 2)).with_chain(&[&sub]);
            let client = client(Some(&device), version);
            assert_eq!(come(&door, &client).await.0, Full);
            let mut declines = Declines::watch();
            door.clock.set(end);
            assert_eq!(come(&door, &client).await.0, Resumed);
            door.clock.set(end + 1);
            match (at, door.visit(client, "localhost").await.not_believed()) {
                (0, Refusal::CaExpired(serial)) if serial == root.serial() => {}
                (1 | 2, Refusal::Invalid(CertExpired { .. })) => {}
                (_, other) => panic!("{at}: {other:?}"),
            }
            assert_eq!(declines.take(), ["a certificate on the device's path has expired"]);
        }
    }
}

#[tokio::test]
async fn r03_a_lineage_ends_however_often_it_was_resumed() {
    for version in VERSIONS {
        assert_lineage_ends(version, Resumption::default(), 24).await;
        assert_lineage_ends(version, lasting(Duration::from_secs(2 * HOUR)), 2).await;
    }
}

async fn assert_lineage_ends(
    version: &'static SupportedProtocolVersion,
    resumption: Resumption,
    hours: u64,
) {
    let door = Door::open_as(|spec| spec.resumption(resumption));
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    let client = client(Some(&ca.device("device")), version);
    let mut declines = Declines::watch();
    let length = hours * HOUR;
    assert_eq!(come(&door, &client).await.0, Full);
    for began in [NOW, NOW + length + 1] {
        for hour in 1..=hours {
            door.clock.set(began + hour * HOUR);
            assert_eq!(come(&door, &client).await.0, Resumed);
        }
        assert!(declines.take().is_empty());
        door.clock.set(began + length + 1);
        assert_eq!(come(&door, &client).await.0, Full);
        assert_eq!(declines.take(), ["the last full handshake was too long ago"]);
    }
}

#[tokio::test]
async fn r04_a_ticket_is_good_at_the_instance_that_issued_it() {
    for version in VERSIONS {
        assert_each_resumes_its_own(ClientAuth::Required, version).await;
        assert_each_resumes_its_own(ClientAuth::Optional, version).await;
    }
}

/// With one ticketer for all. Devices come where they must show a certificate, and nobody else.
async fn assert_each_resumes_its_own(
    client_auth: ClientAuth,
    version: &'static SupportedProtocolVersion,
) {
    const OTHER: &str = "it is another instance's, or an earlier one's of the same id";
    let shared = Wire::new();
    let spec = |spec: InstanceSpec| spec.client_auth(client_auth).resumption(sealed_by(&shared));
    let door = Door::open_as(spec);
    let beside = door.beside_as("mqtt-other", spec);
    // Another process, or a later one, as far as anybody can tell.
    let again = Door::open_as(spec);
    assert_eq!(again.instance.id(), door.instance.id());
    let ca = TestCa::root("fleet");
    for door in [&door, &beside, &again] {
        door.register(&ca, Active).unwrap();
    }
    let device = ca.device("device");
    for other in [&beside, &again] {
        let shown = (client_auth == ClientAuth::Required).then_some(&device);
        let client = client(shown, version);
        let mut declines = Declines::watch();
        assert_eq!(come(&door, &client).await.0, Full);
        assert_eq!(come(&door, &client).await.0, Resumed);
        assert_eq!(come(other, &client).await.0, Full);
        assert_eq!(declines.take(), [OTHER]);
        assert_eq!(come(other, &client).await.0, Resumed);
        assert_eq!(come(&door, &client).await.0, Full);
        assert_eq!(declines.take(), [OTHER]);
    }
}

#[tokio::test]
async fn r04_a_removed_instances_tickets_are_nobodys_also_under_its_id() {
    for version in VERSIONS {
        let (door, keys) = (Door::open(), keys());
        let ca = TestCa::root("fleet");
        let sealed = || Resumption::On(Tickets::new().sealed_by(std::sync::Arc::clone(&keys)));
        let first = door.beside_as("again", |spec| spec.resumption(sealed()));
        first.register(&ca, Active).unwrap();
        let client = client(Some(&ca.device("device")), version);
        for expected in [Full, Resumed] {
            assert_eq!(come(&first, &client).await.0, expected);
        }
        door.instances.remove(first.instance.id()).unwrap();
        let second = door.beside_as("again", |spec| spec.resumption(sealed()));
        second.register(&ca, Active).unwrap();
        let mut declines = Declines::watch();
        for expected in [Full, Resumed] {
            assert_eq!(come(&second, &client).await.0, expected);
        }
        let reason = "it is another instance's, or an earlier one's of the same id";
        assert_eq!(declines.take(), [reason]);
    }
}

#[tokio::test]
async fn r04_instances_without_keys_in_common_cannot_open_each_others_tickets() {
    for version in VERSIONS {
        let (door, ca, client) = with_ticket(version).await;
        let beside = door.beside("mqtt-other");
        beside.register(&ca, Active).unwrap();
        let mut declines = Declines::watch();
        assert_eq!(come(&beside, &client).await.0, Full);
        assert_eq!(declines.take(), ["it cannot be opened"]);
    }
}

#[tokio::test]
async fn r04_a_session_without_a_certificate_is_not_resumed_where_one_is_required() {
    for version in VERSIONS {
        let shared = Wire::new();
        let optional = Door::open_as(|spec| {
            spec.client_auth(ClientAuth::Optional).resumption(sealed_by(&shared))
        });
        let required = Door::open_as(|spec| spec.resumption(sealed_by(&shared)));
        let client = client(None, version);
        for expected in [Full, Resumed] {
            assert_eq!(come(&optional, &client).await.0, expected);
        }
        let visit = required.visit(client, "localhost").await;
        assert!(matches!(visit.server, Err(Refused::NoDeviceCertificate)));
    }
}

#[tokio::test]
async fn r05_a_change_between_verification_and_ticket_leaves_the_ticket_useless() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let client = in_small_records(client(Some(&ca.device("device")), version));
        let examinations = Examinations::watch();
        let (mut held, mut records) =
            HeldHandshake::up_to_the_certificate(&door, client.clone()).await;
        let finished = records.pop_back().unwrap();
        held.pass(records).await;
        examinations.next().await;
        door.deactivate(&ca);
        door.activate(&ca);
        held.pass([finished]).await;
        let refusal = held.release().await.turned_away_at_the_gate();
        assert_eq!(refusal, Refusal::ChangedMeanwhile(ca.serial()));
        // What was turned away has a ticket nevertheless.
        let mut declines = Declines::watch();
        assert_eq!(come(&door, &client).await.0, Full);
        assert_eq!(declines.take(), [ca_changed(&ca)]);
    }
}

#[tokio::test]
async fn r06_whatever_changes_elsewhere_the_device_still_resumes() {
    for version in VERSIONS {
        let (door, _, client) = with_ticket(version).await;
        let beside = door.beside("mqtt-other");
        let stranger = TestCa::root("stranger");
        let mut declines = Declines::watch();
        for _ in 0..250 {
            for door in [&door, &beside] {
                door.register(&stranger, Active).unwrap();
                door.deactivate(&stranger);
                door.activate(&stranger);
                door.delete(&stranger);
            }
        }
        assert_eq!(come(&door, &client).await.0, Resumed);
        assert!(declines.take().is_empty());
    }
}

#[tokio::test]
async fn r06_activating_what_is_active_leaves_tickets_good() {
    for version in VERSIONS {
        let (door, ca, client) = with_ticket(version).await;
        assert!(!door.activate(&ca).changed);
        door.register(&ca, Active).unwrap_err();
        assert_eq!(come(&door, &client).await.0, Resumed);
    }
}

#[tokio::test]
async fn r06_h04_a_renewed_certificate_of_the_servers_and_the_same_map_again_leave_tickets_good() {
    for version in VERSIONS {
        let (door, _, client) = with_ticket(version).await;
        door.set_sni("default", "").unwrap();
        assert_eq!(come(&door, &client).await.0, Resumed);
        door.put("default", &door.server_ca.server(&["localhost"]));
        door.set_sni("default", "").unwrap();
        assert_eq!(come(&door, &client).await.0, Resumed);
    }
}

#[tokio::test]
async fn r07_a_ticket_that_is_none_makes_a_full_handshake() {
    let changes: [fn(&mut Vec<u8>); 8] = [
        |ticket| ticket[0] ^= 1,
        |ticket| ticket[20] ^= 0x80,
        |ticket| {
            let middle = ticket.len() / 2;
            ticket[middle] ^= 1;
        },
        |ticket| *ticket.last_mut().unwrap() ^= 1,
        |ticket| ticket.truncate(ticket.len() - 1),
        |ticket| ticket.truncate(1),
        |ticket| ticket.push(0),
        |ticket| *ticket = keys().encrypt(b"foreign").unwrap(),
    ];
    for version in VERSIONS {
        let wire = Wire::new();
        let door = Door::open_as(|spec| spec.resumption(sealed_by(&wire)));
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let client = client(Some(&ca.device("device")), version);
        assert_eq!(come(&door, &client).await.0, Full);
        let mut declines = Declines::watch();
        for change in changes {
            wire.change(change);
            assert_eq!(come(&door, &client).await.0, Full);
            assert_eq!(declines.take(), ["it cannot be opened"]);
            wire.change(|_| {});
            assert_eq!(come(&door, &client).await.0, Resumed);
        }
        wire.exchange_keys();
        assert_eq!(come(&door, &client).await.0, Full);
        assert_eq!(declines.take(), ["it cannot be opened"]);
        assert_eq!(come(&door, &client).await.0, Resumed);
    }
}

#[tokio::test]
async fn p05_a_clock_set_back_declines_what_was_verified_later() {
    const DAY: u64 = 24 * HOUR;
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let young = ca.device_with("young", |params| params.not_before = date(NOW - 1));
        let (young, old) =
            (client(Some(&young), version), client(Some(&ca.device("old")), version));
        for client in [&young, &old] {
            assert_eq!(come(&door, client).await.0, Full);
            assert_eq!(come(&door, client).await.0, Resumed);
        }
        let mut declines = Declines::watch();
        door.clock.set(NOW - DAY);
        let refusal = door.visit(young, "localhost").await.not_believed();
        assert!(matches!(refusal, Refusal::Invalid(CertNotValidYet { .. })), "{refusal:?}");
        assert_eq!(come(&door, &old).await.0, Full);
        assert_eq!(declines.take(), ["the clock was set back behind the full handshake"; 2]);
        assert_eq!(come(&door, &old).await.0, Resumed);
    }
}
