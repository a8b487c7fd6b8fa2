//! The devices on record: when one is recorded, and what switching one off does to it and to nobody
//! else.

use std::time::Duration;

use mqtls::CaStatus::{Active, Inactive};
use mqtls::control::{Cause, DeviceRecord, ErrorCode};
use mqtls::trust::Refusal;
use mqtls::{
    Caller, ClientAuth, DeviceStatus, Ended, GetDeviceCertificate, InactivateDeviceCertificate,
    InstanceSpec, LiveChange, OperationError, Outcome, SerialNumber,
};
use rcgen::DnType;
use rustls_pki_types::UnixTime;

use crate::line::{Line, on_versions};
use crate::list_draft::{integer, sequence, tlv};
use crate::live::count;
use crate::support::{
    Door, Examinations, HeldHandshake, Identity, NOW, TestCa, VERSIONS, client, in_small_records,
    thief,
};

fn get(door: &Door, ca: &TestCa, device: &Identity) -> Result<DeviceRecord, OperationError> {
    let mqtt_instance_id = door.instance.id().clone();
    let (ca_sn, device_sn) = (ca.serial(), device.serial());
    let operation = GetDeviceCertificate { mqtt_instance_id, ca_sn, device_sn };
    operation.apply(&door.instances, &Caller::local()).map(|response| response.device)
}

fn at(second: u64) -> Option<UnixTime> {
    Some(UnixTime::since_unix_epoch(Duration::from_secs(second)))
}

/// A door, and a CA that it knows.
fn known_fleet() -> (Door, TestCa) {
    known_fleet_at(Door::open())
}

fn known_fleet_at(door: Door) -> (Door, TestCa) {
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    (door, ca)
}

fn inactive(ca: &TestCa, device: &Identity) -> Refusal {
    Refusal::InactiveDevice { ca_serial: ca.serial(), serial: device.serial() }
}

#[tokio::test]
async fn a_device_is_recorded_with_its_first_handshake_and_counted_with_each() {
    for version in VERSIONS {
        let (door, ca) = known_fleet();
        let device = ca.device("sensor 17");
        let unknown = get(&door, &ca, &device).unwrap_err();
        assert_eq!(unknown.code(), ErrorCode::FindDeviceBySnError);
        assert!(matches!(unknown.cause(), Cause::NoSuchDevice { .. }));

        let _first = door.knock(Some(&device), version).await.admitted().await;
        let record = get(&door, &ca, &device).unwrap();
        assert_eq!(record.name.as_deref(), Some("sensor 17"));
        assert_eq!((record.ca_sn, record.device_sn), (ca.serial(), device.serial()));
        assert_eq!((record.status, record.let_in), (DeviceStatus::Active, true));
        assert_eq!(record.certificate, *device.end_entity());
        assert_eq!((record.first_seen, record.last_seen), (at(NOW), at(NOW)));
        assert_eq!((record.connections, record.live_connections), (1, 1));

        door.clock.set(NOW + 100);
        drop(door.knock(Some(&device), version).await.admitted().await);
        let record = get(&door, &ca, &device).unwrap();
        assert_eq!((record.first_seen, record.last_seen), (at(NOW), at(NOW + 100)));
        assert_eq!((record.connections, record.live_connections), (2, 1));
        assert_eq!(door.instance.trust().device_count(), 1);
        assert_eq!(door.instance.trust().get(&ca.serial()).unwrap().devices(), 1);
    }
}

#[tokio::test]
async fn a_resumed_connection_counts_and_an_anonymous_one_makes_no_record() {
    for version in VERSIONS {
        let (door, ca) = known_fleet_at(Door::open_with(ClientAuth::Optional));
        let device = ca.device("device");
        let config = client(Some(&device), version);
        for resumed in [false, true, true] {
            let connection = door.visit(config.clone(), "localhost").await.admitted().await;
            assert_eq!(connection.is_resumed(), resumed);
        }
        let _anonymous = door.knock(None, version).await.admitted().await;
        let record = get(&door, &ca, &device).unwrap();
        assert_eq!((record.connections, record.live_connections), (3, 0));
        assert_eq!(door.instance.trust().device_count(), 1);
    }
}

#[tokio::test]
async fn a_name_is_recorded_where_there_is_exactly_one() {
    let (door, ca) = known_fleet();
    let two = ca.device_with("one", |params| {
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "two");
    });
    let none = ca.device_with("gone", |params| params.distinguished_name = Default::default());
    for device in [two, none] {
        let _up = door.knock(Some(&device), VERSIONS[1]).await.admitted().await;
        assert_eq!(get(&door, &ca, &device).unwrap().name, None);
    }
}

#[tokio::test]
async fn p10_nobody_is_recorded_before_the_proof_nor_where_the_gate_refuses() {
    for version in VERSIONS {
        let (door, ca) = known_fleet();
        let device = ca.device("device");
        let stolen = thief(&device, &ca.device("thief"), version);
        assert!(door.visit(stolen, "localhost").await.server.is_err());
        assert_eq!(door.instance.trust().device_count(), 0);

        let examinations = Examinations::watch();
        let config = in_small_records(client(Some(&device), version));
        let (mut held, mut records) = HeldHandshake::up_to_the_certificate(&door, config).await;
        let last = records.split_off(records.len() - 1);
        held.pass(records).await;
        examinations.next().await;
        assert_eq!(door.instance.trust().device_count(), 0);
        // The chain is good and the key its own; the CA changes before the gate.
        door.deactivate(&ca);
        door.activate(&ca);
        let refusal = held.release_with(last).await.turned_away_at_the_gate();
        assert_eq!(refusal, Refusal::ChangedMeanwhile(ca.serial()));
        assert_eq!(door.instance.trust().device_count(), 0);
        let _up = door.knock(Some(&device), version).await.admitted().await;
        assert_eq!(door.instance.trust().device_count(), 1);
    }
}

#[tokio::test]
async fn l02_an_inactive_device_is_refused_and_its_connections_end_and_nobody_elses() {
    for version in VERSIONS {
        let (door, ca) = known_fleet();
        let (device, other) = (ca.device("device"), ca.device("other"));
        let lines = Line::several(3, &door, &device, version).await;
        let mut others = Line::several(2, &door, &other, version).await;
        assert_eq!(count(foresee(&door, &ca, &device)), (3, 0));
        let response = door.deactivate_device(&ca, &device);
        assert_eq!((response.changed, count(response.connections)), (true, (3, 0)));
        let (ca_serial, serial) = (ca.serial(), device.serial());
        for line in lines {
            line.assert_over(&Ended::DeviceInactive {
                ca_serial: ca_serial.clone(),
                serial: serial.clone(),
            })
            .await;
        }
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, inactive(&ca, &device));
        assert_eq!(door.instances.stats().of(Outcome::InactiveDevice), 1);
        for line in &mut others {
            line.exchange().await;
        }
        let _up = door.knock(Some(&other), version).await.admitted().await;

        let again = door.deactivate_device(&ca, &device);
        assert_eq!((again.changed, count(again.connections)), (false, (0, 0)));
        assert!(door.activate_device(&ca, &device).changed);
        assert!(!door.activate_device(&ca, &device).changed);
        let _back = door.knock(Some(&device), version).await.admitted().await;
        for line in &mut others {
            line.exchange().await;
        }
    }
}

fn foresee(door: &Door, ca: &TestCa, device: &Identity) -> LiveChange {
    let operation = InactivateDeviceCertificate {
        mqtt_instance_id: door.instance.id().clone(),
        ca_sn: ca.serial(),
        device_sn: device.serial(),
    };
    operation.dry_run(&door.instances, &Caller::local()).unwrap().connections
}

#[tokio::test]
async fn l02_a_device_that_is_deleted_ends_and_its_next_handshake_records_it_anew() {
    for (version, was_inactive) in on_versions([false, true]) {
        let (door, ca) = known_fleet();
        let (device, other) = (ca.device("device"), ca.device("other"));
        let line = Line::up(&door, Some(&device), version).await;
        let mut untouched = Line::up(&door, Some(&other), version).await;
        if was_inactive {
            door.deactivate_device(&ca, &device);
        }
        let response = door.delete_device(&ca, &device);
        assert_eq!(count(response.connections), (usize::from(!was_inactive), 0));
        let (ca_serial, serial) = (ca.serial(), device.serial());
        line.assert_over(&match was_inactive {
            true => Ended::DeviceInactive { ca_serial, serial },
            false => Ended::DeviceDeleted { ca_serial, serial },
        })
        .await;
        assert_eq!(get(&door, &ca, &device).unwrap_err().code(), ErrorCode::FindDeviceBySnError);
        assert_eq!(door.instance.trust().device_count(), 1);
        let _back = door.knock(Some(&device), version).await.admitted().await;
        let record = get(&door, &ca, &device).unwrap();
        assert_eq!((record.status, record.connections), (DeviceStatus::Active, 1));
        untouched.exchange().await;
    }
}

#[tokio::test]
async fn kept_connections_stay_up_and_the_device_is_refused_all_the_same() {
    for (version, delete) in on_versions([false, true]) {
        let (door, ca) = known_fleet_at(Door::open_as(InstanceSpec::keep_connections));
        let device = ca.device("device");
        let mut lines = Line::several(2, &door, &device, version).await;
        assert_eq!(count(foresee(&door, &ca, &device)), (0, 2));
        assert_eq!(count(door.deactivate_device(&ca, &device).connections), (0, 2));
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, inactive(&ca, &device));
        if delete {
            assert_eq!(count(door.delete_device(&ca, &device).connections), (0, 2));
        }
        for line in &mut lines {
            line.exchange().await;
        }
        drop(lines);
        assert_eq!(door.instance.connections(), 0);
    }
}

#[tokio::test]
async fn another_certificate_with_a_recorded_serial_is_a_conflict() {
    for version in VERSIONS {
        let (door, ca) = known_fleet();
        let numbered = |name| {
            ca.device_with(name, |params| params.serial_number = Some(rcgen::SerialNumber::from(7)))
        };
        let (first, second) = (numbered("first"), numbered("second"));
        let mut line = Line::up(&door, Some(&first), version).await;
        let refusal = door.knock(Some(&second), version).await.not_believed();
        assert_eq!(refusal, Refusal::DeviceConflict("07".parse().unwrap()));
        assert_eq!(door.instances.stats().of(Outcome::DeviceConflict), 1);
        line.exchange().await;
        let _again = door.knock(Some(&first), version).await.admitted().await;
        // Once the first is forgotten the other one has the number.
        door.delete_device(&ca, &first);
        let _up = door.knock(Some(&second), version).await.admitted().await;
        let refusal = door.knock(Some(&first), version).await.not_believed();
        assert_eq!(refusal, Refusal::DeviceConflict("07".parse().unwrap()));

        // Of another CA the same number is another device's.
        let elsewhere = TestCa::root("elsewhere");
        door.register(&elsewhere, Active).unwrap();
        let third = elsewhere.device_with("third", |params| {
            params.serial_number = Some(rcgen::SerialNumber::from(7))
        });
        let _up = door.knock(Some(&third), version).await.admitted().await;
    }
}

#[tokio::test]
async fn of_two_certificates_with_one_serial_in_first_handshakes_the_gate_takes_one() {
    for version in VERSIONS {
        let (door, ca) = known_fleet();
        let numbered = |name| {
            ca.device_with(name, |params| params.serial_number = Some(rcgen::SerialNumber::from(7)))
        };
        let (first, second) = (numbered("first"), numbered("second"));
        let examinations = Examinations::watch();
        let config = in_small_records(client(Some(&second), version));
        let (mut held, mut records) = HeldHandshake::up_to_the_certificate(&door, config).await;
        let last = records.pop_back().unwrap();
        held.pass(records).await;
        examinations.next().await;
        let _up = door.knock(Some(&first), version).await.admitted().await;
        let refusal = held.release_with([last]).await.turned_away_at_the_gate();
        assert_eq!(refusal, Refusal::DeviceConflict("07".parse().unwrap()));
        assert_eq!(get(&door, &ca, &first).unwrap().certificate, *first.end_entity());
    }
}

#[tokio::test]
async fn an_inactive_certificate_is_refused_whichever_ca_it_comes_through() {
    for version in VERSIONS {
        let (door, ca) = known_fleet();
        let device = ca.device("device");
        let first = Line::up(&door, Some(&device), version).await;
        // The renewed twin takes over.
        let twin = ca.twin(|_| {});
        door.register(&twin, Active).unwrap();
        door.deactivate(&ca);
        let ended = Ended::CaInactive(ca.serial());
        first.assert_over(&ended).await;
        let second = Line::up(&door, Some(&device), version).await;
        assert_eq!(get(&door, &twin, &device).unwrap().connections, 1);

        // Switched off under the CA through which it does not come anymore.
        let response = door.deactivate_device(&ca, &device);
        assert_eq!(
            (response.also_under, count(response.connections)),
            (vec![twin.serial()], (1, 0))
        );
        let (ca_serial, serial) = (ca.serial(), device.serial());
        second.assert_over(&Ended::DeviceInactive { ca_serial, serial }).await;
        assert!(matches!(
            door.knock(Some(&device), version).await.not_believed(),
            Refusal::InactiveDevice { .. }
        ));
        let record = get(&door, &twin, &device).unwrap();
        assert_eq!((record.status, record.let_in), (DeviceStatus::Active, false));

        // Also where it was not recorded under the other one yet.
        door.delete_device(&twin, &device);
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, inactive(&ca, &device));

        let response = door.activate_device(&ca, &device);
        assert!(response.changed && response.let_in);
        let _back = door.knock(Some(&device), version).await.admitted().await;
    }
}

#[tokio::test]
async fn while_one_of_two_records_is_inactive_activating_the_other_lets_nobody_in() {
    let (door, ca) = known_fleet();
    let device = ca.device("device");
    let twin = ca.twin(|_| {});
    let _up = door.knock(Some(&device), VERSIONS[1]).await.admitted().await;
    door.register(&twin, Active).unwrap();
    door.deactivate(&ca);
    let _up = door.knock(Some(&device), VERSIONS[1]).await.admitted().await;
    for ca in [&ca, &twin] {
        door.deactivate_device(ca, &device);
    }
    let response = door.activate_device(&twin, &device);
    assert!(response.changed && !response.let_in);
    assert_eq!(response.also_under, [ca.serial()]);
    assert!(matches!(
        door.knock(Some(&device), VERSIONS[1]).await.not_believed(),
        Refusal::InactiveDevice { .. }
    ));
    // A CA that is deleted takes its records with it, and says how many of them kept somebody out.
    let response = door.delete(&ca);
    assert_eq!((response.devices, response.inactive_devices), (1, 1));
    let _back = door.knock(Some(&device), VERSIONS[1]).await.admitted().await;
}

/// The same certificate with its ECDSA signature in the other form: `s` and `n - s` are as good.
pub(crate) fn signed_otherwise(device: &Identity) -> Identity {
    let der = device.end_entity();
    let content = &der[4..];
    assert_eq!((der[0], der[1], content[0], content[1]), (0x30, 0x82, 0x30, 0x82), "long forms");
    let signed = 4 + usize::from(u16::from_be_bytes([content[2], content[3]]));
    let (signed, rest) = content.split_at(signed);
    let (algorithm, signature) = rest.split_at(2 + usize::from(rest[1]));
    // BIT STRING, no unused bits, SEQUENCE, INTEGER r, INTEGER s.
    let r = &signature[5..5 + 2 + usize::from(signature[6])];
    let s = &signature[5 + r.len() + 2..];
    let other = tlv(3, &[&[0][..], &sequence(&[r.to_vec(), integer(&order_minus(s))])].concat());
    let der = sequence(&[signed.to_vec(), algorithm.to_vec(), other]);
    Identity { chain: vec![der.into()], key: device.key.clone() }
}

/// The order of P-256's group (FIPS 186-4 appendix D.1.2.3) less an integer, as DER has it.
fn order_minus(s: &[u8]) -> Vec<u8> {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&ORDER[2 * at..2 * at + 2], 16).unwrap()).collect();
    let mut aligned = [0; 32];
    let s = &s[s.len().saturating_sub(32)..];
    aligned[32 - s.len()..].copy_from_slice(s);
    let mut borrow = 0;
    let mut difference = vec![0; 32];
    for at in (0..32).rev() {
        let digit = i16::from(order[at]) - i16::from(aligned[at]) - borrow;
        borrow = i16::from(digit < 0);
        difference[at] = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    let zeros = difference.iter().take_while(|octet| **octet == 0).count();
    let mut magnitude = difference.split_off(zeros);
    if magnitude[0] & 0x80 != 0 {
        magnitude.insert(0, 0);
    }
    magnitude
}

#[tokio::test]
async fn a_signature_written_in_another_way_makes_no_other_device() {
    for version in VERSIONS {
        let (door, ca) = known_fleet();
        let device = ca.device("device");
        let other = signed_otherwise(&device);
        assert_ne!(device.end_entity(), other.end_entity());
        let _up = door.knock(Some(&device), version).await.admitted().await;
        let refusal = door.knock(Some(&other), version).await.not_believed();
        assert_eq!(refusal, Refusal::DeviceConflict(device.serial()));
        door.deactivate_device(&ca, &device);
        // Nor through another CA, where nothing is recorded under its number.
        door.register(&ca.twin(|_| {}), Active).unwrap();
        door.deactivate(&ca);
        assert_eq!(door.knock(Some(&other), version).await.not_believed(), inactive(&ca, &device));
        door.activate_device(&ca, &device);
        let _in_itself_it_is_good = door.knock(Some(&other), version).await.admitted().await;
    }
}

#[tokio::test]
async fn deactivating_a_ca_leaves_its_records_and_deleting_it_takes_them() {
    let (door, ca) = known_fleet();
    let elsewhere = TestCa::root("elsewhere");
    door.register(&elsewhere, Active).unwrap();
    let devices = [ca.device("on"), ca.device("off"), elsewhere.device("theirs")];
    for device in &devices {
        let _up = door.knock(Some(device), VERSIONS[1]).await.admitted().await;
    }
    door.deactivate_device(&ca, &devices[1]);
    door.deactivate(&ca);
    door.activate(&ca);
    let status = |device| get(&door, &ca, device).unwrap().status;
    assert_eq!(status(&devices[0]), DeviceStatus::Active);
    assert_eq!(status(&devices[1]), DeviceStatus::Inactive);
    assert_eq!(
        door.knock(Some(&devices[1]), VERSIONS[1]).await.not_believed(),
        inactive(&ca, &devices[1])
    );

    let foreseen = mqtls::DeleteCaCertificate {
        mqtt_instance_id: door.instance.id().clone(),
        sn: ca.serial(),
    }
    .dry_run(&door.instances, &Caller::local())
    .unwrap();
    assert_eq!((foreseen.devices, foreseen.inactive_devices), (2, 1));
    assert_eq!(door.instance.trust().device_count(), 3);
    let deleted = door.delete(&ca);
    assert_eq!((deleted.devices, deleted.inactive_devices), (2, 1));
    assert_eq!(door.instance.trust().device_count(), 1);
    assert!(get(&door, &elsewhere, &devices[2]).is_ok());

    door.register(&ca, Active).unwrap();
    let _anew = door.knock(Some(&devices[1]), VERSIONS[1]).await.admitted().await;
    assert_eq!(status(&devices[1]), DeviceStatus::Active);
}

#[tokio::test]
async fn a_device_below_an_intermediate_is_recorded_under_the_ca_that_is_registered() {
    let (door, root) = known_fleet();
    let sub = root.child("sub");
    let device = sub.device("device").with_chain(&[&sub]);
    let _up = door.knock(Some(&device), VERSIONS[1]).await.admitted().await;
    assert_eq!(get(&door, &root, &device).unwrap().connections, 1);
    // Once its own issuer is registered it comes through that, and is another record.
    door.register(&sub, Active).unwrap();
    let _up = door.knock(Some(&device), VERSIONS[1]).await.admitted().await;
    assert_eq!(get(&door, &sub, &device).unwrap().connections, 1);
    door.deactivate_device(&root, &device);
    assert!(matches!(
        door.knock(Some(&device), VERSIONS[1]).await.not_believed(),
        Refusal::InactiveDevice { .. }
    ));
}

#[tokio::test]
async fn p11_what_one_instance_switches_off_is_nothing_to_another_one() {
    let (door, ca) = known_fleet();
    let (next_door, device) = (door.beside("next-door"), ca.device("device"));
    next_door.register(&ca, Active).unwrap();
    let _up = door.knock(Some(&device), VERSIONS[1]).await.admitted().await;
    assert_eq!(next_door.instance.trust().device_count(), 0);
    let mut line = Line::up(&next_door, Some(&device), VERSIONS[1]).await;
    door.deactivate_device(&ca, &device);
    line.exchange().await;
    let _up = next_door.knock(Some(&device), VERSIONS[1]).await.admitted().await;
    assert_eq!(door.knock(Some(&device), VERSIONS[1]).await.not_believed(), inactive(&ca, &device));
}

/// What becomes of a device's record while its handshake is held.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Deactivated,
    DeactivatedAndActivated,
    Deleted,
    /// By another handshake of the device: the record that this one finds is one that nobody changed.
    DeletedAndRecordedAnew,
    /// It had none when the handshake began; another one has made it.
    RecordedAndDeactivated,
    RecordedAndDeleted,
}

impl Meanwhile {
    fn make(self, door: &Door, ca: &TestCa, device: &Identity) {
        match self {
            Self::Deactivated | Self::RecordedAndDeactivated => {
                door.deactivate_device(ca, device);
            }
            Self::DeactivatedAndActivated => {
                door.deactivate_device(ca, device);
                door.activate_device(ca, device);
            }
            Self::Deleted | Self::DeletedAndRecordedAnew | Self::RecordedAndDeleted => {
                door.delete_device(ca, device);
            }
        }
    }
}

#[tokio::test]
async fn l01_a_change_at_any_step_of_the_handshake_keeps_the_device_out() {
    use Meanwhile::{
        Deactivated, DeactivatedAndActivated, Deleted, DeletedAndRecordedAnew,
        RecordedAndDeactivated, RecordedAndDeleted,
    };
    let changes = [
        Deactivated,
        DeactivatedAndActivated,
        Deleted,
        DeletedAndRecordedAnew,
        RecordedAndDeactivated,
        RecordedAndDeleted,
    ];
    for (version, change) in on_versions(changes) {
        // Behind the ClientHello, amid the certificate, behind all but the last record.
        for let_through in 0..3 {
            let (door, ca) = known_fleet();
            let device = ca.device("device");
            let was_there = !matches!(change, RecordedAndDeactivated | RecordedAndDeleted);
            if was_there {
                drop(door.knock(Some(&device), version).await.admitted().await);
            }
            let examinations = Examinations::watch();
            let config = in_small_records(client(Some(&device), version));
            let (mut held, mut records) = HeldHandshake::up_to_the_certificate(&door, config).await;
            let through = [0, 1, records.len() - 1][let_through];
            held.pass(records.drain(..through)).await;
            if let_through == 2 {
                examinations.next().await;
            }
            if !was_there {
                drop(door.knock(Some(&device), version).await.admitted().await);
            }
            change.make(&door, &ca, &device);
            if matches!(change, DeletedAndRecordedAnew) {
                drop(door.knock(Some(&device), version).await.admitted().await);
            }
            let visit = held.release_with(records).await;
            let refusal = match let_through {
                2 => visit.turned_away_at_the_gate(),
                _ => visit.not_believed(),
            };
            let is_inactive = matches!(change, Deactivated | RecordedAndDeactivated);
            let expected = match is_inactive && (let_through < 2 || !was_there) {
                true => inactive(&ca, &device),
                false => Refusal::DeviceChangedMeanwhile(device.serial()),
            };
            assert_eq!(refusal, expected, "{version:?} {change:?} {let_through}");
            assert_eq!(door.instance.connections(), 0);
        }
    }
}

#[tokio::test]
async fn l01_a_change_under_another_ca_keeps_out_whom_this_one_does_not_know_yet() {
    let cases = [(false, false), (false, true), (true, false), (true, true)];
    for (version, (through_first, recorded_meanwhile)) in on_versions(cases) {
        let (door, ca) = known_fleet();
        let device = ca.device("device");
        drop(door.knock(Some(&device), version).await.admitted().await);
        door.register(&ca.twin(|_| {}), Active).unwrap();
        door.deactivate(&ca);
        let examinations = Examinations::watch();
        let config = in_small_records(client(Some(&device), version));
        let (mut held, mut records) = HeldHandshake::up_to_the_certificate(&door, config).await;
        if through_first {
            let last = records.split_off(records.len() - 1);
            held.pass(std::mem::replace(&mut records, last)).await;
            examinations.next().await;
        }
        door.deactivate_device(&ca, &device);
        door.activate_device(&ca, &device);
        if recorded_meanwhile {
            drop(door.knock(Some(&device), version).await.admitted().await);
        }
        let visit = held.release_with(records).await;
        let refusal =
            if through_first { visit.turned_away_at_the_gate() } else { visit.not_believed() };
        assert_eq!(refusal, Refusal::DeviceChangedMeanwhile(device.serial()));
        let _next = door.knock(Some(&device), version).await.admitted().await;
    }
}

#[test]
fn operations_read_their_parameters_and_name_what_is_missing() {
    use mqtls::control::Parameters;
    let parameters = |all: &[(&str, &str)]| {
        Parameters::from_iter(all.iter().map(|(name, text)| ((*name).into(), (*text).into())))
    };
    let all = [("MqttInstanceId", "mqtt-test"), ("CaSn", "0A"), ("DeviceSn", "00:ff")];
    let read = GetDeviceCertificate::from_parameters(&parameters(&all)).unwrap();
    let serials: [SerialNumber; 2] = ["0a", "ff"].map(|text| text.parse().unwrap());
    assert_eq!([read.ca_sn, read.device_sn], serials);
    for missing in 0..all.len() {
        let mut some = all.to_vec();
        some.remove(missing);
        let error = GetDeviceCertificate::from_parameters(&parameters(&some)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ParameterFieldCheckFailed);
        assert!(error.cause().to_string().contains(all[missing].0), "{}", error.cause());
    }
    let long = "0".repeat(129);
    for (name, at) in [("CaSn", 1), ("DeviceSn", 2)] {
        let mut some = all;
        some[at] = (name, &long);
        let error = GetDeviceCertificate::from_parameters(&parameters(&some)).unwrap_err();
        assert!(matches!(error.cause(), Cause::Serial(_)), "{name}");
    }
}

#[tokio::test]
async fn the_records_of_an_instance_go_when_it_is_removed() {
    let (door, ca) = known_fleet();
    let connection = door.knock(Some(&ca.device("device")), VERSIONS[1]).await.admitted().await;
    assert!(connection.record().unwrap().is_let_in());
    door.instances.remove(door.instance.id()).unwrap();
    // Also where somebody still holds the instance, or a record.
    assert_eq!(door.instance.trust().device_count(), 0);
    assert!(!connection.record().unwrap().is_let_in());
}

#[tokio::test]
async fn an_inactive_ca_says_so_before_an_inactive_device_does() {
    let (door, ca) = known_fleet();
    let device = ca.device("device");
    let _up = door.knock(Some(&device), VERSIONS[1]).await.admitted().await;
    door.deactivate_device(&ca, &device);
    door.deactivate(&ca);
    let refusal = door.knock(Some(&device), VERSIONS[1]).await.not_believed();
    assert_eq!(refusal, Refusal::InactiveCa(ca.serial()));
    door.delete(&ca);
    door.register(&ca, Inactive).unwrap();
    assert_eq!(door.instance.trust().device_count(), 0);
}

#[tokio::test]
async fn a_dry_run_of_a_deletion_says_what_it_would_do_and_does_nothing() {
    let (door, ca) = known_fleet();
    let device = ca.device("device");
    let operation = mqtls::DeleteDeviceCertificate {
        mqtt_instance_id: door.instance.id().clone(),
        ca_sn: ca.serial(),
        device_sn: device.serial(),
    };
    let unknown = operation.dry_run(&door.instances, &Caller::local()).unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::FindDeviceBySnError);
    let mut line = Line::up(&door, Some(&device), VERSIONS[1]).await;
    let foreseen = operation.dry_run(&door.instances, &Caller::local()).unwrap();
    assert_eq!(count(foreseen.connections), (1, 0));
    line.exchange().await;
    assert_eq!(door.instance.trust().device_count(), 1);
    let done = operation.apply(&door.instances, &Caller::local()).unwrap();
    assert_eq!(done.connections, foreseen.connections);
}
