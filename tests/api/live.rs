//! Whoever a CA let in goes when it goes, and the operation says how many that were.

use mqtls::CaStatus::{Active, Inactive};
use mqtls::{Caller, DeleteCaCertificate, Ended, InactivateCaCertificate, LiveChange};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::line::{Line, assert_all_over, assert_all_up, ended, on_versions};
use crate::support::{Door, TestCa, VERSIONS, client};

#[tokio::test]
async fn l01_once_a_deactivation_returned_nothing_is_read_and_not_one_byte_is_written() {
    for version in VERSIONS {
        let (ca, other) = (TestCa::root("fleet"), TestCa::root("other"));
        let device = ca.device("device");
        let why = Ended::CaInactive(ca.serial());
        for step in ["handed out", "connack written", "connack flushed", "more to read"] {
            let door = Door::open();
            door.register(&ca, Active).unwrap();
            door.register(&other, Active).unwrap();
            let mut line = Line::up(&door, Some(&device), version).await;
            if step != "handed out" {
                line.server.write_all(b"connack").await.unwrap();
            }
            if step == "connack flushed" || step == "more to read" {
                line.server.flush().await.unwrap();
                line.client.read_exact(&mut [0; 7]).await.unwrap();
            }
            if step == "more to read" {
                line.client.write_all(b"??").await.unwrap();
                line.client.flush().await.unwrap();
                // The second byte is decrypted, and waits.
                assert_eq!(line.server.read_u8().await.unwrap(), b'?');
            }
            let written = line.wire.written();
            assert_eq!(count(door.deactivate(&other).connections), (0, 0));
            assert_eq!(line.server.handle().ended(), None);
            assert_eq!(count(door.deactivate(&ca).connections), (1, 0), "{step}");
            assert_eq!(line.server.handle().ended(), Some(why.clone()));
            let error = line.server.write(b"late").await.unwrap_err();
            assert_eq!(ended(error), why);
            assert_eq!(line.wire.written(), written, "{step}");
            if step == "connack written" {
                line.client.read_exact(&mut [0; 7]).await.unwrap();
            }
            // Ending the stream would send what an inner one may hold back.
            assert_eq!(line.wire.is_shut_down(), step != "connack written");
            line.assert_over(&why).await;
            assert_eq!(door.instance.trust().connections(), 0);
        }
    }
}

#[tokio::test]
async fn l02_a_connection_that_was_resumed_is_over_like_any_other_one() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        door.register(&ca, Active).unwrap();
        let config = client(Some(&ca.device("device")), version);
        let mut lines = vec![];
        for is_resumed in [false, true, true] {
            let mut line = Line::tried(&door, config.clone()).await.unwrap();
            line.exchange().await;
            assert_eq!(line.server.is_resumed(), is_resumed);
            lines.push(line);
        }
        assert_eq!(count(door.deactivate(&ca).connections), (3, 0));
        assert_all_over(lines, &Ended::CaInactive(ca.serial())).await;
    }
}

#[tokio::test]
async fn l02_of_two_hundred_exactly_those_of_the_deactivated_ca_end() {
    for (version, delete) in on_versions([false, true]) {
        let door = Door::open();
        let (ca, other) = (TestCa::root("one"), TestCa::root("two"));
        door.register(&ca, Active).unwrap();
        door.register(&other, Active).unwrap();
        let mut lines = Line::several(100, &door, &ca.device("device"), version).await;
        let mut others = Line::several(100, &door, &other.device("device"), version).await;
        assert_eq!(door.instance.trust().connections(), 200);

        for _ in 0..2 {
            let foreseen = if delete { door.foresee_delete(&ca) } else { door.foresee(&ca) };
            assert_eq!(count(foreseen), (100, 0));
            assert_all_up(&mut lines).await;
        }
        let (change, why) = if delete {
            (door.delete(&ca).connections, Ended::CaDeleted(ca.serial()))
        } else {
            (door.deactivate(&ca).connections, Ended::CaInactive(ca.serial()))
        };
        assert_eq!(count(change), (100, 0));
        if !delete {
            assert_eq!(count(door.foresee(&ca)), (0, 0));
            assert_eq!(count(door.deactivate(&ca).connections), (0, 0), "none is ended twice");
            assert_eq!(count(door.delete(&ca).connections), (0, 0));
        }
        assert_eq!(door.instance.trust().connections(), 200, "the broker has not let go yet");
        assert_all_over(lines, &why).await;
        assert_all_up(&mut others).await;
        assert_eq!(door.instance.trust().connections(), 100);
        drop(others);
        assert_eq!(door.instance.trust().connections(), 0);
    }
}

#[tokio::test]
async fn l02_those_through_a_sub_ca_end_with_it_and_with_any_ca_above() {
    for (version, registered) in on_versions([true, false]) {
        let (root, other) = (TestCa::root("root"), TestCa::root("other"));
        let sub = root.child("sub");
        let lower = sub.child("lower");
        let through_sub = lower.device("below").with_chain(&[&lower, &sub]);
        let beside = root.device("beside");
        for (gone, ends_beside) in [(&sub, false), (&root, true), (&other, false)] {
            if !registered && gone.serial() == sub.serial() {
                continue;
            }
            let door = Door::open();
            door.register(&root, Active).unwrap();
            door.register(&other, Active).unwrap();
            if registered {
                door.register(&sub, Active).unwrap();
            }
            let mut below = Line::several(3, &door, &through_sub, version).await;
            let mut beside = Line::several(2, &door, &beside, version).await;
            // A registered sub-CA stands on its own: what is above it is on no path.
            let ends_below =
                gone.serial() == sub.serial() || (!registered && gone.serial() == root.serial());
            let expected = if ends_below { 3 } else { 0 } + if ends_beside { 2 } else { 0 };
            assert_eq!(count(door.foresee(gone)), (expected, 0));
            assert_eq!(count(door.deactivate(gone).connections), (expected, 0));
            let why = Ended::CaInactive(gone.serial());
            if ends_below {
                assert_all_over(below, &why).await;
            } else {
                assert_all_up(&mut below).await;
            }
            if ends_beside {
                assert_all_over(beside, &why).await;
            } else {
                assert_all_up(&mut beside).await;
            }
        }
    }
}

#[tokio::test]
async fn l02_those_through_an_unregistered_sub_ca_end_once_its_key_is_inactive() {
    let root = TestCa::root("root");
    let sub = root.child("sub");
    let below_sub = sub.device("below").with_chain(&[&sub]);
    // The sub-CA's key under a name of its own, and under another CA's.
    let alias = TestCa::self_signed(sub.key.clone(), "alias", |_| {});
    for (version, named) in on_versions([&sub, &alias]) {
        for registered_as in [Inactive, Active] {
            let door = Door::open();
            door.register(&root, Active).unwrap();
            let below = Line::several(3, &door, &below_sub, version).await;
            let mut beside = Line::several(2, &door, &root.device("beside"), version).await;
            let registered = door.register(named, registered_as).unwrap();
            if registered_as == Inactive {
                assert_eq!(count(registered.connections), (3, 0));
            } else {
                assert_eq!(count(registered.connections), (0, 0));
                assert_eq!(count(door.foresee_delete(named)), (0, 0));
                assert_eq!(count(door.foresee(named)), (3, 0));
                assert_eq!(count(door.deactivate(named).connections), (3, 0));
            }
            assert_all_over(below, &Ended::CaInactive(named.serial())).await;
            assert_all_up(&mut beside).await;
        }
    }
}

#[tokio::test]
async fn l02_those_who_came_before_a_record_stay_when_it_is_deleted() {
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let sub = root.child("sub");
        let device = sub.device("below").with_chain(&[&sub]);
        door.register(&root, Active).unwrap();
        let mut before = Line::several(3, &door, &device, version).await;
        door.register(&sub, Active).unwrap();
        let through = Line::several(2, &door, &device, version).await;
        assert_eq!(count(door.foresee_delete(&sub)), (2, 0));
        assert_eq!(count(door.delete(&sub).connections), (2, 0));
        assert_all_over(through, &Ended::CaDeleted(sub.serial())).await;
        assert_all_up(&mut before).await;
        before.extend(Line::several(1, &door, &device, version).await);
        assert_eq!(count(door.deactivate(&root).connections), (4, 0));
        assert_all_over(before, &Ended::CaInactive(root.serial())).await;
    }
}

#[tokio::test]
async fn l02_a_path_through_one_key_under_two_names_is_one_connection() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        let renamed = ca.sign(ca.key.clone(), "fleet, renamed", |_| {});
        let again = renamed.sign(ca.key.clone(), "fleet, once more", |_| {});
        let device = again.device("device").with_chain(&[&again, &renamed]);
        door.register(&ca, Active).unwrap();
        let lines = Line::several(2, &door, &device, version).await;
        assert_eq!(count(door.foresee(&ca)), (2, 0));
        assert_eq!(count(door.deactivate(&ca).connections), (2, 0));
        assert_all_over(lines, &Ended::CaInactive(ca.serial())).await;
        assert_eq!(door.instance.trust().connections(), 0);
    }
}

#[tokio::test]
async fn l02_of_twins_those_end_that_came_in_through_the_record_and_the_other_takes_them() {
    for (version, delete) in on_versions([false, true]) {
        let door = Door::open();
        let first = TestCa::root("fleet");
        let second = first.twin(|_| {});
        let device = first.device("device");
        door.register(&first, Active).unwrap();
        let through_first = Line::several(3, &door, &device, version).await;
        door.register(&second, Inactive).unwrap();
        assert_all_up(&mut { through_first }).await;
        let through_first = Line::several(3, &door, &device, version).await;
        door.activate(&second);
        door.deactivate(&first);
        assert_all_over(through_first, &Ended::CaInactive(first.serial())).await;
        let mut through_second = Line::several(4, &door, &device, version).await;
        for line in &through_second {
            assert_eq!(line.server.device().unwrap().ca_serial(), &second.serial());
        }
        door.activate(&first);
        assert_all_up(&mut through_second).await;
        let (twins, ended, why) = if delete {
            let deleted = door.delete(&second);
            (deleted.active_twins, deleted.connections, Ended::CaDeleted(second.serial()))
        } else {
            let set = door.deactivate(&second);
            (set.active_twins, set.connections, Ended::CaInactive(second.serial()))
        };
        assert_eq!((twins, count(ended)), (vec![first.serial()], (4, 0)));
        assert_all_over(through_second, &why).await;
        let mut back = Line::several(2, &door, &device, version).await;
        for line in &back {
            assert_eq!(line.server.device().unwrap().ca_serial(), &first.serial());
        }
        assert_all_up(&mut back).await;
    }
}

#[tokio::test]
async fn l03_who_was_ended_stays_so_after_a_reactivation_and_who_comes_after_it_is_up() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        let device = ca.device("device");
        door.register(&ca, Active).unwrap();
        let before = Line::several(3, &door, &device, version).await;
        assert_eq!(count(door.deactivate(&ca).connections), (3, 0));
        door.activate(&ca);
        // They stand where those before them stood, who leave only now.
        let mut after = Line::several(3, &door, &device, version).await;
        assert_all_over(before, &Ended::CaInactive(ca.serial())).await;
        assert_all_up(&mut after).await;
        assert_eq!(count(door.deactivate(&ca).connections), (3, 0));
        assert_all_over(after, &Ended::CaInactive(ca.serial())).await;
    }
}

#[tokio::test]
async fn l04_after_many_connects_and_closes_nothing_is_left() {
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let sub = root.child("sub");
        door.register(&root, Active).unwrap();
        let devices = [root.device("device"), sub.device("below").with_chain(&[&sub])];
        for round in 0..100 {
            let _up = Line::up(&door, Some(&devices[round % 2]), version).await;
            assert_eq!(door.instance.trust().connections(), 1);
        }
        assert_eq!(door.instance.trust().connections(), 0);
        assert_eq!(count(door.deactivate(&root).connections), (0, 0));
        assert_eq!(count(door.register(&sub, Inactive).unwrap().connections), (0, 0));
    }
}

pub(crate) fn count(change: LiveChange) -> (usize, usize) {
    (change.ended, change.kept)
}

impl Door {
    /// What a deactivation would do to connections.
    pub(crate) fn foresee(&self, ca: &TestCa) -> LiveChange {
        let mqtt_instance_id = self.instance.id().clone();
        let operation = InactivateCaCertificate { mqtt_instance_id, sn: ca.serial() };
        operation.dry_run(&self.instances, &Caller::local()).unwrap().connections
    }

    /// What a deletion would do to connections.
    pub(crate) fn foresee_delete(&self, ca: &TestCa) -> LiveChange {
        let mqtt_instance_id = self.instance.id().clone();
        let operation = DeleteCaCertificate { mqtt_instance_id, sn: ca.serial() };
        operation.dry_run(&self.instances, &Caller::local()).unwrap().connections
    }
}
