//! Many CAs of one name: the key id leads to the right one, and proves nothing.

use mqtls::CaStatus::{Active, Inactive};
use mqtls::trust::Refusal;
use rcgen::{CertificateParams, CustomExtension, IsCa, KeyIdMethod};

use crate::support::{Door, Examinations, Identity, TestCa, VERSIONS};

/// An instance with so many CAs of the name "fleet", each with a key of its own.
fn many(count: usize) -> (Door, Vec<TestCa>) {
    let door = Door::open();
    let cas: Vec<_> = (0..count).map(|_| TestCa::root("fleet")).collect();
    for ca in &cas {
        door.register(ca, Active).unwrap();
    }
    (door, cas)
}

/// A device whose certificate names no issuer's key.
fn without_key_id(ca: &TestCa) -> Identity {
    ca.device_with("device", |params| params.use_authority_key_identifier_extension = false)
}

/// rcgen gives every CA a key id, so this one's basic constraints are written by hand.
fn without_subject_key_id(params: &mut CertificateParams) {
    const CA_TRUE: [u8; 5] = [0x30, 0x03, 0x01, 0x01, 0xff];
    params.is_ca = IsCa::NoCa;
    let mut constraints = CustomExtension::from_oid_content(&[2, 5, 29, 19], CA_TRUE.to_vec());
    constraints.set_criticality(true);
    params.custom_extensions.push(constraints);
}

/// The same CA, which says of its key id what `said` has.
fn lying(ca: &TestCa, said: &TestCa) -> TestCa {
    let mut liar = ca.clone();
    liar.params.key_identifier_method = KeyIdMethod::PreSpecified(key_id(said));
    liar
}

fn key_id(ca: &TestCa) -> Vec<u8> {
    ca.params.key_identifier(ca.key.as_ref())
}

#[tokio::test]
async fn p04_among_many_cas_of_one_name_a_leaf_with_a_key_id_costs_one_check() {
    let examinations = Examinations::watch();
    for (count, every) in [(150, 1), (5_000, 100)] {
        let (door, cas) = many(count);
        for ca in cas.iter().step_by(every).chain(cas.last()) {
            assert!(door.believes(&ca.device("device")));
            assert_eq!(examinations.take(), [1]);
        }
        let sub = cas[count - 1].child("sub");
        let below_sub = sub.device("device").with_chain(&[&sub]);
        for version in VERSIONS {
            let ca = &cas[count - 1];
            let connection = door.knock(Some(&ca.device("device")), version).await.admitted().await;
            assert_eq!(connection.device().unwrap().ca_serial(), &ca.serial());
            assert_eq!(examinations.take(), [1]);
            door.knock(Some(&below_sub), version).await.admitted().await;
            assert_eq!(examinations.take(), [2]);

            let stranger = TestCa::root("fleet").device("device");
            let refusal = door.knock(Some(&stranger), version).await.not_believed();
            assert_eq!(refusal, Refusal::UnknownIssuer);
            assert_eq!(examinations.take(), [8]);
        }
    }
}

#[tokio::test]
async fn p04_without_a_key_id_eight_are_tried_in_the_order_of_last_success() {
    let examinations = Examinations::watch();
    for version in VERSIONS {
        let (door, cas) = many(150);
        let last = &cas[149];
        let device = without_key_id(last);
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::TooManyCandidates);
        assert_eq!(examinations.take(), [8]);

        // Each CA that admits a device by its key id comes to the front.
        for (ca, checks) in cas[142..].iter().rev().zip(1..) {
            door.knock(Some(&ca.device("device")), version).await.admitted().await;
            examinations.take();
            assert!(door.believes(&device));
            assert_eq!(examinations.take(), [checks]);
        }
        // Also one that has been there before.
        door.knock(Some(&last.device("device")), version).await.admitted().await;
        examinations.take();
        assert!(door.believes(&device));
        assert_eq!(examinations.take(), [1]);
        for ca in &cas[142..149] {
            door.knock(Some(&ca.device("device")), version).await.admitted().await;
        }
        examinations.take();
        // The ninth is one too many.
        door.knock(Some(&cas[0].device("device")), version).await.admitted().await;
        examinations.take();
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::TooManyCandidates);
        assert_eq!(examinations.take(), [8]);
    }
}

#[tokio::test]
async fn p04_what_is_inactive_takes_no_candidates_place() {
    let examinations = Examinations::watch();
    let (door, cas) = many(150);
    let device = without_key_id(&cas[149]);
    for ca in &cas[..142] {
        door.deactivate(ca);
    }
    for version in VERSIONS {
        door.knock(Some(&device), version).await.admitted().await;
        let [checks] = examinations.take()[..] else { panic!("examined once") };
        assert!(checks <= 8, "{checks} checks");
    }
    for ca in &cas[142..] {
        door.deactivate(ca);
    }
    for version in VERSIONS {
        let named = cas[149].device("device");
        let refusal = door.knock(Some(&named), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(cas[149].serial()), "the one that it names");
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(cas[0].serial()));
        assert_eq!(examinations.take(), [0, 0]);
    }
}

#[tokio::test]
async fn p04_a_key_id_that_lies_is_an_order_and_the_signature_decides() {
    let examinations = Examinations::watch();
    for version in VERSIONS {
        let (door, cas) = many(5);
        let nobody = TestCa::root("nobody");
        for said in [&cas[0], &cas[3], &nobody] {
            let device = lying(&cas[4], said).device("device");
            let connection = door.knock(Some(&device), version).await.admitted().await;
            assert_eq!(connection.device().unwrap().ca_serial(), &cas[4].serial());
            examinations.take();
        }
        // Who knows a CA's key id has not got its key.
        for said in &cas {
            let forged = lying(&TestCa::root("fleet"), said).device("device");
            let refusal = door.knock(Some(&forged), version).await.not_believed();
            assert_eq!(refusal, Refusal::UnknownIssuer);
            assert_eq!(examinations.take(), [5]);
        }
    }
}

#[tokio::test]
async fn p04_a_ca_without_a_key_id_is_tried_before_those_that_the_leaf_does_not_mean() {
    let examinations = Examinations::watch();
    for version in VERSIONS {
        let (door, _) = many(150);
        let plain = TestCa::root_with("fleet", without_subject_key_id);
        door.register(&plain, Active).unwrap();
        door.knock(Some(&plain.device("device")), version).await.admitted().await;
        assert_eq!(examinations.take(), [1]);
        door.knock(Some(&without_key_id(&plain)), version).await.admitted().await;
        assert_eq!(examinations.take(), [1], "it was the last to admit a device");
    }
}

#[tokio::test]
async fn p04_an_intermediate_with_a_registered_cas_key_id_is_still_a_strangers() {
    let examinations = Examinations::watch();
    for version in VERSIONS {
        for status in [Active, Inactive] {
            let (door, cas) = many(3);
            let sub = cas[0].child("sub");
            door.register(&sub, status).unwrap();
            let stranger = TestCa::root("fleet");
            let forged = lying(&stranger, &cas[0]).child_with("sub", |params| {
                params.key_identifier_method = KeyIdMethod::PreSpecified(key_id(&sub));
            });
            let device = forged.device("device").with_chain(&[&forged]);
            let refusal = door.knock(Some(&device), version).await.not_believed();
            let [checks] = examinations.take()[..] else { panic!("examined once") };
            match status {
                Active => assert_eq!((refusal, checks), (Refusal::UnknownIssuer, 4)),
                Inactive => {
                    assert_eq!((refusal, checks), (Refusal::InactiveCa(sub.serial()), 3));
                }
            }
            // The nearest accept: the same by the CA itself.
            let real = cas[0].child("other sub");
            let device = real.device("device").with_chain(&[&real]);
            door.knock(Some(&device), version).await.admitted().await;
            examinations.take();
        }
    }
}

#[tokio::test]
async fn p04_no_more_than_8192_of_one_name_are_looked_at_for_a_leaf_without_a_key_id() {
    let examinations = Examinations::watch();
    let (door, _) = many(8_191);
    let (within, beyond) = (TestCa::root("fleet"), TestCa::root("fleet"));
    for ca in [&within, &beyond] {
        door.register(ca, Active).unwrap();
        door.knock(Some(&ca.device("device")), VERSIONS[1]).await.admitted().await;
        assert_eq!(examinations.take(), [1], "its key id leads to it");
    }
    door.knock(Some(&without_key_id(&within)), VERSIONS[1]).await.admitted().await;
    assert_eq!(examinations.take(), [1]);
    let refusal = door.knock(Some(&without_key_id(&beyond)), VERSIONS[1]).await.not_believed();
    assert_eq!(refusal, Refusal::TooManyCandidates);
    assert_eq!(examinations.take(), [8]);
}

/// A root's rollover: both roots have signed the sub-CA, whichever certificate comes first.
#[tokio::test]
async fn p07_cross_certificates_by_cas_of_one_name_are_tried_in_any_order() {
    for version in VERSIONS {
        let (door, cas) = many(20);
        let [old, new] = [&cas[3], &cas[17]];
        door.deactivate(old);
        let sub = old.child("sub");
        let by_new = new.sign(sub.key.clone(), "sub", |_| {});
        let by_stranger = TestCa::root("fleet").sign(sub.key.clone(), "sub", |_| {});
        let device = sub.device("device");
        for chain in [[&sub, &by_new], [&by_new, &sub], [&by_stranger, &by_new]] {
            let sent = device.clone().with_chain(&chain);
            let connection = door.knock(Some(&sent), version).await.admitted().await;
            assert_eq!(connection.device().unwrap().ca_serial(), &new.serial());
        }
        let refusal = door.knock(Some(&device.clone().with_chain(&[&sub])), version).await;
        assert_eq!(refusal.not_believed(), Refusal::InactiveCa(old.serial()));
        let stranger = device.with_chain(&[&by_stranger]);
        let refusal = door.knock(Some(&stranger), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(old.serial()), "one of the name is");
    }
}
