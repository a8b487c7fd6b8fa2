//! Devices are believed or refused by the status of their CA.

use mqtls::CaStatus;
use mqtls::trust::Refusal;

use crate::support::{Door, TestCa, VERSIONS};

#[tokio::test]
async fn a_device_of_an_active_ca_is_admitted_and_of_an_inactive_one_refused() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        let device = ca.device("device-1");
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::UnknownIssuer);

        door.register(&ca, CaStatus::Active).unwrap();
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
