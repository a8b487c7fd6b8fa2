//! Devices whose certificates are on record under one CA and who come through another, and places that
//! are few.

use mqtls::CaStatus::Active;
use mqtls::trust::Refusal;
use mqtls::{
    Caller, DeviceCertificate, DeviceStatus, InactivateDeviceCertificate, InstanceSpec,
    Provisioning, RegisterDeviceCertificate,
};

use crate::line::Line;
use crate::live::count;
use crate::support::{
    Door, Examinations, HeldHandshake, Identity, NOW, TestCa, VERSIONS, client, date,
    in_small_records,
};
use crate::ticket_tools::come;

fn register(door: &Door, ca: &TestCa, device: &Identity, status: DeviceStatus) {
    RegisterDeviceCertificate {
        mqtt_instance_id: door.instance.id().clone(),
        ca_sn: ca.serial(),
        status,
        certificate: DeviceCertificate::from_der(device.chain.clone()).unwrap(),
    }
    .apply(&door.instances, &Caller::local())
    .unwrap();
}

fn full_house() -> (Door, TestCa, Identity) {
    let door = Door::open_as(|spec: InstanceSpec| spec.max_devices(1));
    let ca = TestCa::root("fleet");
    let device = ca.device("device");
    door.register(&ca, Active).unwrap();
    (door, ca, device)
}

/// P2: "Twin: one inactive, one active: accept through the active one." max_devices: "whoever is on
/// record comes in as before".
#[tokio::test]
async fn p02_at_the_limit_who_is_on_record_comes_in_through_the_renewed_twin() {
    let (door, ca, device) = full_house();
    drop(door.knock(Some(&device), VERSIONS[1]).await.admitted().await);
    door.register(&ca.twin(|_| {}), Active).unwrap();
    door.deactivate(&ca);
    let visit = door.knock(Some(&device), VERSIONS[1]).await;
    assert!(visit.server.is_ok(), "{:?}", visit.server);
}

/// The same once the old one is active again: the hint of the last success goes on pointing to the
/// twin.
#[tokio::test]
async fn at_the_limit_a_ca_that_was_off_for_a_moment_has_its_devices_back() {
    let door = Door::open_as(|spec: InstanceSpec| spec.max_devices(2));
    let ca = TestCa::root("fleet");
    let (device, other) = (ca.device("device"), ca.device("other"));
    let twin = ca.twin(|_| {});
    door.register(&ca, Active).unwrap();
    drop(door.knock(Some(&device), VERSIONS[1]).await.admitted().await);
    door.register(&twin, Active).unwrap();
    door.deactivate(&ca);
    drop(door.knock(Some(&other), VERSIONS[1]).await.admitted().await);
    door.activate(&ca);
    let visit = door.knock(Some(&device), VERSIONS[1]).await;
    assert!(visit.server.is_ok(), "{:?}", visit.server);
}

/// A change that only widens keeps devices out that are on record and were in.
#[tokio::test]
async fn at_the_limit_registering_a_sub_ca_keeps_nobody_out_who_is_on_record() {
    let (door, root, _) = full_house();
    let sub = root.child("sub");
    let device = sub.device("device").with_chain(&[&sub]);
    drop(door.knock(Some(&device), VERSIONS[1]).await.admitted().await);
    door.register(&sub, Active).unwrap();
    let visit = door.knock(Some(&device), VERSIONS[1]).await;
    assert!(visit.server.is_ok(), "{:?}", visit.server);
}

/// A record has two serial numbers for its name, and operators know no other.
#[tokio::test]
async fn of_two_issuers_below_one_registered_ca_each_is_registered_where_both_count_from_one() {
    let door = Door::open();
    let root = TestCa::root("root");
    door.register(&root, Active).unwrap();
    let subs = ["sub one", "sub two"].map(|name| root.child(name));
    let [first, second] = subs.each_ref().map(|sub| {
        let first = |params: &mut rcgen::CertificateParams| {
            params.serial_number = Some(rcgen::SerialNumber::from(1));
        };
        sub.device_with("device", first).with_chain(&[sub])
    });
    let _up = door.knock(Some(&first), VERSIONS[1]).await.admitted().await;
    let refusal = door.knock(Some(&second), VERSIONS[1]).await.not_believed();
    assert_eq!(refusal, Refusal::DeviceConflict(second.serial()));
    door.register(&subs[1], Active).unwrap();
    let _up = door.knock(Some(&second), VERSIONS[1]).await.admitted().await;
}

/// README, "Security" (5): nothing about the device has changed when the handshake ends.
#[tokio::test]
async fn r05_a_change_of_a_record_under_another_ca_stops_a_first_handshake_under_way() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        let device = ca.device("device");
        door.register(&ca, Active).unwrap();
        drop(door.knock(Some(&device), version).await.admitted().await);
        door.register(&ca.twin(|_| {}), Active).unwrap();
        door.deactivate(&ca);

        let examinations = Examinations::watch();
        let client = client(Some(&device), version);
        let config = in_small_records(client.clone());
        let (mut held, mut records) = HeldHandshake::up_to_the_certificate(&door, config).await;
        let finished = records.pop_back().unwrap();
        held.pass(records).await;
        examinations.next().await;
        assert!(door.deactivate_device(&ca, &device).changed);
        assert!(door.activate_device(&ca, &device).changed);
        let visit = held.release_with([finished]).await;
        match &visit.server {
            Err(mqtls::Refused::Device(Refusal::DeviceChangedMeanwhile(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The same of a handshake whose verifier is asked only after both changes. Where only registered
/// devices come in it is stopped: `see` is asked of the record there, and not here.
#[tokio::test]
async fn l01_a_change_of_a_record_under_another_ca_before_the_verifier_is_asked_stops_it_too() {
    for provisioning in [Provisioning::RegisteredOnly, Provisioning::Automatic] {
        let door = Door::open_as(|spec| spec.provisioning(provisioning));
        let ca = TestCa::root("fleet");
        let device = ca.device("device");
        door.register(&ca, Active).unwrap();
        register(&door, &ca, &device, DeviceStatus::Active);
        door.register(&ca.twin(|_| {}), Active).unwrap();
        door.deactivate(&ca);
        let config = in_small_records(client(Some(&device), VERSIONS[1]));
        let (held, records) = HeldHandshake::up_to_the_certificate(&door, config).await;
        assert!(door.deactivate_device(&ca, &device).changed);
        assert!(door.activate_device(&ca, &device).changed);
        let visit = held.release_with(records).await;
        assert!(
            matches!(
                &visit.server,
                Err(mqtls::Refused::Device(Refusal::DeviceChangedMeanwhile(_)))
            ),
            "{provisioning:?}: {:?}",
            visit.server
        );
    }
}

/// `InactivateDeviceCertificate`: "When this has returned the device is not let in, be its handshake
/// under way". Its record is deleted afterwards; the memory of deletions is asked for the pair of the
/// CA that the handshake leads to only.
#[tokio::test]
async fn l01_a_handshake_under_way_outlives_no_record_that_was_inactive_under_another_ca() {
    for through_twin in [false, true] {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        let device = ca.device("device");
        door.register(&ca, Active).unwrap();
        register(&door, &ca, &device, DeviceStatus::Active);
        if through_twin {
            door.register(&ca.twin(|_| {}), Active).unwrap();
            door.deactivate(&ca);
        }
        let config = in_small_records(client(Some(&device), VERSIONS[1]));
        let (held, records) = HeldHandshake::up_to_the_certificate(&door, config).await;
        assert!(door.deactivate_device(&ca, &device).changed);
        door.delete_device(&ca, &device);
        let visit = held.release_with(records).await;
        assert!(visit.server.is_err(), "through the twin: {through_twin}: {:?}", visit.server);
    }
}

/// The same where the record goes with its CA, and the device comes through that CA's renewed twin.
#[tokio::test]
async fn l01_a_handshake_under_way_outlives_no_inactive_record_that_goes_with_its_ca() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        let device = ca.device("device");
        door.register(&ca, Active).unwrap();
        register(&door, &ca, &device, DeviceStatus::Active);
        door.register(&ca.twin(|_| {}), Active).unwrap();
        door.deactivate(&ca);
        let config = in_small_records(client(Some(&device), version));
        let (held, records) = HeldHandshake::up_to_the_certificate(&door, config).await;
        assert!(door.deactivate_device(&ca, &device).changed);
        assert_eq!(door.delete(&ca).inactive_devices, 1);
        let refusal = held.release_with(records).await.not_believed();
        assert_eq!(refusal, Refusal::DeviceChangedMeanwhile(device.serial()));
        // As the answer said: nothing keeps it out of the twin any more.
        let _next = door.knock(Some(&device), version).await.admitted().await;
    }
}

/// README, "Security" (5), where the record on which the device comes in goes with its CA.
#[tokio::test]
async fn l01_who_comes_through_a_twin_is_turned_away_where_the_ca_of_its_record_is_deleted() {
    for version in VERSIONS {
        let door = Door::open_as(|spec| spec.provisioning(Provisioning::RegisteredOnly));
        let ca = TestCa::root("fleet");
        let device = ca.device("device");
        door.register(&ca, Active).unwrap();
        register(&door, &ca, &device, DeviceStatus::Active);
        door.register(&ca.twin(|_| {}), Active).unwrap();
        door.deactivate(&ca);
        let examinations = Examinations::watch();
        let config = in_small_records(client(Some(&device), version));
        let (mut held, mut records) = HeldHandshake::up_to_the_certificate(&door, config).await;
        let last = records.pop_back().unwrap();
        held.pass(records).await;
        examinations.next().await;
        assert_eq!(door.delete(&ca).devices, 1);
        let refusal = held.release_with([last]).await.turned_away_at_the_gate();
        assert_eq!(refusal, Refusal::DeviceChangedMeanwhile(device.serial()));
        assert_eq!(door.instance.connections(), 0);
    }
}

/// R5: "Deactivate between verification and ticket issue: that ticket is useless."
#[tokio::test]
async fn r05_a_ticket_issued_behind_a_change_under_another_ca_is_declined() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        let device = ca.device("device");
        door.register(&ca, Active).unwrap();
        register(&door, &ca, &device, DeviceStatus::Active);
        door.register(&ca.twin(|_| {}), Active).unwrap();
        door.deactivate(&ca);
        let examinations = Examinations::watch();
        let client = client(Some(&device), version);
        let config = in_small_records(client.clone());
        let (mut held, mut records) = HeldHandshake::up_to_the_certificate(&door, config).await;
        let finished = records.pop_back().unwrap();
        held.pass(records).await;
        examinations.next().await;
        door.deactivate_device(&ca, &device);
        door.activate_device(&ca, &device);
        held.pass([finished]).await;
        drop(held.release().await);
        assert_eq!(come(&door, &client).await.0, rustls::HandshakeKind::Full);
    }
}

/// The identity that a connection shows is that under which its device is switched off.
#[tokio::test]
async fn a_device_is_switched_off_by_what_its_connection_says_of_it() {
    let door = Door::open_as(|spec| spec.provisioning(Provisioning::RegisteredOnly));
    let ca = TestCa::root("fleet");
    let device = ca.device("device");
    door.register(&ca, Active).unwrap();
    register(&door, &ca, &device, DeviceStatus::Active);
    door.register(&ca.twin(|_| {}), Active).unwrap();
    door.deactivate(&ca);
    let connection = door.knock(Some(&device), VERSIONS[1]).await.admitted().await;
    let record = connection.record().unwrap();
    let operation = InactivateDeviceCertificate {
        mqtt_instance_id: door.instance.id().clone(),
        ca_sn: record.ca_serial().clone(),
        device_sn: record.serial().clone(),
    };
    let done = operation.apply(&door.instances, &Caller::local()).unwrap();
    assert_eq!((done.changed, done.connections.ended), (true, 1));
}

#[tokio::test]
async fn a_dry_run_of_switching_off_counts_what_came_in_on_each_record_of_the_certificate() {
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    let (twin, device) = (ca.twin(|_| {}), ca.device("device"));
    for known in [&ca, &twin] {
        door.register(known, Active).unwrap();
        register(&door, known, &device, DeviceStatus::Active);
    }
    let mut line = Line::up(&door, Some(&device), VERSIONS[1]).await;
    let foreseen = |under: &TestCa| {
        let operation = InactivateDeviceCertificate {
            mqtt_instance_id: door.instance.id().clone(),
            ca_sn: under.serial(),
            device_sn: device.serial(),
        };
        let answer = operation.dry_run(&door.instances, &Caller::local()).unwrap();
        (answer.changed, count(answer.connections), answer.also_under)
    };
    assert_eq!(foreseen(&ca), (true, (1, 0), vec![twin.serial()]));
    assert_eq!(foreseen(&twin), (true, (1, 0), vec![ca.serial()]));
    line.exchange().await;

    let done = door.deactivate_device(&twin, &device);
    assert_eq!((done.changed, count(done.connections)), (true, (1, 0)));
    assert_eq!(foreseen(&twin), (false, (0, 0), vec![ca.serial()]));
    assert_eq!(foreseen(&ca), (true, (0, 0), vec![twin.serial()]));

    assert_eq!(door.delete_device(&ca, &device).also_under, [twin.serial()]);
    assert_eq!(door.delete_device(&twin, &device).also_under, []);
}

/// Expired certificates hold their places for ever: a fleet whose certificates are renewed fills the
/// house by itself.
#[tokio::test]
async fn records_of_expired_certificates_keep_no_renewed_device_out() {
    let (door, ca, _) = full_house();
    let old = ca.device_with("device", |params| params.not_after = date(NOW + 100));
    let up = door.knock(Some(&old), VERSIONS[1]).await.admitted().await;
    door.clock.set(NOW + 1000);
    door.instance.sweep();
    let has_record = || door.instance.trust().device(&ca.serial(), &old.serial()).is_some();
    assert!(has_record(), "its connection is ended, but not dropped yet");
    drop(up);
    door.instance.sweep();
    let renewed = ca.device("device");
    let _up = door.knock(Some(&renewed), VERSIONS[1]).await.admitted().await;
    assert!(!has_record());

    // One that is there to keep somebody out stays, and so does one whose time has not come.
    door.deactivate_device(&ca, &renewed);
    door.clock.set(NOW + 100_000_000_000);
    door.instance.sweep();
    assert_eq!(door.instance.trust().device_count(), 1);
}

/// Where there is room, a record is kept: an operator may want to know what once came.
#[tokio::test]
async fn an_expired_device_stays_on_record_while_there_is_room() {
    let door = Door::open_as(|spec: InstanceSpec| spec.max_devices(20));
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    for at in 0..18 {
        let device = ca.device_with("device", |params| params.not_after = date(NOW + 100 + at));
        drop(door.knock(Some(&device), VERSIONS[1]).await.admitted().await);
        if at == 16 {
            door.clock.set(NOW + 110);
            door.instance.sweep();
            assert_eq!(door.instance.trust().device_count(), 17);
        }
    }
    door.instance.sweep();
    assert_eq!(door.instance.trust().device_count(), 8, "those until 110 and later");
}

#[tokio::test]
async fn a_stolen_device_can_be_registered_as_inactive_where_no_room_is_left() {
    let (door, ca, device) = full_house();
    let stolen = ca.device("stolen");
    drop(door.knock(Some(&device), VERSIONS[1]).await.admitted().await);
    register(&door, &ca, &stolen, DeviceStatus::Inactive);
    door.delete_device(&ca, &device);
    let refusal = door.knock(Some(&stolen), VERSIONS[1]).await.not_believed();
    assert!(matches!(refusal, Refusal::InactiveDevice { .. }));
}
