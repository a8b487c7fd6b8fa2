//! What a broker learns about the device at the other end.

use std::net::IpAddr;

use mqtls::CaStatus::Active;
use mqtls::Sha256;
use mqtls::trust::SubjectAltName;
use rcgen::{DistinguishedName, DnType, DnValue, SanType};

use crate::support::{Door, NOW, TestCa, VERSIONS, date};

#[tokio::test]
async fn the_facts_are_those_of_the_devices_certificate() {
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let (upper, nearest) = (root.child("upper"), root.child("nearest"));
        let unregistered = nearest.child("unregistered");
        for ca in [&root, &nearest] {
            door.register(ca, Active).unwrap();
        }
        let plain = unregistered.device_with("device-1", |params| {
            params.distinguished_name.push(DnType::OrganizationName, "Acme");
            params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0xca, 0xfe]));
            params.not_before = date(NOW - 1);
            params.not_after = date(NOW + 1);
        });
        let identity = plain.clone().with_chain(&[&unregistered, &nearest, &upper]);
        let connection = door.knock(Some(&identity), version).await.admitted().await;
        let device = connection.device().unwrap();
        assert_eq!(device.subject(), "CN=device-1, O=Acme");
        assert_eq!(device.common_name(), Some("device-1"));
        assert_eq!(device.subject_alt_names(), []);
        assert_eq!(device.serial().to_string(), "00cafe");
        assert_eq!(device.sha256(), Sha256::of(plain.end_entity()));
        assert_eq!(device.validity().not_before.as_secs(), NOW - 1);
        assert_eq!(device.validity().not_after.as_secs(), NOW + 1);
        assert_eq!(device.ca_serial(), &nearest.serial());
    }
}

#[tokio::test]
async fn the_common_name_is_the_only_one_or_none() {
    /// The same attribute to a reader, another one to rcgen, which keeps one of each.
    const SECOND_NAME: [u64; 4] = [2, 5, 4, 3];
    let door = Door::open();
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    let text = |text: &str| DnValue::Utf8String(text.to_owned());
    let cases = [
        (vec![], None),
        (vec![(DnType::OrganizationName, text("Acme"))], None),
        (vec![(DnType::CommonName, text("device/#\n"))], Some("device/#\n")),
        (
            vec![
                (DnType::CommonName, text("device-1")),
                (DnType::CustomDnType(SECOND_NAME.to_vec()), text("device-2")),
            ],
            None,
        ),
    ];
    for version in VERSIONS {
        for (names, expected) in &cases {
            let mut subject = DistinguishedName::new();
            names.iter().for_each(|(kind, value)| subject.push(kind.clone(), value.clone()));
            let device = ca.device_with("", |params| params.distinguished_name = subject);
            let connection = door.knock(Some(&device), version).await.admitted().await;
            assert_eq!(connection.device().unwrap().common_name(), *expected);
        }
    }
}

#[tokio::test]
async fn each_kind_of_subject_alternative_name_is_told() {
    let v4: IpAddr = "192.0.2.1".parse().unwrap();
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    let sent = vec![
        SanType::DnsName("device.example.test".try_into().unwrap()),
        SanType::Rfc822Name("device@example.test".try_into().unwrap()),
        SanType::URI("spiffe://example.test/device".try_into().unwrap()),
        SanType::OtherName((vec![1, 3, 9999, 1], "other".into())),
        SanType::IpAddress(v4),
        SanType::IpAddress(v6),
    ];
    let told = [
        SubjectAltName::Dns("device.example.test".into()),
        SubjectAltName::Email("device@example.test".into()),
        SubjectAltName::Uri("spiffe://example.test/device".into()),
        SubjectAltName::Ip(v4),
        SubjectAltName::Ip(v6),
    ];
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let device = ca.device_with("device", |params| params.subject_alt_names.clone_from(&sent));
        let connection = door.knock(Some(&device), version).await.admitted().await;
        assert_eq!(connection.device().unwrap().subject_alt_names(), told);
    }
}
