//! Whoever is in with a certificate that a list revokes is out once the list is in force.

use std::sync::Arc;

use mqtls::CaStatus::Active;
use mqtls::{Ended, InstanceSpec};
use rcgen::KeyIdMethod;

use crate::line::{Line, assert_all_over, assert_all_up, on_versions};
use crate::live::count;
use crate::revocation::{Renewed, numbered, revoked};
use crate::revocation_gate::Fleet;
use crate::support::{Door, TestCa, VERSIONS, client};

#[tokio::test]
async fn l02_exactly_those_of_the_revoked_devices_end_and_the_answer_counts_them() {
    for version in VERSIONS {
        let door = Door::open();
        let (ca, other) = (TestCa::root("fleet"), TestCa::root("other"));
        let devices = [1, 2, 3].map(|number| ca.device_with("device", numbered(&[number])));
        let elsewhere = other.device_with("device", numbered(&[1]));
        let mut lines = vec![];
        for ca in [&ca, &other] {
            door.register(ca, Active).unwrap();
        }
        for device in &devices {
            lines.push(Line::several(2, &door, device, version).await);
        }
        let mut beside = Line::several(2, &door, &elsewhere, version).await;
        let [mut first, mut second, mut third] = <[_; 3]>::try_from(lines).ok().unwrap();
        assert_eq!(count(door.revoke(&ca, 1, &[]).connections), (0, 0));
        let ended = door.revoke(&ca, 2, &[devices[0].serial()]).connections;
        assert_eq!(count(ended), (2, 0), "two lines of one device");
        let why = Ended::Revoked(ca.serial());
        let last = first.pop();
        assert_all_over(first, &why).await;
        assert_all_up(&mut second).await;
        assert_all_up(&mut third).await;
        // Who is over and not dropped yet is nothing to end.
        let ended = door.revoke(&ca, 3, &[devices[0].serial(), devices[2].serial()]).connections;
        assert_eq!(count(ended), (2, 0));
        assert_all_over(third, &why).await;
        assert_all_over(Vec::from_iter(last), &why).await;
        assert_all_up(&mut second).await;
        assert_all_up(&mut beside).await;
        assert_eq!(door.instance.connections(), 4);
    }
}

#[tokio::test]
async fn l02_those_through_a_revoked_intermediate_end() {
    for (version, registered) in on_versions([false, true]) {
        let door = Door::open();
        let fleet = Fleet::at(&door);
        let lower = fleet.sub.child("lower");
        let deeper = lower.device("deeper").with_chain(&[&lower, &fleet.sub]);
        let other_sub = fleet.root.child("the other sub");
        let cousin = other_sub.device("cousin").with_chain(&[&other_sub]);
        if registered {
            // It stands on its own: the root is not on the path.
            door.register(&fleet.sub, Active).unwrap();
        }
        let mut lines = Line::several(2, &door, &fleet.below, version).await;
        lines.extend(Line::several(1, &door, &deeper, version).await);
        let mut others = Line::several(1, &door, &cousin, version).await;
        others.extend(Line::several(1, &door, &fleet.device, version).await);
        // The device's is not the root's to revoke.
        let not_its_own = [fleet.below.serial(), lower.serial(), cousin.serial()];
        assert_eq!(count(door.revoke(&fleet.root, 1, &not_its_own).connections), (0, 0));
        let ended = door.revoke(&fleet.root, 2, &[fleet.sub.serial()]).connections;
        if registered {
            assert_eq!(count(ended), (0, 0));
            assert_all_up(&mut lines).await;
        } else {
            assert_eq!(count(ended), (3, 0));
            assert_all_over(lines, &Ended::Revoked(fleet.root.serial())).await;
        }
        assert_all_up(&mut others).await;
    }
}

#[tokio::test]
async fn l02_those_who_came_before_their_issuer_was_registered_end_with_its_list() {
    for version in VERSIONS {
        let door = Door::open();
        let fleet = Fleet::at(&door);
        let neighbour = fleet.sub.device("neighbour").with_chain(&[&fleet.sub]);
        let mut lines = Line::several(2, &door, &fleet.below, version).await;
        let mut others = Line::several(2, &door, &neighbour, version).await;
        door.register(&fleet.sub, Active).unwrap();
        lines.extend(Line::several(1, &door, &fleet.below, version).await);
        others.extend(Line::several(1, &door, &neighbour, version).await);
        let ended = door.revoke(&fleet.sub, 1, &[fleet.below.serial()]).connections;
        assert_eq!(count(ended), (3, 0));
        assert_all_over(lines, &Ended::Revoked(fleet.sub.serial())).await;
        assert_all_up(&mut others).await;
        // Those who came before still rest on what the root says.
        let ended = door.revoke(&fleet.root, 1, &[fleet.sub.serial()]).connections;
        assert_eq!(count(ended), (2, 0));
        assert_all_up(&mut others[2..]).await;
    }
}

#[tokio::test]
async fn l02_the_certificate_on_the_path_counts_for_those_who_are_up() {
    for version in VERSIONS {
        let door = Door::open();
        let fleet = Renewed::at(&door);
        let [device, neighbour] = ["device", "neighbour"].map(|name| fleet.device(name));
        let lines = Line::several(2, &door, &device, version).await;
        let mut others = Line::several(3, &door, &neighbour, version).await;
        let ended = door.revoke(&fleet.root, 1, &[fleet.old.serial(), device.serial()]).connections;
        assert_eq!(count(ended), (0, 0));
        let ended = door.revoke(&fleet.old, 1, &[device.serial()]).connections;
        assert_eq!(count(ended), (2, 0));
        assert_all_over(lines, &Ended::Revoked(fleet.old.serial())).await;
        assert_all_up(&mut others).await;
        let ended = door.revoke(&fleet.root, 2, &[fleet.new.serial()]).connections;
        assert_eq!(count(ended), (3, 0));
        assert_all_over(others, &Ended::Revoked(fleet.root.serial())).await;
    }
}

#[tokio::test]
async fn l02_a_list_ends_what_came_in_through_each_twin_and_what_was_resumed() {
    for (version, through) in on_versions([0, 1]) {
        let door = Door::open();
        let first = TestCa::root("fleet");
        // Which of them a device comes through, its key id tells.
        let second = first.twin(|params| {
            params.key_identifier_method = KeyIdMethod::PreSpecified(vec![1, 2, 3]);
        });
        let twins = [&first, &second];
        for ca in twins {
            door.register(ca, Active).unwrap();
        }
        let (mut lines, mut others, mut on_list) = (vec![], vec![], vec![]);
        for ca in twins {
            let [device, neighbour] = ["device", "neighbour"].map(|name| ca.device(name));
            let config = client(Some(&device), version);
            for is_resumed in [false, true] {
                let mut line = Line::tried(&door, config.clone()).await.unwrap();
                line.exchange().await;
                assert_eq!(line.server.is_resumed(), is_resumed);
                assert_eq!(line.server.device().unwrap().ca_serial(), &ca.serial());
                lines.push(line);
            }
            others.push(Line::up(&door, Some(&neighbour), version).await);
            on_list.push(device.serial());
        }
        let ended = door.revoke(twins[through], 1, &on_list).connections;
        assert_eq!(count(ended), (4, 0));
        assert_all_over(lines, &Ended::Revoked(twins[through].serial())).await;
        assert_all_up(&mut others).await;
    }
}

/// A CA that shares a sub-CA's key under a name of its own has serial numbers of its own.
#[tokio::test]
async fn l02_a_list_ends_nobody_who_came_through_its_key_under_another_name() {
    for version in VERSIONS {
        let door = Door::open();
        let fleet = Fleet::at(&door);
        let renamed = fleet.root.sign(Arc::clone(&fleet.sub.key), "renamed", |params| {
            params.serial_number = Some(70.into());
        });
        let [by_sub, by_renamed] = [&fleet.sub, &renamed]
            .map(|ca| ca.device_with("device", numbered(&[7])).with_chain(&[ca]));
        let mut lines = Line::several(2, &door, &by_renamed, version).await;
        door.register(&fleet.sub, Active).unwrap();
        let over = Line::several(1, &door, &by_sub, version).await;
        let ended = door.revoke(&fleet.sub, 1, &[by_sub.serial()]).connections;
        assert_eq!(count(ended), (1, 0));
        assert_all_over(over, &Ended::Revoked(fleet.sub.serial())).await;
        assert_all_up(&mut lines).await;
        lines.extend(Line::several(1, &door, &by_renamed, version).await);
        // Under its own name it has.
        door.register(&renamed, Active).unwrap();
        let ended = door.revoke(&renamed, 1, &[by_renamed.serial()]).connections;
        assert_eq!(count(ended), (3, 0));
        assert_all_over(lines, &Ended::Revoked(renamed.serial())).await;
    }
}

#[tokio::test]
async fn l02_an_instance_that_keeps_connections_says_how_many_a_list_leaves_up() {
    for version in VERSIONS {
        let door = Door::open_as(InstanceSpec::keep_connections);
        let fleet = Fleet::at(&door);
        let mut lines = Line::several(2, &door, &fleet.device, version).await;
        lines.extend(Line::several(1, &door, &fleet.below, version).await);
        let on_list = [fleet.device.serial(), fleet.sub.serial()];
        let kept = door.revoke(&fleet.root, 1, &on_list[..1]).connections;
        assert_eq!(count(kept), (0, 2));
        let kept = door.revoke(&fleet.root, 2, &on_list).connections;
        assert_eq!(count(kept), (0, 3));
        assert_all_up(&mut lines).await;
        for (device, serial) in [&fleet.device, &fleet.below].into_iter().zip(&on_list) {
            let refusal = door.knock(Some(device), version).await.not_believed();
            assert_eq!(refusal, revoked(&fleet.root, serial));
        }
    }
}
