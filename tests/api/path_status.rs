//! Every CA on a device's path counts, by its subject and key.

use mqtls::CaCertificate;
use mqtls::CaStatus::{Active, Inactive};
use mqtls::certificate::CaCertificateError;
use mqtls::trust::Refusal;
use rcgen::KeyPair;

use crate::support::{Door, EncodedKey, TestCa, VERSIONS, key, rsa_key};

#[tokio::test]
async fn p01_a_deactivated_sub_ca_under_an_active_root_is_refused() {
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let sub = root.child("sub");
        door.register(&root, Active).unwrap();
        door.register(&sub, Active).unwrap();
        let device = sub.device("device").with_chain(&[&sub]);
        let lower = sub.child("lower");
        let deeper_device = lower.device("device").with_chain(&[&lower, &sub]);
        for device in [&device, &deeper_device] {
            let connection = door.knock(Some(device), version).await.admitted().await;
            assert_eq!(connection.device().unwrap().ca_serial(), &sub.serial());
        }
        door.deactivate(&sub);
        for device in [&device, &deeper_device] {
            let refusal = door.knock(Some(device), version).await.not_believed();
            assert_eq!(refusal, Refusal::InactiveCa(sub.serial()));
        }
        door.delete(&sub);
        let connection = door.knock(Some(&device), version).await.admitted().await;
        assert_eq!(connection.device().unwrap().ca_serial(), &root.serial());
    }
}

#[tokio::test]
async fn p01_a_registered_active_sub_ca_stands_on_its_own_under_an_inactive_root() {
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let sub = root.child("sub");
        door.register(&root, Inactive).unwrap();
        let device = sub.device("device");
        let with_sub = device.clone().with_chain(&[&sub]);
        let refusal = door.knock(Some(&with_sub), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(root.serial()));

        door.register(&sub, Active).unwrap();
        for device in [&device, &with_sub] {
            let connection = door.knock(Some(device), version).await.admitted().await;
            assert_eq!(connection.device().unwrap().ca_serial(), &sub.serial());
        }
    }
}

#[tokio::test]
async fn p01_a_deactivated_root_that_an_active_one_cross_signed_is_refused() {
    for version in VERSIONS {
        let door = Door::open();
        let (old, new) = (TestCa::root("old"), TestCa::root("new"));
        let cross_signed = new.sign(old.key.clone(), "old", |_| {});
        door.register(&new, Active).unwrap();
        let device = old.device("device").with_chain(&[&cross_signed]);
        door.knock(Some(&device), version).await.admitted().await;

        door.register(&old, Inactive).unwrap();
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(old.serial()));
    }
}

#[tokio::test]
async fn p01_of_two_paths_the_one_that_is_all_active_admits_and_is_named() {
    for version in VERSIONS {
        let door = Door::open();
        let (first, second) = (TestCa::root("first"), TestCa::root("second"));
        let by_first = first.child("issuer");
        let by_second = second.sign(by_first.key.clone(), "issuer", |_| {});
        door.register(&first, Active).unwrap();
        door.register(&second, Active).unwrap();
        let device = by_first.device("device");
        let both_orders = [[&by_first, &by_second], [&by_second, &by_first]];
        for (inactive, active) in [(&first, &second), (&second, &first)] {
            door.activate(active);
            door.deactivate(inactive);
            for chain in both_orders {
                let device = device.clone().with_chain(&chain);
                let connection = door.knock(Some(&device), version).await.admitted().await;
                assert_eq!(connection.device().unwrap().ca_serial(), &active.serial());
            }
        }
        door.deactivate(&first);
        door.deactivate(&second);
        for chain in both_orders {
            let device = device.clone().with_chain(&chain);
            let refusal = door.knock(Some(&device), version).await.not_believed();
            assert!(matches!(refusal, Refusal::InactiveCa(_)), "{refusal:?}");
        }
    }
}

/// Both paths lead to the same root: what the path hook refuses must not end webpki's search.
#[tokio::test]
async fn p01_a_path_around_a_deactivated_sub_ca_admits() {
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let sub = root.child("sub");
        let through_sub = sub.child("issuer");
        let around = root.sign(through_sub.key.clone(), "issuer", |_| {});
        door.register(&root, Active).unwrap();
        door.register(&sub, Inactive).unwrap();
        let device = through_sub.device("device");

        let only_through = device.clone().with_chain(&[&through_sub, &sub]);
        let refusal = door.knock(Some(&only_through), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(sub.serial()));
        for chain in [[&through_sub, &sub, &around], [&around, &through_sub, &sub]] {
            let device = device.clone().with_chain(&chain);
            let connection = door.knock(Some(&device), version).await.admitted().await;
            assert_eq!(connection.device().unwrap().ca_serial(), &root.serial());
        }
    }
}

#[tokio::test]
async fn p01_a_deactivated_key_is_refused_under_any_other_subject() {
    for version in VERSIONS {
        let door = Door::open();
        let (retired, active) = (TestCa::root("retired"), TestCa::root("active"));
        let renamed = active.sign(retired.key.clone(), "renamed", |_| {});
        door.register(&active, Active).unwrap();
        let device = renamed.device("device").with_chain(&[&renamed]);
        door.knock(Some(&device), version).await.admitted().await;

        door.register(&retired, Inactive).unwrap();
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(retired.serial()));
    }
}

#[tokio::test]
async fn p02_a_renewed_twin_keeps_the_devices_in_and_deactivation_reports_it() {
    for version in VERSIONS {
        let door = Door::open();
        let old = TestCa::root("fleet");
        let new = old.twin(|_| {});
        assert_ne!(old.serial(), new.serial());
        door.register(&old, Active).unwrap();
        let device = old.device("device");
        door.knock(Some(&device), version).await.admitted().await;
        door.register(&new, Active).unwrap();

        assert_eq!(door.deactivate(&old).active_twins, [new.serial()]);
        let connection = door.knock(Some(&device), version).await.admitted().await;
        assert_eq!(connection.device().unwrap().ca_serial(), &new.serial());

        assert_eq!(door.deactivate(&new).active_twins, []);
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert!(matches!(refusal, Refusal::InactiveCa(_)), "{refusal:?}");
        door.activate(&old);
        let connection = door.knock(Some(&device), version).await.admitted().await;
        assert_eq!(connection.device().unwrap().ca_serial(), &old.serial());
    }
}

/// The certificate that the device sends is the deactivated one; its key is in good standing.
#[tokio::test]
async fn p02_a_twin_in_the_middle_of_a_path_counts_by_subject_and_key() {
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let sub = root.child("sub");
        let renewed = sub.twin(|_| {});
        door.register(&root, Active).unwrap();
        door.register(&sub, Inactive).unwrap();
        let device = sub.device("device").with_chain(&[&sub]);
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(sub.serial()));
        door.register(&renewed, Active).unwrap();
        let connection = door.knock(Some(&device), version).await.admitted().await;
        assert_eq!(connection.device().unwrap().ca_serial(), &renewed.serial());
    }
}

/// Crypto providers take one key in more encodings than one, and a CA signs what it is asked to.
#[tokio::test]
async fn p01_a_deactivated_cas_key_in_another_encoding_is_refused() {
    let ec = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384].map(key);
    type Encode = fn(&KeyPair) -> EncodedKey;
    let mut keys: Vec<(KeyPair, Encode)> =
        ec.into_iter().map(|key| (key, EncodedKey::compressed as Encode)).collect();
    keys.push((rsa_key(), EncodedKey::nested));
    keys.push((key(&rcgen::PKCS_ED25519), EncodedKey::nested));
    for (key, encode) in keys {
        let door = Door::open();
        let old = TestCa::self_signed(key.into(), "old", |_| {});
        let alias = TestCa::self_signed(old.key.clone(), "alias", |_| {});
        let new = TestCa::root("new");
        door.register(&old, Inactive).unwrap();
        door.register(&new, Active).unwrap();
        for name in [&old, &alias] {
            let text = name.certificate().subject().trim_start_matches("CN=").to_owned();
            let encoded = new.sign_encoded(&encode(&old.key), &text);
            assert_eq!(
                CaCertificate::from_der(&encoded).map(drop),
                Err(CaCertificateError::KeyEncoding)
            );
            let mut device = name.device("device");
            device.chain.push(encoded);
            for version in VERSIONS {
                let refusal = door.knock(Some(&device), version).await.not_believed();
                let told = [Refusal::InactiveCa(old.serial()), OTHERWISE_ENCODED];
                assert!(told.contains(&refusal), "{text}: {refusal:?}");
            }
        }
    }
}

/// ring does not take such keys at all.
const OTHERWISE_ENCODED: Refusal =
    if cfg!(feature = "ring") { Refusal::UnknownIssuer } else { Refusal::UnusualKey };
