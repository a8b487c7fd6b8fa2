//! What may be registered as a CA, and what it is refused for.

use mqtls::CaStatus::Active;
use mqtls::certificate::{CaCertificateError, PemError, SerialError};
use mqtls::control::{Cause, ErrorCode};
use mqtls::trust::{RegisterError, RegistrationWarning};
use mqtls::{CaCertificate, OperationError, Refusal};
use rcgen::{
    CertificateParams, CustomExtension, ExtendedKeyUsagePurpose as Purpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::pem::SectionKind;
use webpki::Error::NameConstraintViolation;

use crate::support::{Door, NOW, TestCa, VERSIONS, date, key, pem};

fn parsed(
    change: impl FnOnce(&mut CertificateParams),
) -> Result<CaCertificate, CaCertificateError> {
    CaCertificate::from_der(&TestCa::root_with("fleet", change).der)
}

#[test]
fn p03_what_is_no_ca_certificate_is_refused_by_its_fault() {
    type Change = fn(&mut CertificateParams);
    let unknown = |critical: bool| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 9999, 1], vec![5, 0]);
        extension.set_criticality(critical);
        vec![extension]
    };
    let cases: [(Change, Result<(), CaCertificateError>); 13] = [
        (|_| {}, Ok(())),
        (|params| params.is_ca = IsCa::NoCa, Err(CaCertificateError::NotACa)),
        (|params| params.is_ca = IsCa::ExplicitNoCa, Err(CaCertificateError::NotACa)),
        (|params| params.key_usages.clear(), Ok(())),
        (
            |params| params.key_usages = vec![KeyUsagePurpose::CrlSign],
            Err(CaCertificateError::NoKeyCertSign),
        ),
        (
            |params| params.extended_key_usages = vec![Purpose::ServerAuth],
            Err(CaCertificateError::NotForClientAuth),
        ),
        (|params| params.extended_key_usages = vec![Purpose::ClientAuth], Ok(())),
        (
            |params| params.extended_key_usages = vec![Purpose::ServerAuth, Purpose::ClientAuth],
            Ok(()),
        ),
        (|params| params.extended_key_usages = vec![Purpose::Any], Ok(())),
        (
            |params| params.distinguished_name = rcgen::DistinguishedName::new(),
            Err(CaCertificateError::EmptySubject),
        ),
        (|params| params.serial_number = Some(SerialNumber::from_slice(&[0x7f; 64])), Ok(())),
        (
            |params| params.serial_number = Some(SerialNumber::from_slice(&[0x7f; 65])),
            Err(SerialError::TooLong { length: 130 }.into()),
        ),
        (|params| params.serial_number = Some(SerialNumber::from_slice(&[0])), Ok(())),
    ];
    for (position, (change, expected)) in cases.into_iter().enumerate() {
        assert_eq!(parsed(change).map(drop), expected, "case {position}");
    }
    let unknown_critical = CaCertificateError::UnknownCriticalExtension("1.3.9999.1".into());
    assert!(parsed(|params| params.custom_extensions = unknown(false)).is_ok());
    let refused = parsed(|params| params.custom_extensions = unknown(true));
    assert_eq!(refused.map(drop), Err(unknown_critical));
}

#[test]
fn p03_bytes_that_are_no_one_certificate_are_refused_by_their_fault() {
    let good = TestCa::root("fleet").der.to_vec();
    let with_tail = [good.as_slice(), &[0]].concat();
    let cut = good[..good.len() - 1].to_vec();
    let v1 = include_bytes!("../../testdata/ca_x509_v1.der").to_vec();
    let minus_one = include_bytes!("../../testdata/ca_serial_minus_one.der").to_vec();
    let cases = [
        (good, Ok(())),
        (with_tail, Err(CaCertificateError::TrailingData)),
        (cut, Err(CaCertificateError::Malformed)),
        (Vec::new(), Err(CaCertificateError::Malformed)),
        (v1, Err(CaCertificateError::Version(1))),
        (minus_one, Err(SerialError::Negative.into())),
    ];
    for (position, (der, expected)) in cases.into_iter().enumerate() {
        assert_eq!(CaCertificate::from_der(&der).map(drop), expected, "case {position} as DER");
        let text = pem("CERTIFICATE", &der);
        assert_eq!(CaCertificate::from_pem(text.as_bytes()).map(drop), expected, "case {position}");
    }
}

#[test]
fn p03_a_certificate_of_1_mb_is_refused_unread() {
    let padded = |bytes: usize| {
        TestCa::root_with("fleet", |params| {
            let filler = CustomExtension::from_oid_content(&[1, 3, 9999, 1], vec![0; bytes]);
            params.custom_extensions.push(filler);
        })
        .der
    };
    let large = padded(60_000);
    assert!(CaCertificate::from_der(&large).is_ok());
    assert!(CaCertificate::from_pem(pem("CERTIFICATE", &large).as_bytes()).is_ok());

    let huge = padded(1 << 20);
    let too_large = |length, limit| Err(CaCertificateError::TooLarge { length, limit });
    assert_eq!(CaCertificate::from_der(&huge).map(drop), too_large(huge.len(), 65_535));
    let text = pem("CERTIFICATE", &huge);
    let refused = CaCertificate::from_pem(text.as_bytes()).map(drop);
    assert_eq!(refused, too_large(text.len(), 131_070));
    let filled = pem("CERTIFICATE", &TestCa::root("fleet").der) + &"\n".repeat(1 << 20);
    let refused = CaCertificate::from_pem(filled.as_bytes()).map(drop);
    assert_eq!(refused, too_large(filled.len(), 131_070));
}

#[test]
fn p03_a_pem_text_holds_one_certificate_and_no_secret() {
    let (ca, other) = (TestCa::root("fleet"), TestCa::root("other"));
    let one = pem("CERTIFICATE", &ca.der);
    let two = pem("CERTIFICATE", &other.der);
    let key = ca.key.serialize_pem();
    let section = |label| pem(label, b"whatever");
    let no_pem = |error: PemError| Err(CaCertificateError::Pem(error));
    let cases = [
        (one.clone(), Ok(())),
        (one.replace('\n', "\r\n"), Ok(())),
        (format!("subject=CN = fleet\n{one}\n \n"), Ok(())),
        (one.trim_end().to_owned(), Ok(())),
        (format!("{one}{two}"), Err(CaCertificateError::SeveralCertificates(2))),
        (format!("{one}{one}"), Err(CaCertificateError::SeveralCertificates(2))),
        (format!("{one}{key}"), Err(CaCertificateError::PrivateKey)),
        (format!("{key}{one}"), Err(CaCertificateError::PrivateKey)),
        (format!("{one}{}", section("EC PRIVATE KEY")), Err(CaCertificateError::PrivateKey)),
        (format!("{one}{}", section("RSA PRIVATE KEY")), Err(CaCertificateError::PrivateKey)),
        (
            format!("{one}{}", include_str!("../../testdata/key_encrypted_pkcs8.pem")),
            Err(CaCertificateError::PrivateKey),
        ),
        (
            format!("{one}{}", section("X509 CRL")),
            Err(CaCertificateError::UnexpectedSection(SectionKind::Crl)),
        ),
        (
            format!("{one}{}", section("TRUSTED CERTIFICATE")),
            no_pem(PemError::UnknownSection("TRUSTED CERTIFICATE".into())),
        ),
        (format!("{one}garbage"), no_pem(PemError::TrailingData)),
        (format!("{}garbage", one.trim_end()), no_pem(PemError::TrailingData)),
        (format!("{one}-----END of it-----"), no_pem(PemError::TrailingData)),
        (one.replace("-----END CERTIFICATE-----", ""), no_pem(PemError::Malformed { position: 1 })),
        (one.replacen('M', "*", 1), no_pem(PemError::Malformed { position: 1 })),
        (format!("{one}{}", &two[..two.len() / 2]), no_pem(PemError::Malformed { position: 2 })),
        (String::new(), no_pem(PemError::NoSection)),
        ("fleet".to_owned(), no_pem(PemError::NoSection)),
    ];
    for (position, (text, expected)) in cases.into_iter().enumerate() {
        let parsed = CaCertificate::from_pem(text.as_bytes()).map(drop);
        assert_eq!(parsed, expected, "case {position}: {text}");
    }
}

#[test]
fn p03_an_expired_ca_is_not_registered() {
    let door = Door::open();
    let ca = TestCa::root_with("fleet", |params| params.not_after = date(NOW));
    door.clock.set(NOW + 1);
    let expired =
        RegisterError::Expired { serial: ca.serial(), validity: ca.certificate().validity() };
    assert_unusable(&door.register(&ca, Active).unwrap_err(), &expired);
    assert!(door.instance.trust().is_empty());
    door.clock.set(NOW);
    door.register(&ca, Active).unwrap();
}

#[tokio::test]
async fn p03_a_key_that_the_provider_cannot_verify_is_not_registered() {
    let door = Door::open();
    let ed448 = fixed(include_bytes!("../../testdata/ca_ed448.der"));
    let unsupported = RegisterError::UnsupportedKey(ed448.serial().clone());
    assert_unusable(&register(&door, ed448).unwrap_err(), &unsupported);
    let rsa_1024 = fixed(include_bytes!("../../testdata/ca_rsa_1024.der"));
    let too_small = RegisterError::RsaKeySize { serial: rsa_1024.serial().clone(), bits: 1024 };
    assert_unusable(&register(&door, rsa_1024).unwrap_err(), &too_small);
    assert!(door.instance.trust().is_empty());

    let keys = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        #[cfg(not(feature = "ring"))]
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_ED25519,
    ];
    let keys = keys.map(key).into_iter().chain([crate::support::rsa_key()]);
    for key in keys {
        let ca = TestCa::self_signed(key.into(), "fleet", |_| {});
        door.register(&ca, Active).unwrap();
        for version in VERSIONS {
            door.knock(Some(&ca.device("device")), version).await.admitted().await;
        }
        door.delete(&ca);
    }
}

#[cfg(feature = "ring")]
#[test]
fn p03_a_p521_ca_is_registered_where_the_provider_verifies_it_and_else_refused() {
    use std::sync::Arc;

    use mqtls::ClientAuth;

    let p521 = key(&rcgen::PKCS_ECDSA_P521_SHA512);
    let ca = TestCa::self_signed(p521.into(), "fleet", |_| {});
    let door_of = |provider| Door::unconfigured(ClientAuth::Required, Arc::new(provider));
    let door = door_of(rustls::crypto::ring::default_provider());
    let unsupported = RegisterError::UnsupportedKey(ca.serial());
    assert_unusable(&door.register(&ca, Active).unwrap_err(), &unsupported);
    door.register(&TestCa::root("fleet"), Active).unwrap();
    let door = door_of(rustls::crypto::aws_lc_rs::default_provider());
    door.register(&ca, Active).unwrap();
}

/// What a registration warns of, beside what is registered already.
fn warnings(door: &Door, certificate: CaCertificate) -> Vec<RegistrationWarning> {
    door.register_certificate(certificate, Active).unwrap().warnings
}

#[test]
fn a_registration_warns_of_what_an_operator_should_know() {
    const DAY: u64 = 24 * 60 * 60;
    let door = Door::open();
    let ca = TestCa::root("fleet");
    assert_eq!(warnings(&door, ca.certificate()), []);
    let twin = ca.twin(|_| {});
    assert_eq!(warnings(&door, twin.certificate()), [RegistrationWarning::Twin(ca.serial())]);
    let other_serial =
        |params: &mut CertificateParams| params.serial_number = Some(SerialNumber::from(7));
    let alias = TestCa::self_signed(ca.key.clone(), "alias", other_serial);
    assert_eq!(warnings(&door, alias.certificate()), [RegistrationWarning::SameKey(ca.serial())]);
    let namesake = TestCa::root("fleet");
    assert_eq!(
        warnings(&door, namesake.certificate()),
        [RegistrationWarning::SameSubject(ca.serial())]
    );
    let no_key_id = fixed(include_bytes!("../../testdata/ca_without_key_id.der"));
    door.clock.set(NOW + 365 * DAY);
    assert_eq!(warnings(&door, no_key_id), [RegistrationWarning::NoKeyId]);
    door.clock.set(NOW);
    let rsa = TestCa::self_signed(crate::support::rsa_key().into(), "rsa", |_| {});
    assert_eq!(warnings(&door, rsa.certificate()), [RegistrationWarning::WeakKey { bits: 2048 }]);

    let until =
        |day| TestCa::root_with("ends", |params| params.not_after = date_time_ymd(2026, 1, day));
    let ending = until(30);
    assert_eq!(
        warnings(&door, ending.certificate()),
        [RegistrationWarning::ExpiresSoon(ending.certificate().validity())]
    );
    door.delete(&ending);
    assert_eq!(warnings(&door, until(31).certificate()), []);
    let early = TestCa::root_with("early", |params| params.not_before = date_time_ymd(2026, 1, 2));
    assert_eq!(
        warnings(&door, early.certificate()),
        [RegistrationWarning::NotYetValid(early.certificate().validity())]
    );
}

#[tokio::test]
async fn name_constraints_that_are_not_compared_are_warned_of_and_refuse_such_names() {
    let constrained = |subtree: GeneralSubtree| {
        TestCa::root_with("constrained", |params| {
            let permitted_subtrees = vec![subtree];
            let excluded_subtrees = vec![];
            params.name_constraints =
                Some(NameConstraints { permitted_subtrees, excluded_subtrees });
        })
    };
    let email = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![SanType::Rfc822Name("a@example.com".try_into().unwrap())];
    };
    let by_email = constrained(GeneralSubtree::Rfc822Name("example.com".to_owned()));
    let by_subject = constrained(GeneralSubtree::DirectoryName(rcgen::DistinguishedName::new()));
    let by_dns_name = constrained(GeneralSubtree::DnsName("example.com".to_owned()));
    for version in VERSIONS {
        let door = Door::open();
        for ca in [&by_email, &by_subject] {
            assert_eq!(warnings(&door, ca.certificate()), [RegistrationWarning::NameConstraints]);
            door.delete(ca);
        }
        door.register(&by_subject, Active).unwrap();
        let visit = door.knock(Some(&by_subject.device("device")), version).await;
        assert_eq!(visit.not_believed(), Refusal::Invalid(NameConstraintViolation));

        let door = Door::open();
        door.register(&by_email, Active).unwrap();
        let visit = door.knock(Some(&by_email.device_with("device", email)), version).await;
        assert_eq!(visit.not_believed(), Refusal::Invalid(NameConstraintViolation));
        door.knock(Some(&by_email.device("device")), version).await.admitted().await;

        let door = Door::open();
        assert_eq!(warnings(&door, by_dns_name.certificate()), []);
        door.knock(Some(&by_dns_name.device("device")), version).await.admitted().await;
    }
}

fn fixed(der: &[u8]) -> CaCertificate {
    CaCertificate::from_der(der).unwrap()
}

fn register(door: &Door, certificate: CaCertificate) -> Result<(), OperationError> {
    door.register_certificate(certificate, Active).map(drop)
}

fn assert_unusable(error: &OperationError, expected: &RegisterError) {
    assert!(matches!(error.cause(), Cause::Register(cause) if cause == expected), "{error:?}");
    assert_eq!(error.code(), ErrorCode::CertificateContentError);
}
