//! Removing an instance ends all that it let in; keeping connections is a choice of each instance.

use std::sync::Arc;

use mqtls::CaStatus::{Active, Inactive};
use mqtls::instance::Outcome;
use mqtls::trust::Refusal;
use mqtls::{ClientAuth, Ended, InstanceSpec, Refused};
use rustls::AlertDescription;
use tokio::io::AsyncWriteExt;

use crate::line::{Line, assert_all_over, assert_all_up, on_versions};
use crate::live::count;
use crate::support::{
    Door, Examinations, HeldHandshake, NOW, PlainHandshake, TestCa, VERSIONS, client, date,
    in_small_records,
};

#[tokio::test]
async fn a_removed_instances_connections_end_and_nobody_elses() {
    for version in VERSIONS {
        let door = Door::open_with(ClientAuth::Optional);
        let other = door.beside("other");
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        other.register(&ca, Active).unwrap();
        let device = ca.device("device");
        let mut lines = Line::several(3, &door, &device, version).await;
        lines.push(Line::up(&door, None, version).await);
        lines.push(Line::up(&door, None, version).await);
        assert_all_up(&mut lines).await;
        let mut others = vec![Line::up(&other, Some(&device), version).await];
        others.push(Line::up(&other, None, version).await);

        let id = door.instance.id();
        assert_eq!(door.instances.remove(id).map(count), Some((5, 0)));
        assert_eq!(door.instances.remove(id).map(count), None, "there is none any more");
        assert_eq!(door.instances.remove(&"nobody".parse().unwrap()).map(count), None);
        assert!(door.instances.get(id).is_none());
        assert_all_over(lines, &Ended::InstanceRemoved).await;
        assert_eq!(door.instance.trust().connections(), 0);
        assert_all_up(&mut others).await;

        let again = door.beside(id.as_str());
        assert!(again.instance.trust().is_empty());
        assert_eq!(again.instance.trust().connections(), 0);
        let refusal = again.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::UnknownIssuer);
        again.register(&ca, Active).unwrap();
        let mut back = vec![Line::up(&again, Some(&device), version).await];
        back.push(Line::up(&again, None, version).await);
        assert_all_up(&mut back).await;
    }
}

#[tokio::test]
async fn a_handshake_under_way_dies_at_the_gate_when_its_instance_is_removed() {
    let ca = TestCa::root("fleet");
    let device = ca.device("device");
    for (version, device) in on_versions([Some(&device), None]) {
        for step in 0.. {
            let door = Door::open_with(ClientAuth::Optional);
            door.register(&ca, Active).unwrap();
            let config = in_small_records(client(device, version));
            let (mut held, mut records) = HeldHandshake::up_to_the_certificate(&door, config).await;
            if step == records.len() {
                break;
            }
            let rest = records.split_off(step);
            held.pass(records).await;
            door.instances.remove(door.instance.id()).unwrap();
            held.pass(rest).await;
            let refusal = held.release().await.turned_away_at_the_gate();
            assert_eq!(refusal, Refusal::InstanceRemoved, "step {step}");
            assert_eq!(door.instances.stats().of(Outcome::Admitted), 0);
            assert_eq!(door.instance.trust().connections(), 0);
        }
    }
}

#[tokio::test]
async fn whoever_comes_to_a_removed_instance_is_told_that_the_name_is_unknown() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let device = ca.device("device");
        door.knock(Some(&device), version).await.admitted().await;
        door.instances.remove(door.instance.id()).unwrap();
        let visit = door.knock(Some(&device), version).await;
        assert_eq!(visit.client.unwrap_err(), Some(AlertDescription::UnrecognisedName));
        assert!(matches!(visit.server.unwrap_err(), Refused::UnrecognizedName(Some(_))));
    }
}

#[tokio::test]
async fn an_own_accept_loop_is_told_that_the_instance_was_removed() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let config = client(Some(&ca.device("device")), version);
        let mut shaken = PlainHandshake::between(door.instance.server_config(), config.into());
        shaken.finish().unwrap();
        let admission = door.instance.admit(&shaken.server).unwrap();
        door.instances.remove(door.instance.id()).unwrap();
        assert_eq!(admission.ended(), Some(Ended::InstanceRemoved));
        let refusal = door.instance.admit(&shaken.server).unwrap_err();
        assert_eq!(refusal, Refusal::InstanceRemoved);
    }
}

#[tokio::test]
async fn an_instance_that_keeps_connections_says_how_many_and_lets_nobody_in() {
    for (version, delete) in on_versions([false, true]) {
        let (door, ca) = keeping();
        let device = ca.device_with("device", |params| params.not_after = date(NOW + 60));
        let mut lines = Line::several(3, &door, &device, version).await;
        let foreseen = if delete { door.foresee_delete(&ca) } else { door.foresee(&ca) };
        assert_eq!(count(foreseen), (0, 3));
        if delete {
            assert_eq!(count(door.delete(&ca).connections), (0, 3));
        } else {
            assert_eq!(count(door.deactivate(&ca).connections), (0, 3));
            assert_eq!(count(door.deactivate(&ca).connections), (0, 3));
        }
        assert_all_up(&mut lines).await;
        let refusal = door.knock(Some(&device), version).await.not_believed();
        let expected = match delete {
            true => Refusal::UnknownIssuer,
            false => Refusal::InactiveCa(ca.serial()),
        };
        assert_eq!(refusal, expected);
        door.clock.set(NOW + 60);
        door.instance.sweep().unwrap();
        assert_all_up(&mut lines).await;
        door.clock.set(NOW + 61);
        door.instance.sweep().unwrap();
        assert_all_over(lines, &Ended::Expired).await;
    }
}

#[tokio::test]
async fn an_instance_that_keeps_connections_stops_handshakes_under_way_all_the_same() {
    for version in VERSIONS {
        let (door, ca) = keeping();
        let examinations = Examinations::watch();
        let config = in_small_records(client(Some(&ca.device("device")), version));
        let (mut held, mut records) = HeldHandshake::up_to_the_certificate(&door, config).await;
        let last = records.pop_back();
        held.pass(records).await;
        examinations.next().await;
        assert_eq!(count(door.deactivate(&ca).connections), (0, 0));
        held.pass(last).await;
        let refusal = held.release().await.turned_away_at_the_gate();
        assert_eq!(refusal, Refusal::ChangedMeanwhile(ca.serial()));
    }
}

#[tokio::test]
async fn kept_connections_are_counted_by_their_key_and_end_with_the_instance() {
    for version in VERSIONS {
        let (door, root) = keeping();
        let sub = root.child("sub");
        let device = sub.device("below").with_chain(&[&sub]);
        let mut lines = Line::several(2, &door, &device, version).await;
        assert_eq!(count(door.register(&sub, Inactive).unwrap().connections), (0, 2));
        assert_eq!(count(door.deactivate(&root).connections), (0, 2));
        assert_all_up(&mut lines).await;
        assert_eq!(door.instances.remove(door.instance.id()).map(count), Some((2, 0)));
        assert_all_over(lines, &Ended::InstanceRemoved).await;
    }
}

/// The id is free, and a second removal answers, only once everything is over.
#[test]
fn an_id_is_taken_until_its_connections_are_over() {
    for version in VERSIONS {
        let door = Arc::new(Door::open());
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut line = runtime.block_on(Line::up(&door, Some(&ca.device("device")), version));
        let (handle, held) = (line.server.handle(), Arc::clone(&door));
        let (said, removal) = std::sync::mpsc::channel();
        line.wire.on_write(move || {
            // In the middle of a write, for which the removal waits.
            let door = Arc::clone(&held);
            let removing = std::thread::spawn(move || door.instances.remove(door.instance.id()));
            while handle.ended().is_none() {
                std::thread::yield_now();
            }
            let id = held.instance.id();
            assert!(held.instances.get(id).is_some());
            assert!(held.instances.create(InstanceSpec::new(id.clone())).is_err());
            said.send(removing).unwrap();
        });
        let error = runtime.block_on(line.server.write(b"late")).unwrap_err();
        assert_eq!(crate::line::ended(error), Ended::InstanceRemoved);
        let removed = removal.recv().unwrap().join().unwrap();
        assert_eq!(removed.map(count), Some((1, 0)));
        assert!(door.instances.get(door.instance.id()).is_none());
        assert!(door.instances.remove(door.instance.id()).is_none());
    }
}

/// The door of an instance that keeps connections, and a CA that it knows.
fn keeping() -> (Door, TestCa) {
    let door = Door::open_as(InstanceSpec::keep_connections);
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    (door, ca)
}
