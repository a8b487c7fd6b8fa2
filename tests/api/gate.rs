//! A change in the middle of a handshake counts for that handshake.

use std::collections::VecDeque;

use mqtls::CaStatus::{Active, Inactive};
use mqtls::Refused;
use mqtls::instance::Outcome;
use mqtls::trust::Refusal;
use rustls::{ClientConfig, SupportedProtocolVersion};

use crate::support::{
    Door, Examinations, HeldHandshake, Identity, NOW, TestCa, VERSIONS, client, in_small_records,
};

/// What an operator does while the handshake is held.
type Change = fn(&Door, &TestCa);

/// Changes after which a handshake that had begun before must not go on, with the reason that is
/// found by a verifier that comes after them.
fn changes(ca: &TestCa) -> [(Change, Refusal); 4] {
    let changed = Refusal::ChangedMeanwhile(ca.serial());
    [
        (|door, ca| drop(door.deactivate(ca)), Refusal::InactiveCa(ca.serial())),
        (
            |door, ca| {
                door.deactivate(ca);
                door.activate(ca);
            },
            changed.clone(),
        ),
        (|door, ca| drop(door.delete(ca)), Refusal::UnknownIssuer),
        (
            |door, ca| {
                door.delete(ca);
                door.register(ca, Active).unwrap();
            },
            changed,
        ),
    ]
}

/// Changes that are none for the device's CA.
const UNRELATED: [Change; 3] = [
    |door, _| drop(door.register(&TestCa::root("stranger"), Active).unwrap()),
    |door, _| {
        let stranger = TestCa::root("stranger");
        door.register(&stranger, Active).unwrap();
        door.deactivate(&stranger);
        door.delete(&stranger);
    },
    |door, ca| assert!(!door.activate(ca).changed),
];

#[tokio::test]
async fn a_change_between_client_hello_and_certificate_refuses_the_device() {
    for version in VERSIONS {
        let ca = TestCa::root("fleet");
        let device = ca.device("device");
        for (change, expected) in changes(&ca) {
            let door = Door::open();
            door.register(&ca, Active).unwrap();
            let config = client(Some(&device), version);
            let (mut held, certificate) = HeldHandshake::up_to_the_certificate(&door, config).await;
            change(&door, &ca);
            held.pass(certificate).await;
            assert_eq!(held.release().await.not_believed(), expected);
        }
    }
}

#[tokio::test]
async fn a_ca_registered_between_client_hello_and_certificate_counts_for_the_next_handshake() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        let device = ca.device("device");
        let config = client(Some(&device), version);
        let (mut held, certificate) = HeldHandshake::up_to_the_certificate(&door, config).await;
        door.register(&ca, Active).unwrap();
        held.pass(certificate).await;
        let refusal = held.release().await.not_believed();
        assert_eq!(refusal, Refusal::ChangedMeanwhile(ca.serial()));
        door.knock(Some(&device), version).await.admitted().await;
    }
}

#[tokio::test]
async fn an_unrelated_change_between_client_hello_and_certificate_refuses_nobody() {
    for version in VERSIONS {
        let ca = TestCa::root("fleet");
        let device = ca.device("device");
        for change in UNRELATED {
            let door = Door::open();
            door.register(&ca, Active).unwrap();
            let config = client(Some(&device), version);
            let (mut held, certificate) = HeldHandshake::up_to_the_certificate(&door, config).await;
            change(&door, &ca);
            held.pass(certificate).await;
            held.release().await.admitted().await;
        }
    }
}

#[tokio::test]
async fn a_change_between_verification_and_finished_is_stopped_at_the_gate() {
    for version in VERSIONS {
        let ca = TestCa::root("fleet");
        let device = ca.device("device");
        for (change, _) in changes(&ca) {
            let door = Door::open();
            door.register(&ca, Active).unwrap();
            let (mut held, finished) = verified(&door, &device, version).await;
            change(&door, &ca);
            held.pass(finished).await;
            let refusal = held.release().await.turned_away_at_the_gate();
            assert_eq!(refusal, Refusal::ChangedMeanwhile(ca.serial()));
            assert_eq!(door.instances.stats().of(Outcome::ChangedMeanwhile), 1);
            assert_eq!(door.instances.stats().of(Outcome::Admitted), 0);
        }
        for change in UNRELATED {
            let door = Door::open();
            door.register(&ca, Active).unwrap();
            let (mut held, finished) = verified(&door, &device, version).await;
            change(&door, &ca);
            held.pass(finished).await;
            held.release().await.admitted().await;
        }
    }
}

#[tokio::test]
async fn an_intermediate_that_is_registered_behind_its_verification_is_stopped_at_the_gate() {
    for version in VERSIONS {
        for status in [Active, Inactive] {
            let door = Door::open();
            let root = TestCa::root("root");
            let sub = root.child("sub");
            door.register(&root, Active).unwrap();
            let device = sub.device("device").with_chain(&[&sub]);
            let (mut held, finished) = verified(&door, &device, version).await;
            door.register(&sub, status).unwrap();
            held.pass(finished).await;
            let refusal = held.release().await.turned_away_at_the_gate();
            assert_eq!(refusal, Refusal::ChangedMeanwhile(sub.serial()));
        }
    }
}

#[tokio::test]
async fn l01_after_a_deactivation_at_any_step_no_stream_is_handed_out() {
    for version in VERSIONS {
        let ca = TestCa::root("fleet");
        let device = ca.device("device");
        for step in 0.. {
            let door = Door::open();
            door.register(&ca, Active).unwrap();
            let config = in_small_records(client(Some(&device), version));
            let (mut held, mut records) = HeldHandshake::up_to_the_certificate(&door, config).await;
            if step == records.len() {
                break;
            }
            let rest = records.split_off(step);
            held.pass(records).await;
            door.deactivate(&ca);
            held.pass(rest).await;
            let visit = held.release().await;
            assert!(
                matches!(visit.server, Err(Refused::Device(_))),
                "step {step}: {:?}",
                visit.server
            );
            assert!(visit.client.is_err());
            assert_eq!(door.instances.stats().of(Outcome::Admitted), 0);
        }
    }
}

#[tokio::test]
async fn l01_after_a_change_at_any_step_of_a_resumed_handshake_no_stream_is_handed_out() {
    for version in VERSIONS {
        let ca = TestCa::root("fleet");
        let config = in_small_records(client(Some(&ca.device("device")), version));
        let all = changes(&ca).into_iter().flat_map(|(change, _)| AGES.map(|age| (change, age)));
        for (change, age) in all {
            let mut steps = 0;
            while let Some((door, mut held, records)) = resuming(&ca, &config, age, steps).await {
                let (now, later) = records;
                held.pass(now).await;
                change(&door, &ca);
                let refusal = held.release_with(later).await.turned_away_at_the_gate();
                assert_eq!(refusal, Refusal::ChangedMeanwhile(ca.serial()), "step {steps}");
                assert_eq!(door.instance.connections(), 0);
                steps += 1;
            }
            assert!(steps > 1, "there is more than one step");
        }
    }
}

#[tokio::test]
async fn an_unrelated_change_during_a_resumed_handshake_makes_it_no_full_one() {
    for version in VERSIONS {
        let ca = TestCa::root("fleet");
        let config = in_small_records(client(Some(&ca.device("device")), version));
        for change in UNRELATED {
            let (door, held, (_, all)) = resuming(&ca, &config, 0, 0).await.unwrap();
            change(&door, &ca);
            let connection = held.release_with(all).await.admitted().await;
            assert!(connection.is_resumed());
        }
    }
}

/// In seconds, of a ticket that is kept on TLS 1.2, and of one that is renewed.
pub(crate) const AGES: [u64; 2] = [0, 2 * 60 * 60];

/// A door, a handshake at it that will be resumed with a ticket of this age and that was begun, and the
/// records that the client sends next, the first few apart. `None` where there are not more than these.
pub(crate) async fn resuming(
    ca: &TestCa,
    config: &ClientConfig,
    age: u64,
    first: usize,
) -> Option<(Door, HeldHandshake, (VecDeque<Vec<u8>>, VecDeque<Vec<u8>>))> {
    let door = Door::open();
    door.register(ca, Active).unwrap();
    door.visit(config.clone(), "localhost").await.admitted().await;
    door.clock.set(NOW + age);
    let (held, mut records) = HeldHandshake::up_to_the_certificate(&door, config.clone()).await;
    if first == records.len() {
        let connection = held.release_with(records).await.admitted().await;
        assert!(connection.is_resumed());
        return None;
    }
    let later = records.split_off(first);
    Some((door, held, (records, later)))
}

#[tokio::test]
async fn an_intermediate_that_comes_and_goes_behind_its_verification_is_stopped_at_the_gate() {
    for version in VERSIONS {
        for status in [Active, Inactive] {
            let door = Door::open();
            let root = TestCa::root("root");
            let sub = root.child("sub");
            door.register(&root, Active).unwrap();
            let device = sub.device("device").with_chain(&[&sub]);
            let (mut held, finished) = verified(&door, &device, version).await;
            door.register(&sub, status).unwrap();
            door.delete(&sub);
            held.pass(finished).await;
            let refusal = held.release().await.turned_away_at_the_gate();
            assert_eq!(refusal, Refusal::ChangedMeanwhile(sub.serial()));
            door.knock(Some(&device), version).await.admitted().await;
        }
    }
}

#[tokio::test]
async fn an_intermediate_that_came_and_went_since_the_client_hello_counts_for_the_next_handshake() {
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let sub = root.child("sub");
        door.register(&root, Active).unwrap();
        let device = sub.device("device").with_chain(&[&sub]);
        let config = client(Some(&device), version);
        let (mut held, certificate) = HeldHandshake::up_to_the_certificate(&door, config).await;
        door.register(&sub, Inactive).unwrap();
        door.delete(&sub);
        held.pass(certificate).await;
        let refusal = held.release().await.not_believed();
        assert_eq!(refusal, Refusal::ChangedMeanwhile(sub.serial()));
        door.knock(Some(&device), version).await.admitted().await;
    }
}

/// A handshake whose device has been verified, and the client's last record, which ends its
/// Finished.
pub(crate) async fn verified(
    door: &Door,
    device: &Identity,
    version: &'static SupportedProtocolVersion,
) -> (HeldHandshake, [Vec<u8>; 1]) {
    let examinations = Examinations::watch();
    let config = in_small_records(client(Some(device), version));
    let (mut held, mut records) = HeldHandshake::up_to_the_certificate(door, config).await;
    let last = records.pop_back().unwrap();
    held.pass(records).await;
    examinations.next().await;
    (held, [last])
}
