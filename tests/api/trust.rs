//! Devices are believed or refused by the status of their CA.

use mqtls::CaStatus::Active;
use mqtls::instance::Outcome;
use mqtls::trust::Refusal;
use mqtls::{ClientAuth, Refused};
use rcgen::IsCa;
use rustls::{AlertDescription, Error};
use webpki::Error::CaUsedAsEndEntity;

use crate::support::{Door, HeldHandshake, TestCa, VERSIONS, client, thief};

#[tokio::test]
async fn a_device_of_an_active_ca_is_admitted_and_of_an_inactive_one_refused() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        let device = ca.device("device-1");
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::UnknownIssuer);

        door.register(&ca, Active).unwrap();
        let connection = door.knock(Some(&device), version).await.admitted().await;
        assert_eq!(connection.device().unwrap().common_name(), Some("device-1"));
        assert_eq!(connection.device().unwrap().ca_serial(), &ca.serial());

        door.deactivate(&ca);
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(ca.serial()));

        door.activate(&ca);
        door.knock(Some(&device), version).await.admitted().await;
        door.delete(&ca);
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::UnknownIssuer);
    }
}

#[tokio::test]
async fn p03_a_registered_cas_own_certificate_is_no_device() {
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let sub = root.child("sub");
        door.register(&root, Active).unwrap();
        door.register(&sub, Active).unwrap();
        for ca in [&root, &sub] {
            let refusal = door.knock(Some(&ca.as_device()), version).await.not_believed();
            assert_eq!(refusal, Refusal::Invalid(CaUsedAsEndEntity));
        }
        door.knock(Some(&root.device("device")), version).await.admitted().await;
    }
}

#[tokio::test]
async fn p03_a_self_signed_end_entity_is_refused_whatever_it_calls_itself() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        for name in ["stranger", "fleet"] {
            let alone = TestCa::root_with(name, |params| params.is_ca = IsCa::ExplicitNoCa);
            let refusal = door.knock(Some(&alone.as_device()), version).await.not_believed();
            assert_eq!(refusal, Refusal::UnknownIssuer, "{name}");
        }
    }
}

#[tokio::test]
async fn p10_who_does_not_hold_the_certificates_key_is_nobody() {
    for version in VERSIONS {
        for client_auth in [ClientAuth::Required, ClientAuth::Optional] {
            let door = Door::open_with(client_auth);
            let ca = TestCa::root("fleet");
            door.register(&ca, Active).unwrap();
            let (victim, own) = (ca.device("victim"), ca.device("own"));
            let visit = door.visit(thief(&victim, &own, version), "localhost").await;
            assert_eq!(visit.client.unwrap_err(), Some(AlertDescription::DecryptError));
            assert!(matches!(visit.server, Err(Refused::Device(Refusal::NotProven))));
            assert_eq!(door.instances.stats().of(Outcome::NotProven), 1);
            assert_eq!(door.instances.stats().of(Outcome::Admitted), 0);

            let honest = door.visit(thief(&victim, &victim, version), "localhost").await;
            honest.admitted().await;
        }
    }
}

/// On TLS 1.2 only, where the message travels in clear and can be taken out of the flight.
#[tokio::test]
async fn p10_no_certificate_verify_at_all_is_no_proof() {
    const HANDSHAKE: u8 = 22;
    const CERTIFICATE_VERIFY: u8 = 15;
    let door = Door::open();
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    let config = client(Some(&ca.device("device")), &rustls::version::TLS12);
    let (mut held, mut records) = HeldHandshake::up_to_the_certificate(&door, config).await;
    let sent = records.len();
    records.retain(|record| (record[0], record[5]) != (HANDSHAKE, CERTIFICATE_VERIFY));
    assert_eq!(records.len(), sent - 1);
    held.pass(records).await;
    let visit = held.release().await;
    assert_eq!(visit.client.unwrap_err(), Some(AlertDescription::UnexpectedMessage));
    assert!(matches!(visit.server, Err(Refused::Tls(Error::InappropriateMessage { .. }))));
}

#[tokio::test]
async fn p11_a_device_of_one_instance_is_a_stranger_at_another() {
    for version in VERSIONS {
        let here = Door::open();
        let there = here.beside("mqtt-there");
        let (ours, theirs) = (TestCa::root("fleet"), TestCa::root("fleet"));
        here.register(&ours, Active).unwrap();
        there.register(&theirs, Active).unwrap();
        let device = ours.device("device-1");
        here.knock(Some(&device), version).await.admitted().await;
        let refusal = there.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::UnknownIssuer);
        // What one instance deactivates, the other one still believes.
        there.register(&ours, Active).unwrap();
        here.deactivate(&ours);
        there.knock(Some(&device), version).await.admitted().await;
        let refusal = here.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(ours.serial()));
    }
}
