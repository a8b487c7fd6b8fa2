//! Whether clients must, may or cannot show a certificate.

use mqtls::instance::Outcome;
use mqtls::trust::Refusal;
use mqtls::{CaStatus::Active, ClientAuth, Refused};
use rustls::AlertDescription;

use crate::support::{Door, TestCa, VERSIONS};

#[tokio::test]
async fn where_a_certificate_is_required_none_is_refused_as_such() {
    for version in VERSIONS {
        let door = Door::open_with(ClientAuth::Required);
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        door.knock(Some(&ca.device("device")), version).await.admitted().await;

        let visit = door.knock(None, version).await;
        assert_eq!(visit.client.unwrap_err(), Some(AlertDescription::CertificateRequired));
        assert!(matches!(visit.server, Err(Refused::NoDeviceCertificate)));
        assert_eq!(door.instances.stats().of(Outcome::NoDeviceCertificate), 1);
    }
}

#[tokio::test]
async fn where_a_certificate_is_optional_none_is_anonymous_and_a_bad_one_refused() {
    for version in VERSIONS {
        let door = Door::open_with(ClientAuth::Optional);
        let (ca, foreign) = (TestCa::root("fleet"), TestCa::root("foreign"));
        let anonymous = door.knock(None, version).await.admitted().await;
        assert!(anonymous.device().is_none());

        let device = ca.device("device");
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::UnknownIssuer);
        door.register(&ca, Active).unwrap();
        let known = door.knock(Some(&device), version).await.admitted().await;
        assert_eq!(known.device().unwrap().common_name(), Some("device"));
        let refusal = door.knock(Some(&foreign.device("device")), version).await.not_believed();
        assert_eq!(refusal, Refusal::UnknownIssuer);
        door.deactivate(&ca);
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(ca.serial()));
    }
}

#[tokio::test]
async fn where_client_auth_is_disabled_nobody_is_asked() {
    for version in VERSIONS {
        let door = Door::open_with(ClientAuth::Disabled);
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        for identity in [None, Some(&ca.device("device"))] {
            let connection = door.knock(identity, version).await.admitted().await;
            assert!(connection.device().is_none());
        }
    }
}

#[tokio::test]
async fn p09_an_instance_without_an_active_ca_refuses_everyone() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        let device = ca.device("device");
        let refuses_everyone = async |expected: Refusal| {
            let refusal = door.knock(Some(&device), version).await.not_believed();
            assert_eq!(refusal, expected);
            let visit = door.knock(None, version).await;
            assert!(matches!(visit.server, Err(Refused::NoDeviceCertificate)));
        };
        refuses_everyone(Refusal::UnknownIssuer).await;
        door.register(&ca, mqtls::CaStatus::Inactive).unwrap();
        refuses_everyone(Refusal::InactiveCa(ca.serial())).await;
        door.activate(&ca);
        door.knock(Some(&device), version).await.admitted().await;
        door.delete(&ca);
        refuses_everyone(Refusal::UnknownIssuer).await;
    }
}
