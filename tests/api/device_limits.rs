//! Which devices are recorded at all: registered beforehand, up to a limit, listed page by page.

use mqtls::CaStatus::Active;
use mqtls::certificate::{DeviceCertificate, DeviceCertificateError};
use mqtls::control::{
    Cause, DeviceRecord, ErrorCode, ListDeviceCertificateByCaSnResponse,
    ListDeviceCertificateResponse, PageSize, RegisterDeviceCertificateResponse,
};
use mqtls::trust::{DeviceCursor, Refusal, RegisterDeviceError};
use mqtls::{
    Caller, DeviceStatus, Ended, InstanceSpec, ListDeviceCertificate, ListDeviceCertificateByCaSn,
    OperationError, Outcome, Provisioning, RegisterDeviceCertificate,
};
use rcgen::IsCa;

use crate::line::{Line, on_versions};
use crate::live::count;
use crate::support::{Door, Identity, NOW, TestCa, VERSIONS, date, pem};

fn register(
    door: &Door,
    ca: &TestCa,
    device: &Identity,
    status: DeviceStatus,
) -> Result<RegisterDeviceCertificateResponse, OperationError> {
    RegisterDeviceCertificate {
        mqtt_instance_id: door.instance.id().clone(),
        ca_sn: ca.serial(),
        status,
        certificate: DeviceCertificate::from_der(device.chain.clone()).unwrap(),
    }
    .apply(&door.instances, &Caller::local())
}

fn registered_only() -> (Door, TestCa) {
    let door = Door::open_as(|spec| spec.provisioning(Provisioning::RegisteredOnly));
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    (door, ca)
}

fn with_room_for(max_devices: usize) -> (Door, TestCa) {
    let door = Door::open_as(|spec: InstanceSpec| spec.max_devices(max_devices));
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    (door, ca)
}

fn cause(error: OperationError) -> (ErrorCode, RegisterDeviceError) {
    match error.cause() {
        Cause::RegisterDevice(cause) => (error.code(), cause.clone()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn where_only_registered_devices_come_in_the_others_are_unknown() {
    for version in VERSIONS {
        let (door, ca) = registered_only();
        let (device, stranger) = (ca.device("device"), ca.device("stranger"));
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::UnknownDevice(device.serial()));
        assert_eq!(door.instances.stats().of(Outcome::UnknownDevice), 1);
        assert_eq!(door.instance.trust().device_count(), 0);

        let response = register(&door, &ca, &device, DeviceStatus::Active).unwrap();
        assert_eq!((response.device_sn, response.let_in), (device.serial(), true));
        let record = door.instance.trust().device(&ca.serial(), &device.serial()).unwrap();
        assert_eq!(
            (record.first_seen(), record.last_seen(), record.connections()),
            (None, None, 0)
        );
        let line = Line::up(&door, Some(&device), version).await;
        assert_eq!(record.connections(), 1);
        let refusal = door.knock(Some(&stranger), version).await.not_believed();
        assert_eq!(refusal, Refusal::UnknownDevice(stranger.serial()));

        door.delete_device(&ca, &device);
        let (ca_serial, serial) = (ca.serial(), device.serial());
        line.assert_over(&Ended::DeviceDeleted { ca_serial, serial }).await;
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::UnknownDevice(device.serial()));
    }
}

#[tokio::test]
async fn a_registered_device_comes_in_through_its_cas_renewed_twin_on_the_same_record() {
    for version in VERSIONS {
        let (door, ca) = registered_only();
        let device = ca.device("device");
        register(&door, &ca, &device, DeviceStatus::Active).unwrap();
        let twin = ca.twin(|_| {});
        door.register(&twin, Active).unwrap();
        door.deactivate(&ca);
        let line = Line::up(&door, Some(&device), version).await;
        assert_eq!(line.server.device().unwrap().ca_serial(), &twin.serial());
        assert_eq!(door.instance.trust().device_count(), 1);
        let record = door.instance.trust().device(&ca.serial(), &device.serial()).unwrap();
        assert_eq!((record.connections(), record.live_connections()), (1, 1));
        // Its only record goes with the old CA, and so does what came in on it.
        let foreseen = door.foresee_delete(&ca);
        assert_eq!(count(foreseen), (1, 0));
        let response = door.delete(&ca);
        assert_eq!((response.devices, count(response.connections)), (1, (1, 0)));
        line.assert_over(&Ended::CaDeleted(ca.serial())).await;
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::UnknownDevice(device.serial()));
    }
}

#[tokio::test]
async fn a_device_registered_as_inactive_ends_what_came_in_through_another_ca() {
    let (door, ca) = with_room_for(10);
    let device = ca.device("device");
    let line = Line::up(&door, Some(&device), VERSIONS[1]).await;
    let twin = ca.twin(|_| {});
    door.register(&twin, Active).unwrap();
    let response = register(&door, &twin, &device, DeviceStatus::Inactive).unwrap();
    assert_eq!((response.let_in, count(response.connections)), (false, (1, 0)));
    let (ca_serial, serial) = (twin.serial(), device.serial());
    let ended = Ended::DeviceInactive { ca_serial: ca_serial.clone(), serial: serial.clone() };
    line.assert_over(&ended).await;
    assert!(matches!(
        door.knock(Some(&device), VERSIONS[1]).await.not_believed(),
        Refusal::InactiveDevice { .. }
    ));
}

#[tokio::test]
async fn what_is_no_device_below_the_ca_is_not_registered() {
    let (door, ca) = registered_only();
    let sub = ca.child("sub");
    let refused = |device: &Identity| {
        let error = register(&door, &ca, device, DeviceStatus::Active).unwrap_err();
        let (code, cause) = cause(error);
        assert_eq!(code, ErrorCode::CertificateContentError);
        match cause {
            RegisterDeviceError::NotBelow(refusal) => refusal,
            other => panic!("{other}"),
        }
    };
    let good = sub.device("device").with_chain(&[&sub]);
    let without_its_intermediate = Identity { chain: good.chain[..1].to_vec(), ..good.clone() };
    assert_eq!(refused(&without_its_intermediate), Refusal::UnknownIssuer);
    assert_eq!(refused(&TestCa::root("fleet").device("of another key")), Refusal::UnknownIssuer);
    let expired = ca.device_with("expired", |params| params.not_after = date(NOW - 1));
    assert!(matches!(refused(&expired), Refusal::Invalid(_)));
    let a_ca = ca.device_with("a CA", |params| {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)
    });
    assert!(matches!(refused(&a_ca), Refusal::Invalid(_)));
    assert_eq!(refused(&ca.server(&["localhost"])), Refusal::NotForClientAuth);
    let garbage = Identity { chain: vec![vec![0x30, 0].into()], ..good.clone() };
    assert_eq!(refused(&garbage), Refusal::Unreadable);
    assert_eq!(door.instance.trust().device_count(), 0);

    register(&door, &ca, &good, DeviceStatus::Active).unwrap();
    // One that is not valid yet may be registered, and comes in once it is.
    let early = ca.device_with("early", |params| params.not_before = date(NOW + 10));
    register(&door, &ca, &early, DeviceStatus::Active).unwrap();
    assert!(matches!(
        door.knock(Some(&early), VERSIONS[1]).await.not_believed(),
        Refusal::Invalid(_)
    ));
    door.clock.set(NOW + 10);
    let _up = door.knock(Some(&early), VERSIONS[1]).await.admitted().await;
}

#[test]
fn registering_once_more_changes_no_status() {
    let (door, ca) = with_room_for(10);
    let device = ca.device("device");
    door.deactivate(&ca);
    register(&door, &ca, &device, DeviceStatus::Inactive).unwrap();
    let again = register(&door, &ca, &device, DeviceStatus::Active).unwrap_err();
    let (serial, status) = (device.serial(), DeviceStatus::Inactive);
    let expected = RegisterDeviceError::AlreadyRecorded { serial: serial.clone(), status };
    assert_eq!(cause(again), (ErrorCode::SnNotUnique, expected));
    let number = rcgen::SerialNumber::from_slice(&hex(&serial.to_string()));
    let other = ca.device_with("other", |params| params.serial_number = Some(number));
    let error = register(&door, &ca, &other, DeviceStatus::Active).unwrap_err();
    assert_eq!(cause(error), (ErrorCode::SnNotUnique, RegisterDeviceError::SerialInUse(serial)));
    let unknown = TestCa::root("unknown");
    let error = register(&door, &unknown, &unknown.device("device"), DeviceStatus::Active);
    assert_eq!(error.unwrap_err().code(), ErrorCode::FindCaBySnError);
    assert_eq!(door.instance.trust().device_count(), 1);
}

fn hex(text: &str) -> Vec<u8> {
    let octet = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(octet).collect()
}

#[test]
fn a_devices_pem_is_certificates_and_nothing_else() {
    let ca = TestCa::root("fleet");
    let sub = ca.child("sub");
    let device = sub.device("device").with_chain(&[&sub]);
    let certificates: String = device.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
    let read = DeviceCertificate::from_pem(certificates.as_bytes()).unwrap();
    assert_eq!(read.chain(), device.chain);
    let with_key = DeviceCertificate::from_pem(device.pem().as_bytes()).unwrap_err();
    assert_eq!(with_key, DeviceCertificateError::PrivateKey);
    assert!(matches!(
        DeviceCertificate::from_pem(b"nothing").unwrap_err(),
        DeviceCertificateError::Pem(_)
    ));
    assert_eq!(DeviceCertificate::from_der(vec![]).unwrap_err(), DeviceCertificateError::Empty);
    let limit = 32 * 1024;
    let of = |length| DeviceCertificate::from_der(vec![vec![0; length].into()]).map(drop);
    assert_eq!(of(limit), Ok(()));
    let length = limit + 1;
    assert_eq!(of(length), Err(DeviceCertificateError::TooLarge { length, limit }));
    let long = DeviceCertificate::from_pem(&vec![b' '; 2 * limit + 1]).unwrap_err();
    let (length, limit) = (2 * limit + 1, 2 * limit);
    assert_eq!(long, DeviceCertificateError::TooLarge { length, limit });
    let shown = format!("{read:?}");
    assert!(shown.len() < 200, "{shown}");
}

#[tokio::test]
async fn at_the_limit_a_new_device_is_refused_and_who_is_on_record_comes_in() {
    for (version, was_inactive) in on_versions([false, true]) {
        let (door, ca) = with_room_for(2);
        let devices = ["first", "second", "third"].map(|name| ca.device(name));
        for device in &devices[..2] {
            let _up = door.knock(Some(device), version).await.admitted().await;
        }
        if was_inactive {
            // It keeps its place.
            door.deactivate_device(&ca, &devices[0]);
        }
        let refusal = door.knock(Some(&devices[2]), version).await.not_believed();
        assert_eq!(refusal, Refusal::TooManyDevices);
        assert_eq!(door.instances.stats().of(Outcome::TooManyDevices), 1);
        let error = register(&door, &ca, &devices[2], DeviceStatus::Active).unwrap_err();
        let expected =
            (ErrorCode::ParameterFieldCheckFailed, RegisterDeviceError::TooManyDevices(2));
        assert_eq!(cause(error), expected);
        let _again = door.knock(Some(&devices[1]), version).await.admitted().await;
        let visit = door.knock(Some(&devices[0]), version).await;
        match was_inactive {
            true => drop(visit.not_believed()),
            false => drop(visit.admitted().await),
        }
        door.delete_device(&ca, &devices[1]);
        let _now = door.knock(Some(&devices[2]), version).await.admitted().await;
        let refusal = door.knock(Some(&devices[1]), version).await.not_believed();
        assert_eq!(refusal, Refusal::TooManyDevices);
        assert_eq!(door.instance.trust().device_count(), 2);
    }
}

#[tokio::test]
async fn of_two_new_devices_for_one_place_the_gate_turns_one_away() {
    use crate::support::{Examinations, HeldHandshake, client, in_small_records};
    for version in VERSIONS {
        let (door, ca) = with_room_for(1);
        let examinations = Examinations::watch();
        let config = in_small_records(client(Some(&ca.device("slow")), version));
        let (mut held, mut records) = HeldHandshake::up_to_the_certificate(&door, config).await;
        let last = records.pop_back().unwrap();
        held.pass(records).await;
        examinations.next().await;
        let _quick = door.knock(Some(&ca.device("quick")), version).await.admitted().await;
        let refusal = held.release_with([last]).await.turned_away_at_the_gate();
        assert_eq!(refusal, Refusal::TooManyDevices);
        assert_eq!(door.instance.trust().device_count(), 1);
    }
}

fn page(door: &Door, after: Option<DeviceCursor>, size: u8) -> ListDeviceCertificateResponse {
    let mqtt_instance_id = door.instance.id().clone();
    let page_size = PageSize::try_from(size).unwrap();
    ListDeviceCertificate { mqtt_instance_id, after, page_size }
        .apply(&door.instances, &Caller::local())
        .unwrap()
}

fn page_of(
    door: &Door,
    ca: &TestCa,
    after: Option<DeviceCursor>,
    size: u8,
) -> ListDeviceCertificateByCaSnResponse {
    let mqtt_instance_id = door.instance.id().clone();
    let page_size = PageSize::try_from(size).unwrap();
    ListDeviceCertificateByCaSn { mqtt_instance_id, ca_sn: ca.serial(), after, page_size }
        .apply(&door.instances, &Caller::local())
        .unwrap()
}

fn names(devices: &[DeviceRecord]) -> Vec<&str> {
    devices.iter().map(|device| device.name.as_deref().unwrap()).collect()
}

#[test]
fn a_list_shows_each_device_once_ca_by_ca_however_long_its_pages_are() {
    let (door, first) = with_room_for(100);
    let second = TestCa::root("second");
    door.register(&second, Active).unwrap();
    // In turns, so that order and CA do not agree.
    for at in 0..10 {
        for (ca, name) in [(&second, "b"), (&first, "a")] {
            let device = ca.device(&format!("{name}{at}"));
            register(&door, ca, &device, DeviceStatus::Active).unwrap();
        }
    }
    let expected: Vec<_> =
        ["a", "b"].iter().flat_map(|name| (0..10).map(move |at| format!("{name}{at}"))).collect();
    for size in [1, 3, 7, 20, 100] {
        let (mut listed, mut after) = (vec![], None);
        loop {
            let page = page(&door, after, size);
            assert!(page.devices.len() <= size.into());
            assert_eq!(page.total, 20);
            listed.extend(names(&page.devices).into_iter().map(ToOwned::to_owned));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(listed, expected, "pages of {size}");
        for (ca, part) in [(&first, &expected[..10]), (&second, &expected[10..])] {
            let (mut listed, mut after) = (vec![], None);
            loop {
                let page = page_of(&door, ca, after, size);
                assert_eq!(page.total, 10);
                listed.extend(names(&page.devices).into_iter().map(ToOwned::to_owned));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(listed, part, "pages of {size}");
        }
    }
    let nobodys = page_of(&door, &TestCa::root("unknown"), None, 10);
    assert_eq!((nobodys.total, nobodys.devices.len(), nobodys.next), (0, 0, None));
}

#[test]
fn a_page_goes_on_where_the_last_one_ended_also_where_that_record_is_gone() {
    let (door, ca) = with_room_for(100);
    let devices: Vec<_> = (0..6).map(|at| ca.device(&at.to_string())).collect();
    for device in &devices {
        register(&door, &ca, device, DeviceStatus::Active).unwrap();
    }
    let first = page(&door, None, 2);
    assert_eq!(names(&first.devices), ["0", "1"]);
    door.delete_device(&ca, &devices[1]);
    door.delete_device(&ca, &devices[2]);
    let second = page(&door, first.next, 2);
    assert_eq!(names(&second.devices), ["3", "4"]);
    // A cursor of one CA's list is good for another's: nothing before it is shown.
    let other = TestCa::root("other");
    door.register(&other, Active).unwrap();
    register(&door, &other, &other.device("theirs"), DeviceStatus::Active).unwrap();
    assert_eq!(names(&page_of(&door, &other, second.next, 9).devices), ["theirs"]);
    let last = page(&door, None, 100).devices.len();
    assert_eq!(last, 5);
    let theirs = page_of(&door, &other, None, 1);
    assert_eq!(theirs.next, None);
    door.delete(&ca);
    assert_eq!(names(&page(&door, second.next, 9).devices), ["theirs"]);
}
