//! A ticket rests on revocation lists, too, and on nothing else about them than what they say.

use mqtls::CaStatus::Active;
use mqtls::trust::Refusal;
use mqtls::{Ended, InstanceSpec};
use rustls::HandshakeKind::{Full, Resumed};

use crate::gate::{AGES, resuming};
use crate::line::{Line, assert_all_over, assert_all_up, on_versions};
use crate::live::count;
use crate::own_handshake::shaken;
use crate::revocation::{Renewed, revoked};
use crate::support::{Door, NOW, TestCa, VERSIONS, client, date, in_small_records};
use crate::ticket_tools::{Declines, come};

/// What the log says of a ticket that the lists are against.
fn declined(refusal: &Refusal) -> Vec<String> {
    vec![format!("the revocation lists are against it: {refusal}")]
}

#[tokio::test]
async fn r10_a_leaf_that_a_list_revokes_is_declined_and_its_neighbour_resumes() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        door.register(&ca, Active).unwrap();
        let [device, neighbour] = ["device", "neighbour"].map(|name| ca.device(name));
        let clients = [&device, &neighbour].map(|device| client(Some(device), version));
        for client in &clients {
            assert_eq!(come(&door, client).await.0, Full);
            assert_eq!(come(&door, client).await.0, Resumed);
        }
        let mut declines = Declines::watch();
        door.revoke(&ca, 1, &[device.serial()]);
        let expected = revoked(&ca, &device.serial());
        let refusal = door.visit(clients[0].clone(), "localhost").await.not_believed();
        assert_eq!((declines.take(), refusal), (declined(&expected), expected));
        // No list moves an epoch.
        for number in 2..12 {
            assert_eq!(come(&door, &clients[1]).await.0, Resumed);
            door.revoke(&ca, number, &[device.serial()]);
        }
        assert_eq!(come(&door, &clients[1]).await.0, Resumed);
        assert_eq!(declines.take(), [""; 0]);
    }
}

#[tokio::test]
async fn r10_what_came_through_a_revoked_intermediate_is_declined() {
    for version in VERSIONS {
        let (door, root) = (Door::open(), TestCa::root("root"));
        let subs = ["sub", "the other sub"].map(|name| root.child(name));
        door.register(&root, Active).unwrap();
        let clients = subs
            .each_ref()
            .map(|sub| client(Some(&sub.device("device").with_chain(&[sub])), version));
        for client in &clients {
            assert_eq!(come(&door, client).await.0, Full);
        }
        door.revoke(&root, 1, &[root.serial()]);
        let mut declines = Declines::watch();
        for client in &clients {
            assert_eq!(come(&door, client).await.0, Resumed);
        }
        door.revoke(&root, 2, &[subs[0].serial()]);
        let expected = revoked(&root, &subs[0].serial());
        let refusal = door.visit(clients[0].clone(), "localhost").await.not_believed();
        assert_eq!((declines.take(), refusal), (declined(&expected), expected));
        assert_eq!(come(&door, &clients[1]).await.0, Resumed);
    }
}

#[tokio::test]
async fn r10_each_ca_on_the_sealed_path_is_asked_for_its_list() {
    for (version, by_root) in on_versions([true, false]) {
        let door = Door::open();
        let fleet = Renewed::at(&door);
        let device = fleet.device("device");
        let client = client(Some(&device), version);
        assert_eq!(come(&door, &client).await.0, Full);
        let (by, list_of, on_list) = match by_root {
            true => (&fleet.root, &fleet.root, fleet.new.serial()),
            false => (&fleet.new, &fleet.old, device.serial()),
        };
        let mut declines = Declines::watch();
        door.revoke(list_of, 1, &[fleet.old.serial()]);
        assert_eq!(come(&door, &client).await.0, Resumed);
        door.revoke(list_of, 2, std::slice::from_ref(&on_list));
        let refusal = door.visit(client, "localhost").await.not_believed();
        assert_eq!(refusal, fleet.refused());
        assert_eq!(declines.take(), declined(&revoked(by, &on_list)));
    }
}

#[tokio::test]
async fn r10_a_ticket_under_a_stale_list_is_declined_unless_that_is_accepted() {
    for (version, accepted) in on_versions([false, true]) {
        let door =
            Door::open_as(
                |spec| {
                    if accepted { spec.accept_stale_revocation_lists() } else { spec }
                },
            );
        let ca = TestCa::root("fleet");
        let [device, on_list] = ["device", "revoked"].map(|name| ca.device(name));
        let clients = [&device, &on_list].map(|device| client(Some(device), version));
        door.register(&ca, Active).unwrap();
        for client in &clients {
            assert_eq!(come(&door, client).await.0, Full);
        }
        let until = |number, end, on_list: &[_]| {
            let list = ca.list(number, on_list, |list| list.next_update = date(NOW + end));
            door.load(&ca, &list).unwrap();
        };
        until(1, 60, &[on_list.serial()]);
        door.clock.set(NOW + 60);
        assert_eq!(come(&door, &clients[0]).await.0, Resumed);
        door.clock.set(NOW + 61);
        let mut declines = Declines::watch();
        let visit = door.visit(clients[1].clone(), "localhost").await;
        let expected = revoked(&ca, &on_list.serial());
        assert_eq!(
            (visit.not_believed(), declines.take()),
            (expected.clone(), declined(&expected))
        );
        if accepted {
            assert_eq!(come(&door, &clients[0]).await.0, Resumed);
            continue;
        }
        let visit = door.visit(clients[0].clone(), "localhost").await;
        let expected = Refusal::StaleRevocationList(ca.serial());
        assert_eq!(
            (visit.not_believed(), declines.take()),
            (expected.clone(), declined(&expected))
        );
        until(2, 600, &[]);
        come(&door, &clients[0]).await;
        assert_eq!(come(&door, &clients[0]).await.0, Resumed);
    }
}

#[tokio::test]
async fn r10_where_lists_are_required_a_ticket_is_taken_that_all_of_them_are_there_for() {
    for version in VERSIONS {
        let door = Door::open_as(InstanceSpec::require_revocation_lists);
        let ca = TestCa::root("fleet");
        let client = client(Some(&ca.device("device")), version);
        door.register(&ca, Active).unwrap();
        door.revoke(&ca, 1, &[]);
        assert_eq!(come(&door, &client).await.0, Full);
        assert_eq!(come(&door, &client).await.0, Resumed);
    }
}

#[tokio::test]
async fn l01_after_a_list_at_any_step_of_a_resumed_handshake_no_stream_is_handed_out() {
    for (version, age) in on_versions(AGES) {
        let ca = TestCa::root("fleet");
        let [device, neighbour] = ["device", "neighbour"].map(|name| ca.device(name));
        let config = in_small_records(client(Some(&device), version));
        let mut steps = 0;
        while let Some((door, mut held, (now, later))) = resuming(&ca, &config, age, steps).await {
            held.pass(now).await;
            door.revoke(&ca, 1, &[device.serial()]);
            let refusal = held.release_with(later).await.turned_away_at_the_gate();
            assert_eq!(refusal, revoked(&ca, &device.serial()), "step {steps}");
            assert_eq!(door.instance.connections(), 0);
            // What it may have been handed as a ticket meanwhile is of no use.
            let refusal = door.visit(config.clone(), "localhost").await.not_believed();
            assert_eq!(refusal, revoked(&ca, &device.serial()));

            let (door, mut held, (now, later)) = resuming(&ca, &config, age, steps).await.unwrap();
            held.pass(now).await;
            door.revoke(&ca, 1, &[neighbour.serial()]);
            assert!(held.release_with(later).await.admitted().await.is_resumed());
            steps += 1;
        }
        assert!(steps > 1, "there is more than one step");
    }
}

#[test]
fn r10_in_loops_of_ones_own_a_ticket_is_declined_and_a_resumed_handshake_stopped_at_the_gate() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        door.register(&ca, Active).unwrap();
        let [device, neighbour] = ["device", "neighbour"].map(|name| ca.device(name));
        let [config, its_config] =
            [&device, &neighbour].map(|device| client(Some(device), version).into());
        let resume = |config| {
            let (context, shaken) = shaken(&door, config);
            let server = shaken.unwrap().server;
            assert_eq!(server.handshake_kind(), Some(Resumed));
            (context, server)
        };
        for config in [&config, &its_config] {
            let (context, shaken) = shaken(&door, config);
            drop(context.admit(&shaken.unwrap().server).unwrap());
        }
        let ((context, server), (its_context, its_server)) = (resume(&config), resume(&its_config));
        door.revoke(&ca, 1, &[device.serial()]);
        let refusal = context.admit(&server).unwrap_err();
        assert_eq!(refusal, revoked(&ca, &device.serial()));
        drop(its_context.admit(&its_server).unwrap());
        assert!(shaken(&door, &config).1.is_err());
        let (context, server) = resume(&its_config);
        drop(context.admit(&server).unwrap());
    }
}

#[tokio::test]
async fn l02_what_was_resumed_before_its_issuer_was_registered_ends_with_its_list() {
    for version in VERSIONS {
        let (door, root) = (Door::open(), TestCa::root("root"));
        let sub = root.child("sub");
        let devices = ["device", "neighbour"].map(|name| sub.device(name).with_chain(&[&sub]));
        door.register(&root, Active).unwrap();
        let [mut lines, mut others] = [vec![], vec![]];
        for (device, lines) in devices.iter().zip([&mut lines, &mut others]) {
            let config = client(Some(device), version);
            for is_resumed in [false, true] {
                let mut line = Line::tried(&door, config.clone()).await.unwrap();
                line.exchange().await;
                assert_eq!(line.server.is_resumed(), is_resumed);
                lines.push(line);
            }
        }
        door.register(&sub, Active).unwrap();
        assert_eq!(count(door.revoke(&sub, 1, &[devices[0].serial()]).connections), (2, 0));
        assert_all_over(lines, &Ended::Revoked(sub.serial())).await;
        assert_all_up(&mut others).await;
        assert_eq!(count(door.revoke(&root, 1, &[sub.serial()]).connections), (2, 0));
        assert_all_over(others, &Ended::Revoked(root.serial())).await;
    }
}
