//! What is registered works in a handshake, and what could not is refused.

use std::sync::Arc;

use mqtls::CaStatus::Active;
use mqtls::control::Cause;
use mqtls::control::ErrorCode;
use mqtls::trust::{RegisterError, RegistrationWarning};
use mqtls::{CaCertificate, OperationError};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519,
};

use crate::support::{Door, EncodedKey, NOW, TestCa, VERSIONS, key, large_rsa_key, rsa_key};

/// What CA certificates look like, each another way.
const SHAPES: [fn(&mut CertificateParams); 10] = [
    |_| {},
    |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
    |params| params.key_usages.clear(),
    |params| params.use_authority_key_identifier_extension = false,
    |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
    |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any],
    |params| params.serial_number = Some(vec![0xff; 19].into()),
    |params| {
        let printable = DnValue::PrintableString("fleet".try_into().unwrap());
        params.distinguished_name.push(DnType::CommonName, printable);
        params.distinguished_name.push(DnType::OrganizationName, "Bücher & Söhne");
        params.distinguished_name.push(DnType::OrganizationalUnitName, "x".repeat(200));
    },
    |params| {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    },
    |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example.com".to_owned())],
            excluded_subtrees: vec![GeneralSubtree::DnsName("not.example.com".to_owned())],
        });
    },
];

#[tokio::test]
async fn whatever_is_registered_without_a_warning_of_constraints_admits_its_devices() {
    let keys = [
        Arc::new(key(&PKCS_ECDSA_P256_SHA256)),
        Arc::new(key(&PKCS_ECDSA_P384_SHA384)),
        Arc::new(key(&PKCS_ED25519)),
        Arc::new(rsa_key()),
        large_rsa_key(),
    ];
    for key in keys {
        for (at, shape) in SHAPES.into_iter().enumerate() {
            let door = Door::open();
            let root = TestCa::root("root");
            let signed_by_itself = TestCa::self_signed(Arc::clone(&key), "fleet", shape);
            let signed_by_another = root.sign(Arc::clone(&key), "sub", shape);
            for ca in [signed_by_itself, signed_by_another] {
                let registered = door.register(&ca, Active).unwrap();
                assert!(!registered.warnings.contains(&RegistrationWarning::NameConstraints));
                assert!(door.believes(&ca.device("device")), "shape {at}");
                door.delete(&ca);
            }
        }
        for version in VERSIONS {
            let door = Door::open();
            let ca = TestCa::self_signed(Arc::clone(&key), "fleet", |_| {});
            door.register(&ca, Active).unwrap();
            door.knock(Some(&ca.device("device")), version).await.admitted().await;
        }
    }
}

#[test]
fn a_root_whose_own_signature_is_not_good_is_not_registered() {
    let door = Door::open();
    for ca in [
        TestCa::root("fleet"),
        TestCa::self_signed(Arc::new(rsa_key()), "fleet", |_| {}),
        TestCa::self_signed(Arc::new(key(&PKCS_ED25519)), "fleet", |_| {}),
        TestCa::root_with("fleet", |params| params.use_authority_key_identifier_extension = false),
    ] {
        let mut damaged = ca.der.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        let damaged = CaCertificate::from_der(&damaged).unwrap();
        let error = door.register_certificate(damaged, Active).unwrap_err();
        assert_refused(&error, &RegisterError::BadSelfSignature(ca.serial()));
        assert!(door.instance.trust().is_empty());
        door.register(&ca, Active).unwrap();
        door.delete(&ca);
    }
}

#[test]
fn a_key_that_is_no_point_on_its_curve_is_not_registered_where_its_own_signature_tells() {
    let door = Door::open();
    let ca = TestCa::root_with("fleet", |_| {});
    let der = ca.sign_encoded_plainly(&EncodedKey::off_curve(&ca.key), "fleet");
    let certificate = CaCertificate::from_der(&der).unwrap();
    let serial = certificate.serial().clone();
    let error = door.register_certificate(certificate, Active).unwrap_err();
    assert_refused(&error, &RegisterError::BadSelfSignature(serial));
}

#[tokio::test]
async fn who_signed_a_ca_does_not_matter_where_it_was_not_itself() {
    // A key's rollover: the new key under the old name, signed with the old key.
    let old = TestCa::root("fleet");
    let new = old.child("fleet");
    for version in VERSIONS {
        let door = Door::open();
        door.register(&new, Active).unwrap();
        door.knock(Some(&new.device("device")), version).await.admitted().await;
    }
    // An old root, signed with a hash that nobody verifies anymore, its key as good as ever.
    let door = Door::open();
    door.clock.set(NOW + 365 * 24 * 60 * 60);
    let sha1 = include_bytes!("../../testdata/ca_signed_with_sha1.der");
    door.register_certificate(CaCertificate::from_der(sha1).unwrap(), Active).unwrap();
}

fn assert_refused(error: &OperationError, expected: &RegisterError) {
    assert!(matches!(error.cause(), Cause::Register(cause) if cause == expected), "{error:?}");
    assert_eq!(error.code(), ErrorCode::CertificateContentError);
}
