//! What an intruder found. Each of these fails.

use mqtls::CaStatus::Active;
use mqtls::control::Cause;
use mqtls::trust::Refusal;
use mqtls::{
    Caller, DeviceCertificate, DeviceStatus, InactivateDeviceCertificate, InstanceSpec,
    LoadRevocationList, Provisioning, RegisterDeviceCertificate, RevocationList,
};

use crate::devices::signed_otherwise;
use crate::list_draft::ListDraft;
use crate::support::{
    Door, Examinations, HeldHandshake, Identity, Log, NOW, TestCa, VERSIONS, client, date,
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

/// A serial number is unique for its issuer, and the registered CA need not be that.
#[tokio::test]
async fn two_devices_of_two_issuers_below_one_registered_ca_may_have_one_serial() {
    let door = Door::open();
    let root = TestCa::root("root");
    door.register(&root, Active).unwrap();
    let [victim, squatter] = ["sub one", "sub two"].map(|name| {
        let sub = root.child(name);
        let first = |params: &mut rcgen::CertificateParams| {
            params.serial_number = Some(rcgen::SerialNumber::from(1));
        };
        sub.device_with("device", first).with_chain(&[&sub])
    });
    let _up = door.knock(Some(&squatter), VERSIONS[1]).await.admitted().await;
    let visit = door.knock(Some(&victim), VERSIONS[1]).await;
    assert!(visit.server.is_ok(), "{:?}", visit.server);
}

/// README, "What is promised" (5): nothing about the device has changed when the handshake ends.
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
    let shown = connection.device().unwrap();
    let operation = InactivateDeviceCertificate {
        mqtt_instance_id: door.instance.id().clone(),
        ca_sn: shown.ca_serial().clone(),
        device_sn: shown.serial().clone(),
    };
    assert!(operation.apply(&door.instances, &Caller::local()).unwrap().changed);
}

/// A mismatch of a ticket is declined, never failed (DESIGN, "Resumption").
#[tokio::test]
async fn r07_a_certificate_signed_otherwise_that_came_in_on_a_record_under_another_ca_may_come_back()
 {
    let door = Door::open_as(|spec| spec.provisioning(Provisioning::RegisteredOnly));
    let ca = TestCa::root("fleet");
    let device = ca.device("device");
    door.register(&ca, Active).unwrap();
    register(&door, &ca, &device, DeviceStatus::Active);
    door.register(&ca.twin(|_| {}), Active).unwrap();
    door.deactivate(&ca);
    let config = client(Some(&signed_otherwise(&device)), VERSIONS[1]);
    for _ in 0..3 {
        let visit = door.visit(config.clone(), "localhost").await;
        assert!(visit.server.is_ok(), "{:?}", visit.server);
        drop(visit.admitted().await);
    }
}

/// Expired certificates hold their places for ever: a fleet whose certificates are renewed fills the
/// house by itself.
#[tokio::test]
async fn records_of_expired_certificates_keep_no_renewed_device_out() {
    let (door, ca, _) = full_house();
    let old = ca.device_with("device", |params| params.not_after = date(NOW + 100));
    drop(door.knock(Some(&old), VERSIONS[1]).await.admitted().await);
    door.clock.set(NOW + 1000);
    door.instance.sweep();
    let renewed = ca.device("device");
    let visit = door.knock(Some(&renewed), VERSIONS[1]).await;
    assert!(visit.server.is_ok(), "{:?}", visit.server);
}

/// Whoever wrote a list writes lines of its own into the operator's log.
#[test]
fn the_issuer_of_a_list_is_escaped_in_the_log() {
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    door.register(&ca, Active).unwrap();
    let evil = ListDraft::by("x\n2026-01-01T00:00:00Z  INFO operation applied \u{1b}[2K");
    let operation = LoadRevocationList {
        mqtt_instance_id: door.instance.id().clone(),
        sn: ca.serial(),
        revocation_list: RevocationList::from_der(&evil.unsigned()).unwrap(),
    };
    let log = Log::start();
    let error = operation.apply(&door.instances, &Caller::local()).unwrap_err();
    assert!(matches!(error.cause(), Cause::Revocation(_)));
    for line in log.so_far() {
        assert!(!line.text.contains(['\n', '\u{1b}']), "{:?}", line.text);
    }
}
