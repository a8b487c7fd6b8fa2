//! What else a path must be: valid at this time, within its constraints, for clients. In part
//! webpki's verdict; what webpki passes over in silence is refused all the same.

use std::time::Duration;

use mqtls::CaStatus::Active;
use mqtls::trust::Refusal;
use rcgen::{BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose as Purpose, IsCa};
use rustls_pki_types::UnixTime;
use webpki::Error;

use crate::support::{Door, Identity, NOW, TestCa, VERSIONS, date};

#[tokio::test]
async fn p05_an_anchor_is_good_from_its_first_second_to_its_last() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root_with("fleet", |params| {
            params.not_before = date(NOW + 10);
            params.not_after = date(NOW + 20);
        });
        door.register(&ca, Active).unwrap();
        let device = ca.device("device");
        let cases = [
            (NOW + 9, Some(Refusal::CaNotYetValid(ca.serial()))),
            (NOW + 10, None),
            (NOW + 20, None),
            (NOW + 21, Some(Refusal::CaExpired(ca.serial()))),
            (NOW + 20, None),
        ];
        for (seconds, expected) in cases {
            door.clock.set(seconds);
            let visit = door.knock(Some(&device), version).await;
            match expected {
                None => drop(visit.admitted().await),
                Some(refusal) => assert_eq!(visit.not_believed(), refusal, "at {seconds}"),
            }
        }
    }
}

#[tokio::test]
async fn p05_when_an_anchor_expires_its_renewed_twin_takes_over() {
    for version in VERSIONS {
        let door = Door::open();
        let old = TestCa::root_with("fleet", |params| params.not_after = date(NOW));
        let new = old.twin(|params| params.not_after = date(NOW + 10));
        door.register(&old, Active).unwrap();
        door.register(&new, Active).unwrap();
        door.clock.set(NOW + 1);
        let visit = door.knock(Some(&old.device("device")), version).await;
        assert_eq!(visit.admitted().await.device().unwrap().ca_serial(), &new.serial());
    }
}

#[tokio::test]
async fn p05_devices_and_intermediates_are_judged_by_the_same_clock() {
    const DAY: u64 = 86_400;
    let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let sub = root.child_with("sub", |params| params.not_after = date(NOW + DAY));
        door.register(&root, Active).unwrap();
        let device = sub.device_with("device", |params| params.not_before = date(NOW));
        let device = device.with_chain(&[&sub]);
        door.knock(Some(&device), version).await.admitted().await;

        door.clock.set(NOW - DAY);
        let early = Error::CertNotValidYet { time: at(NOW - DAY), not_before: at(NOW) };
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::Invalid(early));

        door.clock.set(NOW + DAY + 1);
        let late = Error::CertExpired { time: at(NOW + DAY + 1), not_after: at(NOW + DAY) };
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, Refusal::Invalid(late));
    }
}

#[tokio::test]
async fn p06_an_anchors_path_length_is_kept() {
    for version in VERSIONS {
        for (allowed, sent) in [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)] {
            let door = Door::open();
            let root = TestCa::root_with("root", |params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(allowed));
            });
            door.register(&root, Active).unwrap();
            let upper = root.child("upper");
            let lower = upper.child("lower");
            let device = match sent {
                0 => root.device("device"),
                1 => upper.device("device").with_chain(&[&upper]),
                _ => lower.device("device").with_chain(&[&lower, &upper]),
            };
            let visit = door.knock(Some(&device), version).await;
            if sent <= allowed {
                visit.admitted().await;
            } else {
                assert_eq!(visit.not_believed(), Refusal::PathTooLong(root.serial()));
            }
        }
    }
}

#[tokio::test]
async fn p06_an_intermediate_must_be_allowed_to_sign() {
    let constrained = |params: &mut rcgen::CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    };
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        door.register(&root, Active).unwrap();
        let good = root.child("good");
        let any_usage = root.child_with("any usage", |params| params.key_usages.clear());
        let no_ca = root.child_with("no CA", |params| params.is_ca = IsCa::ExplicitNoCa);
        let no_sign = root.child_with("no keyCertSign", |params| {
            params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
        });
        let short = root.child_with("path length 0", constrained);
        let below_short = short.child("below");
        let cases = [
            (good.device("device").with_chain(&[&good]), None),
            (any_usage.device("device").with_chain(&[&any_usage]), None),
            (
                no_ca.device("device").with_chain(&[&no_ca]),
                Some(Refusal::Invalid(Error::EndEntityUsedAsCa)),
            ),
            (no_sign.device("device").with_chain(&[&no_sign]), Some(Refusal::NoKeyCertSign)),
            (short.device("device").with_chain(&[&short]), None),
            (
                below_short.device("device").with_chain(&[&below_short, &short]),
                Some(Refusal::Invalid(Error::PathLenConstraintViolated)),
            ),
        ];
        for (device, expected) in cases {
            let visit = door.knock(Some(&device), version).await;
            match expected {
                None => drop(visit.admitted().await),
                Some(refusal) => assert_eq!(visit.not_believed(), refusal),
            }
        }
    }
}

#[tokio::test]
async fn p06_a_device_certificate_must_be_for_clients() {
    let others = |count| (0..count).map(|at| Purpose::Other(vec![1, 3, at])).collect::<Vec<_>>();
    let cases = [
        (vec![], None),
        (vec![Purpose::ClientAuth], None),
        (vec![Purpose::ServerAuth, Purpose::ClientAuth], None),
        (vec![Purpose::ServerAuth], Some(Refusal::NotForClientAuth)),
        (vec![Purpose::Any], Some(Refusal::NotForClientAuth)),
        // No more than 32 are looked at.
        ([others(31), vec![Purpose::ClientAuth]].concat(), None),
        ([others(32), vec![Purpose::ClientAuth]].concat(), Some(Refusal::NotForClientAuth)),
        (others(5_000), Some(Refusal::NotForClientAuth)),
    ];
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        for (purposes, expected) in &cases {
            let device = ca.device_with("device", |params| {
                params.extended_key_usages.clone_from(purposes);
            });
            let visit = door.knock(Some(&device), version).await;
            match expected {
                None => drop(visit.admitted().await),
                Some(refusal) => assert_eq!(&visit.not_believed(), refusal),
            }
        }
    }
}

#[tokio::test]
async fn p06_a_critical_extension_that_nobody_knows_is_refused_and_any_other_is_not() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        for critical in [false, true] {
            let device = ca.device_with("device", |params| {
                let mut unknown = CustomExtension::from_oid_content(&[1, 3, 9999, 1], vec![5, 0]);
                unknown.set_criticality(critical);
                params.custom_extensions.push(unknown);
            });
            let visit = door.knock(Some(&device), version).await;
            if critical {
                let refusal = Refusal::Invalid(Error::UnsupportedCriticalExtension);
                assert_eq!(visit.not_believed(), refusal);
            } else {
                visit.admitted().await;
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_as_such() {
    let v1 = include_bytes!("../../testdata/ca_x509_v1.der");
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let device = ca.device("device");
        let der = device.end_entity();
        let overlong_serial = ca.device_with("device", |params| {
            params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x7f; 65]));
        });
        let cases = [
            (overlong_serial.end_entity().to_vec(), Refusal::Unreadable),
            (vec![0x30], Refusal::Unreadable),
            (der[..der.len() - 1].to_vec(), Refusal::Unreadable),
            ([der, &[0][..]].concat(), Refusal::Unreadable),
            (v1.to_vec(), Refusal::Invalid(Error::UnsupportedCertVersion)),
        ];
        for (bytes, expected) in cases {
            let shown = Identity { chain: vec![bytes.into()], key: device.key.clone() };
            assert_eq!(door.knock(Some(&shown), version).await.not_believed(), expected);
        }
        let with_junk = Identity {
            chain: vec![der.clone(), vec![0x30].into(), v1.to_vec().into()],
            key: device.key.clone(),
        };
        door.knock(Some(&with_junk), version).await.admitted().await;
    }
}

#[tokio::test]
async fn p07_what_a_device_sends_besides_its_path_and_in_which_order_does_not_matter() {
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let upper = root.child("upper");
        let lower = upper.child("lower");
        let (stranger, namesake) = (TestCa::root("stranger"), TestCa::root("lower"));
        let strange_sub = stranger.child("lower");
        door.register(&root, Active).unwrap();
        let device = lower.device("device");
        let chains: [&[&TestCa]; 8] = [
            &[&lower, &upper],
            &[&upper, &lower],
            &[&lower, &upper, &root],
            &[&root, &upper, &lower],
            &[&lower, &lower, &upper, &upper],
            &[&upper, &lower, &upper, &lower],
            &[&stranger, &lower, &strange_sub, &upper],
            &[&namesake, &strange_sub, &stranger, &upper, &root, &lower],
        ];
        for chain in chains {
            let device = device.clone().with_chain(chain);
            let connection = door.knock(Some(&device), version).await.admitted().await;
            assert_eq!(connection.device().unwrap().ca_serial(), &root.serial());
        }
        for chain in [&[][..], &[&lower], &[&upper], &[&strange_sub, &upper]] {
            let device = device.clone().with_chain(chain);
            let refusal = door.knock(Some(&device), version).await.not_believed();
            assert_eq!(refusal, Refusal::UnknownIssuer);
        }
    }
}
