//! The registered CAs, as operators see and change them.

use mqtls::CaStatus::{Active, Inactive};
use mqtls::certificate::SerialError;
use mqtls::control::{CaRecord, Cause, ErrorCode, PageSize, Parameters};
use mqtls::trust::{CaCursor, Refusal, RegisterError};
use mqtls::{
    ActiveCaCertificate, CaCertificate, CaStatus, Caller, GetCaCertificate, ListCaCertificate,
    OperationError, SerialNumber,
};

use crate::support::{Door, TestCa, VERSIONS};

fn activate(door: &Door, sn: &str) -> Result<bool, OperationError> {
    let parameters = [("MqttInstanceId", door.instance.id().as_str()), ("Sn", sn)];
    let parameters = parameters.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let operation = ActiveCaCertificate::from_parameters(&Parameters::from_iter(parameters))?;
    operation.apply(&door.instances, &Caller::local()).map(|response| response.changed)
}

fn get(door: &Door, sn: SerialNumber) -> Result<CaRecord, OperationError> {
    let mqtt_instance_id = door.instance.id().clone();
    let operation = GetCaCertificate { mqtt_instance_id, sn };
    operation.apply(&door.instances, &Caller::local()).map(|response| response.data)
}

fn page(door: &Door, after: Option<CaCursor>, size: u8) -> (Vec<SerialNumber>, Option<CaCursor>) {
    let mqtt_instance_id = door.instance.id().clone();
    let page_size = PageSize::try_from(size).unwrap();
    let operation = ListCaCertificate { mqtt_instance_id, after, page_size };
    let response = operation.apply(&door.instances, &Caller::local()).unwrap();
    (response.authorities.into_iter().map(|record| record.sn).collect(), response.next)
}

fn with_serial(serial: &[u8]) -> TestCa {
    TestCa::root_with("fleet", |params| {
        params.serial_number = Some(rcgen::SerialNumber::from_slice(serial));
    })
}

#[test]
fn s01_a_serial_of_129_bytes_is_a_parameter_error_and_one_of_128_is_looked_up() {
    let door = Door::open();
    let too_long = activate(&door, &"0".repeat(129)).unwrap_err();
    assert!(matches!(too_long.cause(), Cause::Serial(SerialError::TooLong { length: 129 })));
    assert_eq!(too_long.code(), ErrorCode::ParameterFieldCheckFailed);
    let unknown = activate(&door, &"0".repeat(128)).unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::FindCaBySnError);

    let longest = with_serial(&[0x7f; 64]);
    door.register(&longest, Inactive).unwrap();
    assert!(activate(&door, &"7f".repeat(64)).unwrap());
}

#[test]
fn s02_a_ca_is_found_however_its_serial_is_written() {
    let door = Door::open();
    let ca = with_serial(&[0xab, 0x12]);
    let response = door.register(&ca, Inactive).unwrap();
    assert_eq!(response.sn.to_string(), "00ab12");
    for sn in ["ab12", "AB12", "Ab:12", "0xab12", "0XAB12", "00ab12", "0ab12"] {
        door.deactivate(&ca);
        assert!(activate(&door, sn).unwrap(), "{sn}");
    }
    for sn in ["ab1200", "ab13", "12ab"] {
        let error = activate(&door, sn).unwrap_err();
        assert!(matches!(error.cause(), Cause::NoSuchCa(serial) if *serial == sn.parse().unwrap()));
        assert_eq!((error.code(), error.http_status()), (ErrorCode::FindCaBySnError, 500));
    }
    for sn in ["", " ", "xyz", "12\0", "١٢"] {
        let error = activate(&door, sn).unwrap_err();
        assert!(matches!(error.cause(), Cause::Serial(_)), "{sn:?}");
        assert_eq!(
            (error.code(), error.http_status()),
            (ErrorCode::ParameterFieldCheckFailed, 400)
        );
    }
}

#[test]
fn s03_serial_minus_one_is_no_255_and_zero_is_zero() {
    let minus_one = include_bytes!("../../testdata/ca_serial_minus_one.der");
    assert!(CaCertificate::from_der(minus_one).is_err());
    let door = Door::open();
    assert_eq!(activate(&door, "00ff").unwrap_err().code(), ErrorCode::FindCaBySnError);
    door.register(&with_serial(&[0xff]), Inactive).unwrap();
    assert!(activate(&door, "00ff").unwrap());

    assert_eq!(activate(&door, "0").unwrap_err().code(), ErrorCode::FindCaBySnError);
    let zero = with_serial(&[0]);
    assert_eq!(door.register(&zero, Inactive).unwrap().sn.to_string(), "00");
    for sn in ["0", "00", "0x0"] {
        door.deactivate(&zero);
        assert!(activate(&door, sn).unwrap());
    }
    assert_eq!(get(&door, zero.serial()).unwrap().certificate.der(), &zero.der);
}

#[tokio::test]
async fn s04_another_certificate_under_a_serial_in_use_is_refused_and_the_old_one_unchanged() {
    for version in VERSIONS {
        let door = Door::open();
        let (ca, namesake) = (with_serial(&[7]), with_serial(&[7]));
        door.register(&ca, Active).unwrap();
        let conflict = door.register(&namesake, Active).unwrap_err();
        let in_use = RegisterError::SerialInUse(ca.serial());
        assert!(matches!(conflict.cause(), Cause::Register(cause) if *cause == in_use));
        assert_eq!(conflict.code(), ErrorCode::SnNotUnique);

        assert_eq!(get(&door, ca.serial()).unwrap().certificate.der(), &ca.der);
        door.knock(Some(&ca.device("device")), version).await.admitted().await;
        let refusal = door.knock(Some(&namesake.device("device")), version).await.not_believed();
        assert_eq!(refusal, Refusal::UnknownIssuer);
    }
}

#[tokio::test]
async fn s04_the_same_bytes_again_are_refused_and_the_status_does_not_change() {
    for version in VERSIONS {
        for (status, asked) in [(Inactive, Active), (Active, Inactive)] {
            let door = Door::open();
            let ca = TestCa::root("fleet");
            door.register(&ca, status).unwrap();
            let conflict = door.register(&ca, asked).unwrap_err();
            let known = RegisterError::AlreadyRegistered { serial: ca.serial(), status };
            assert!(matches!(conflict.cause(), Cause::Register(cause) if *cause == known));
            assert_eq!(conflict.code(), ErrorCode::SnNotUnique);
            assert_eq!(get(&door, ca.serial()).unwrap().status, status);
            assert_eq!(door.instance.trust().len(), 1);

            let visit = door.knock(Some(&ca.device("device")), version).await;
            match status {
                Active => drop(visit.admitted().await),
                Inactive => assert_eq!(visit.not_believed(), Refusal::InactiveCa(ca.serial())),
            }
        }
    }
}

#[tokio::test]
async fn s04_one_name_and_serial_in_two_instances_are_two_cas() {
    for version in VERSIONS {
        let here = Door::open();
        let there = here.beside("mqtt-other");
        let (ours, theirs) = (with_serial(&[7]), with_serial(&[7]));
        here.register(&ours, Active).unwrap();
        there.register(&theirs, Active).unwrap();
        let (our_device, their_device) = (ours.device("device"), theirs.device("device"));
        for (door, own, foreign) in
            [(&here, &our_device, &their_device), (&there, &their_device, &our_device)]
        {
            let connection = door.knock(Some(own), version).await.admitted().await;
            assert_eq!(connection.instance(), door.instance.id());
            let refusal = door.knock(Some(foreign), version).await.not_believed();
            assert_eq!(refusal, Refusal::UnknownIssuer);
        }
        here.deactivate(&ours);
        let refusal = here.knock(Some(&our_device), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(ours.serial()));
        there.knock(Some(&their_device), version).await.admitted().await;
    }
}

#[tokio::test]
async fn one_ca_in_two_instances_is_two_records() {
    for version in VERSIONS {
        let here = Door::open();
        let there = here.beside("mqtt-other");
        let ca = TestCa::root("fleet");
        here.register(&ca, Active).unwrap();
        there.register(&ca, Active).unwrap();
        let device = ca.device("device");
        here.deactivate(&ca);
        let refusal = here.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(ca.serial()));
        there.knock(Some(&device), version).await.admitted().await;
        there.delete(&ca);
        assert_eq!(get(&here, ca.serial()).unwrap().status, Inactive);
    }
}

#[test]
fn setting_the_status_that_a_ca_has_succeeds_and_changes_nothing() {
    let door = Door::open();
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    let steps: [(CaStatus, bool); 5] =
        [(Active, false), (Inactive, true), (Inactive, false), (Active, true), (Active, false)];
    for (status, expected) in steps {
        let changed = match status {
            Active => door.activate(&ca).changed,
            Inactive => door.deactivate(&ca).changed,
        };
        assert_eq!(changed, expected);
        assert_eq!(get(&door, ca.serial()).unwrap().status, status);
    }
}

#[test]
fn what_is_deleted_is_not_found_and_can_be_registered_anew() {
    let door = Door::open();
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    let held = door.instance.trust().get(&ca.serial()).unwrap();
    assert_eq!(door.delete(&ca).sn, ca.serial());
    assert_eq!(held.status(), Inactive);
    let error = get(&door, ca.serial()).unwrap_err();
    assert!(matches!(error.cause(), Cause::NoSuchCa(serial) if *serial == ca.serial()));
    assert_eq!(error.code(), ErrorCode::FindCaBySnError);
    assert!(door.instance.trust().is_empty());

    door.register(&ca, Inactive).unwrap();
    let record = get(&door, ca.serial()).unwrap();
    assert_eq!((record.name.as_str(), record.status), ("fleet", Inactive));
    assert_eq!(record.certificate.der(), &ca.der);
}

#[test]
fn eight_twins_are_registered_and_a_ninth_is_not() {
    let door = Door::open();
    let ca = TestCa::root("fleet");
    let twins: Vec<_> = (0..9).map(|_| ca.twin(|_| {})).collect();
    for twin in &twins[..8] {
        door.register(twin, Active).unwrap();
    }
    let error = door.register(&twins[8], Active).unwrap_err();
    let too_many = RegisterError::TooManyTwins(twins[8].serial());
    assert!(matches!(error.cause(), Cause::Register(cause) if *cause == too_many));
    assert_eq!(error.code(), ErrorCode::CaNumExceed);
    door.delete(&twins[0]);
    door.register(&twins[8], Active).unwrap();
}

#[test]
fn a_list_goes_by_registration_page_by_page_and_over_gaps() {
    let door = Door::open();
    let serials: Vec<u8> = vec![9, 3, 7, 1, 8, 2];
    let cas: Vec<_> = serials.iter().map(|serial| with_serial(&[*serial])).collect();
    assert_eq!(page(&door, None, 1), (vec![], None));
    for ca in &cas {
        door.register(ca, Active).unwrap();
    }
    let all: Vec<_> = cas.iter().map(TestCa::serial).collect();
    for size in 1..=7 {
        assert_eq!(walk(&door, size), all, "pages of {size}");
    }
    assert_eq!(page(&door, None, 6), (all.clone(), None));

    let (first, cursor) = page(&door, None, 2);
    assert_eq!(first, all[..2]);
    door.delete(&cas[1]);
    door.delete(&cas[2]);
    door.deactivate(&cas[3]);
    assert_eq!(page(&door, cursor, 2).0, all[3..5]);
    door.register(&cas[1], Active).unwrap();
    let expected = [&all[..1], &all[3..], &all[1..2]].concat();
    for size in 1..=6 {
        assert_eq!(walk(&door, size), expected, "pages of {size}");
    }
}

/// All pages of this size, one behind the other; each but the last one is full.
fn walk(door: &Door, size: u8) -> Vec<SerialNumber> {
    let (mut listed, mut next) = page(door, None, size);
    while let Some(cursor) = next {
        assert_eq!(listed.len() % usize::from(size), 0);
        let (more, behind) = page(door, Some(cursor), size);
        assert!(!more.is_empty() && !more.iter().any(|serial| listed.contains(serial)));
        listed.extend(more);
        next = behind;
    }
    listed
}
