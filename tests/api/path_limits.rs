//! What a stranger's chain may cost, in certificates, bytes and signature checks.

use std::sync::Arc;
use std::time::Duration;

use mqtls::CaStatus::{Active, Inactive};
use mqtls::trust::Refusal;
use rcgen::{
    CertificateParams, CustomExtension, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    SignatureAlgorithm, date_time_ymd,
};

use rustls_pki_types::UnixTime;

use crate::support::{Door, Examinations, Identity, NOW, TestCa, VERSIONS, key, large_rsa_key};

/// An attacker who knows no more than the CA's name: `count` intermediates whose names alternate,
/// so that every second one looks as if the CA had issued it.
fn alternating(ca_name: &str, count: usize) -> Identity {
    alternating_over(&PKCS_ECDSA_P256_SHA256, ca_name, count, |_| {})
}

fn alternating_over(
    algorithm: &'static SignatureAlgorithm,
    ca_name: &str,
    count: usize,
    change: fn(&mut CertificateParams),
) -> Identity {
    let new_key = || Arc::new(key(algorithm));
    let forged_ca = TestCa::self_signed(new_key(), ca_name, |_| {});
    let other = TestCa::self_signed(new_key(), "other", |_| {});
    let link = |at| match at % 2 {
        0 => other.sign(new_key(), ca_name, change),
        _ => forged_ca.sign(new_key(), "other", change),
    };
    let links: Vec<TestCa> = (0..count).map(link).collect();
    forged_ca.device("intruder").with_chain(&links.iter().collect::<Vec<_>>())
}

#[tokio::test]
async fn p08_alternating_junk_costs_16_signature_checks() {
    let examinations = Examinations::watch();
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        for count in [6, 8] {
            let intruder = alternating("fleet", count);
            let refusal = door.knock(Some(&intruder), version).await.not_believed();
            assert_eq!(refusal, Refusal::TooManySignatureChecks);
            assert_eq!(examinations.take(), [16], "{count} intermediates");
        }
        let intruder = alternating_over(&PKCS_ECDSA_P384_SHA384, "fleet", 8, |_| {});
        let refusal = door.knock(Some(&intruder), version).await.not_believed();
        assert_eq!(refusal, Refusal::TooManySignatureChecks);
        assert_eq!(examinations.take(), [16], "whatever the kind of key");
        // Two of them make no more than two paths that end in the CA's name, however often they
        // are sent.
        let mut intruder = alternating("fleet", 2);
        let links = intruder.chain[1..].to_vec();
        for _ in 0..3 {
            let refusal = door.knock(Some(&intruder), version).await.not_believed();
            assert_eq!(refusal, Refusal::UnknownIssuer);
            assert_eq!(examinations.take(), [2]);
            intruder.chain.extend(links.clone());
        }
    }
}

/// Whatever leads to the CA's name has expired, so no path costs a signature check, and the names
/// between alternate, so there are hundreds of them.
#[tokio::test]
async fn p08_a_search_that_leads_nowhere_ends_early() {
    let examinations = Examinations::watch();
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let (a, b, forged_ca) = (TestCa::root("A"), TestCa::root("B"), TestCa::root("fleet"));
        let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2025, 1, 1);
        let intruder = |count| {
            let mut links = vec![forged_ca.child_with("A", expired)];
            links.extend((0..count).map(|_| b.child("A")));
            links.extend((0..count).map(|_| a.child("B")));
            a.device("intruder").with_chain(&links.iter().collect::<Vec<_>>())
        };
        let refusal = door.knock(Some(&intruder(3)), version).await.not_believed();
        assert_eq!(refusal, Refusal::SearchTooLong);
        assert_eq!(examinations.take(), [0]);
        let refusal = door.knock(Some(&intruder(1)), version).await.not_believed();
        let seconds = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (time, not_after) = (seconds(NOW), seconds(NOW - 365 * 24 * 60 * 60));
        let expired = webpki::Error::CertExpired { time, not_after };
        assert_eq!(refusal, Refusal::Invalid(expired));
        assert_eq!(examinations.take(), [0]);
    }
}

/// Each step of a search reads all intermediates, so it costs more where they are large.
#[tokio::test]
async fn p08_large_intermediates_shorten_the_search() {
    let fat: fn(&mut CertificateParams) = |params| {
        let filler = CustomExtension::from_oid_content(&[1, 3, 9999, 1], vec![0; 3_400]);
        params.custom_extensions.push(filler);
    };
    let examinations = Examinations::watch();
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let intruder = alternating_over(&PKCS_ECDSA_P256_SHA256, "fleet", 8, fat);
        let refusal = door.knock(Some(&intruder), version).await.not_believed();
        assert_eq!(refusal, Refusal::SearchTooLong);
        let [checks] = examinations.take()[..] else { panic!("examined once") };
        assert!(checks <= 12, "{checks} checks");

        // An honest chain needs a step for each certificate.
        let mut links = vec![ca.child_with("sub 0", fat)];
        for at in 1..5 {
            links.push(links[at - 1].child_with(&format!("sub {at}"), fat));
        }
        let device = links[4].device("device").with_chain(&links.iter().collect::<Vec<_>>());
        door.knock(Some(&device), version).await.admitted().await;
        assert_eq!(examinations.take(), [6]);
    }
}

/// No path names a subject with one key twice, so what bears the device's own leads nowhere.
#[tokio::test]
async fn p08_a_link_of_the_devices_own_name_and_key_is_not_looked_at() {
    let examinations = Examinations::watch();
    for version in VERSIONS {
        let door = Door::open();
        door.register(&TestCa::root("fleet"), Active).unwrap();
        let (a, b, forged_ca) = (TestCa::root("A"), TestCa::root("B"), TestCa::root("fleet"));
        let intruder = a.device("A");
        let own = forged_ca.sign(intruder.key.clone(), "A", |_| {});
        let mut links = vec![own];
        links.extend((0..4).map(|_| b.child("A")));
        links.extend((0..3).map(|_| a.child("B")));
        let intruder = intruder.with_chain(&links.iter().collect::<Vec<_>>());
        let refusal = door.knock(Some(&intruder), version).await.not_believed();
        assert_eq!(refusal, Refusal::UnknownIssuer);
        assert_eq!(examinations.take(), [0]);
    }
}

#[tokio::test]
async fn p08_an_honest_chain_costs_a_check_for_each_certificate_below_the_anchor() {
    let examinations = Examinations::watch();
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let sub = root.child("sub");
        door.register(&root, Active).unwrap();
        door.knock(Some(&root.device("device")), version).await.admitted().await;
        assert_eq!(examinations.take(), [1]);
        let device = sub.device("device").with_chain(&[&sub]);
        door.knock(Some(&device), version).await.admitted().await;
        assert_eq!(examinations.take(), [2]);
    }
}

#[tokio::test]
async fn p08_self_issued_intermediates_cost_nothing() {
    let examinations = Examinations::watch();
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        for (count, expected) in [
            (8, (Refusal::UnknownIssuer, 1)),
            (9, (Refusal::TooManyIntermediates(9), 0)),
            (20, (Refusal::TooManyIntermediates(20), 0)),
            (60, (Refusal::TooManyIntermediates(60), 0)),
        ] {
            let forged: Vec<_> = (0..count).map(|_| TestCa::root("fleet")).collect();
            let intruder =
                forged[0].device("intruder").with_chain(&forged.iter().collect::<Vec<_>>());
            let refusal = door.knock(Some(&intruder), version).await.not_believed();
            let [checks] = examinations.take()[..] else { panic!("examined once") };
            assert_eq!((refusal, checks), expected);
        }
    }
}

/// What is over a limit is not even read, so the kind of key does not matter; within the limits
/// the costliest keys cost no more checks than others.
#[tokio::test]
async fn p08_large_keys_cost_no_more_checks() {
    let examinations = Examinations::watch();
    let p384 = Arc::new(key(&PKCS_ECDSA_P384_SHA384));
    for key in [large_rsa_key(), p384] {
        let door = Door::open();
        let ca = TestCa::self_signed(Arc::clone(&key), "fleet", |_| {});
        door.register(&ca, Active).unwrap();
        assert!(door.believes(&ca.device("device")));
        assert_eq!(examinations.take(), [1]);
        for count in [20, 60, 120, 160] {
            let own = (0..count).map(|_| ca.twin(|_| {}));
            let long =
                ca.device("device").with_chain(&own.collect::<Vec<_>>().iter().collect::<Vec<_>>());
            assert!(!door.believes(&long));
            assert_eq!(examinations.take(), [0], "{count} self-issued");
            assert!(!door.believes(&long));
            let expected = Refusal::TooManyIntermediates(count).to_string();
            assert_eq!(examinations.take_reasons(), [expected]);
        }
        let few: Vec<_> = (0..8).map(|_| ca.twin(|_| {})).collect();
        let device = ca.device("device").with_chain(&few.iter().collect::<Vec<_>>());
        assert!(door.believes(&device), "eight self-issued are dropped");
        assert_eq!(examinations.take(), [1]);
    }
}

#[tokio::test]
async fn p08_inactive_cas_cost_nothing_and_active_twins_no_more_than_one_check() {
    let examinations = Examinations::watch();
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        let device = ca.device("device");
        let twins: Vec<_> = (0..8).map(|_| ca.twin(|_| {})).collect();
        for twin in &twins {
            door.register(twin, Inactive).unwrap();
        }
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(twins[0].serial()));
        assert_eq!(examinations.take(), [0]);
        for twin in &twins {
            door.activate(twin);
            door.knock(Some(&device), version).await.admitted().await;
            assert_eq!(examinations.take(), [1]);
        }
    }
}

#[tokio::test]
async fn p08_eight_intermediates_are_looked_at_and_nine_are_not() {
    let examinations = Examinations::watch();
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let sub = root.child("sub");
        door.register(&root, Active).unwrap();
        let unrelated: Vec<_> = (0..8).map(|_| TestCa::root("a").child("b")).collect();
        for extras in [7, 8] {
            let mut chain: Vec<_> = unrelated.iter().take(extras).collect();
            chain.push(&sub);
            let device = sub.device("device").with_chain(&chain);
            let visit = door.knock(Some(&device), version).await;
            if chain.len() == 8 {
                visit.admitted().await;
                assert_eq!(examinations.take(), [2]);
            } else {
                assert_eq!(visit.not_believed(), Refusal::TooManyIntermediates(9));
                assert_eq!(examinations.take(), [0]);
            }
        }
    }
}

#[tokio::test]
async fn p08_a_chain_of_32_kib_is_looked_at_and_one_byte_more_is_not() {
    const LIMIT: usize = 32 * 1024;
    let examinations = Examinations::watch();
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        for length in [LIMIT, LIMIT + 1] {
            let device = device_of_length(&ca, length);
            let visit = door.knock(Some(&device), version).await;
            if length == LIMIT {
                visit.admitted().await;
                assert_eq!(examinations.take(), [1]);
            } else {
                assert_eq!(visit.not_believed(), Refusal::ChainTooLarge(length));
                assert_eq!(examinations.take(), [0]);
            }
        }
    }
}

/// A device's certificate of exactly this many bytes: made again until its signature, whose
/// length varies by a byte or two, fits.
fn device_of_length(ca: &TestCa, length: usize) -> Identity {
    let padded = |padding| {
        ca.device_with("device", |params| {
            let filler = vec![0; padding];
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(&[1, 3, 9999, 1], filler));
        })
    };
    let overhead = padded(length / 2).end_entity().len() - length / 2;
    let found = std::iter::repeat_with(|| padded(length - overhead));
    found.into_iter().find(|device| device.end_entity().len() == length).unwrap()
}
