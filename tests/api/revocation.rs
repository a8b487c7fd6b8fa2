//! What is on the list of its issuer is refused, and nothing else is.

use std::sync::Arc;

use mqtls::CaStatus::{Active, Inactive};
use mqtls::instance::Outcome;
use mqtls::trust::Refusal;
use mqtls::{Caller, DeviceCertificate, DeviceStatus, RegisterDeviceCertificate, SerialNumber};
use rcgen::CertificateParams;

use crate::line::on_versions;
use crate::revocation_loading::serial;
use crate::support::{Door, Identity, NOW, TestCa, VERSIONS, date};

/// Gives a certificate the serial number of these octets.
pub(crate) fn numbered(octets: &[u8]) -> impl FnOnce(&mut CertificateParams) + use<> {
    let number = rcgen::SerialNumber::from_slice(octets);
    |params| params.serial_number = Some(number)
}

pub(crate) fn revoked(ca: &TestCa, serial: &SerialNumber) -> Refusal {
    Refusal::Revoked { ca_serial: ca.serial(), serial: serial.clone() }
}

#[tokio::test]
async fn r10_a_serial_number_is_revoked_by_the_list_of_its_issuer_and_by_no_other_one() {
    for version in VERSIONS {
        let door = Door::open();
        let cas = [TestCa::root("one"), TestCa::root("two")];
        let devices = cas.each_ref().map(|ca| {
            door.register(ca, Active).unwrap();
            [7, 8].map(|number| ca.device_with("device", numbered(&[number])))
        });
        let [[one_7, one_8], [two_7, two_8]] = &devices;
        for device in devices.as_flattened() {
            door.knock(Some(device), version).await.admitted().await;
        }
        door.revoke(&cas[0], 1, &[serial("07")]);
        let refusal = door.knock(Some(one_7), version).await.not_believed();
        assert_eq!(refusal, revoked(&cas[0], &serial("07")));
        for device in [one_8, two_7, two_8] {
            door.knock(Some(device), version).await.admitted().await;
        }
        door.revoke(&cas[1], 1, &[serial("08")]);
        let refusal = door.knock(Some(two_8), version).await.not_believed();
        assert_eq!(refusal, revoked(&cas[1], &serial("08")));
        for device in [one_8, two_7] {
            door.knock(Some(device), version).await.admitted().await;
        }
        let stats = door.instances.stats();
        assert_eq!((stats.of(Outcome::Revoked), stats.refused()), (2, 2));
    }
}

#[tokio::test]
async fn serial_numbers_of_every_shape_are_found() {
    let numbers: [&[u8]; 6] = [&[0], &[0x7f], &[0x80], &[0x01, 0x00], &[0x80, 0x00], &[0x5a; 20]];
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        door.register(&ca, Active).unwrap();
        let devices = numbers.map(|number| ca.device_with("device", numbered(number)));
        for (at, listed) in devices.iter().enumerate() {
            door.revoke(&ca, at.try_into().unwrap(), &[listed.serial()]);
            let refusal = door.knock(Some(listed), version).await.not_believed();
            assert_eq!(refusal, revoked(&ca, &listed.serial()));
            let (before, behind) = (&devices[..at], &devices[at + 1..]);
            for device in before.iter().chain(behind) {
                door.knock(Some(device), version).await.admitted().await;
            }
        }
    }
}

#[tokio::test]
async fn whoever_a_newer_list_does_not_name_comes_in_again() {
    for version in VERSIONS {
        let (door, root) = (Door::open(), TestCa::root("root"));
        let sub = root.child("sub");
        let devices = [root.device("device"), sub.device("below").with_chain(&[&sub])];
        door.register(&root, Active).unwrap();
        let on_hold = [devices[0].serial(), sub.serial()];
        door.revoke(&root, 1, &on_hold);
        for (device, serial) in devices.iter().zip(&on_hold) {
            let refusal = door.knock(Some(device), version).await.not_believed();
            assert_eq!(refusal, revoked(&root, serial));
        }
        door.revoke(&root, 2, &on_hold[1..]);
        door.knock(Some(&devices[0]), version).await.admitted().await;
        door.knock(Some(&devices[1]), version).await.not_believed();
        door.revoke(&root, 3, &[]);
        for device in &devices {
            door.knock(Some(device), version).await.admitted().await;
        }
    }
}

#[tokio::test]
async fn each_certificate_on_a_path_is_looked_up_in_the_list_of_the_ca_above_it() {
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let sub = root.child_with("sub", numbered(&[0x51]));
        let other_sub = root.child_with("sub, the other", numbered(&[0x52]));
        let lower = sub.child_with("lower", numbered(&[0x53]));
        let device = |ca: &TestCa, chain: &[&TestCa]| ca.device("device").with_chain(chain);
        let [below_sub, below_lower, below_other] = [
            device(&sub, &[&sub]),
            device(&lower, &[&lower, &sub]),
            device(&other_sub, &[&other_sub]),
        ];
        door.register(&root, Active).unwrap();
        // None of these did the root issue.
        door.revoke(&root, 1, &[root.serial(), lower.serial(), below_sub.serial()]);
        for device in [&below_sub, &below_lower, &below_other] {
            door.knock(Some(device), version).await.admitted().await;
        }
        door.revoke(&root, 2, &[sub.serial()]);
        for device in [&below_sub, &below_lower] {
            let refusal = door.knock(Some(device), version).await.not_believed();
            assert_eq!(refusal, revoked(&root, &sub.serial()));
        }
        door.knock(Some(&below_other), version).await.admitted().await;
    }
}

#[tokio::test]
async fn a_registered_sub_ca_stands_on_its_own_with_a_list_of_its_own() {
    for version in VERSIONS {
        let (door, root) = (Door::open(), TestCa::root("root"));
        let sub = root.child("sub");
        let device = sub.device("device").with_chain(&[&sub]);
        let neighbour = sub.device("neighbour").with_chain(&[&sub]);
        door.register(&root, Active).unwrap();
        door.register(&sub, Active).unwrap();
        door.revoke(&root, 1, &[sub.serial(), device.serial()]);
        for device in [&device, &neighbour] {
            let connection = door.knock(Some(device), version).await.admitted().await;
            assert_eq!(connection.device().unwrap().ca_serial(), &sub.serial());
        }
        door.revoke(&sub, 1, &[device.serial()]);
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, revoked(&sub, &device.serial()));
        door.knock(Some(&neighbour), version).await.admitted().await;
        // Without its record it is an intermediate that the root revoked.
        door.delete(&sub);
        for device in [&device, &neighbour] {
            let refusal = door.knock(Some(device), version).await.not_believed();
            assert_eq!(refusal, revoked(&root, &sub.serial()));
        }
    }
}

/// A root, a sub-CA whose registered certificate has expired, and its renewed one, which is not
/// registered: a path leads through both CAs.
pub(crate) struct Renewed {
    pub(crate) root: TestCa,
    pub(crate) old: TestCa,
    pub(crate) new: TestCa,
}

impl Renewed {
    pub(crate) fn at(door: &Door) -> Self {
        let root = TestCa::root("root");
        let old = root.child_with("sub", |params| params.not_after = date(NOW + 100));
        let new = root.sign(Arc::clone(&old.key), "sub", numbered(&[7]));
        door.register(&root, Active).unwrap();
        door.register(&old, Active).unwrap();
        door.clock.set(NOW + 101);
        Self { root, old, new }
    }

    pub(crate) fn device(&self, name: &str) -> Identity {
        self.old.device(name).with_chain(&[&self.new])
    }

    /// What is told first, whatever speaks against the path to the root.
    pub(crate) fn refused(&self) -> Refusal {
        Refusal::CaExpired(self.old.serial())
    }
}

#[tokio::test]
async fn the_certificate_that_is_on_the_path_counts_and_not_its_registered_twin() {
    for version in VERSIONS {
        let door = Door::open();
        let fleet = Renewed::at(&door);
        let [device, neighbour] = ["device", "neighbour"].map(|name| fleet.device(name));
        door.revoke(&fleet.root, 1, &[fleet.old.serial()]);
        door.knock(Some(&device), version).await.admitted().await;
        // Below the root its list counts, too.
        door.revoke(&fleet.old, 1, &[device.serial()]);
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, fleet.refused());
        door.knock(Some(&neighbour), version).await.admitted().await;
        door.revoke(&fleet.root, 2, &[fleet.new.serial()]);
        let refusal = door.knock(Some(&neighbour), version).await.not_believed();
        assert_eq!(refusal, fleet.refused());
    }
}

#[tokio::test]
async fn of_two_paths_the_one_that_holds_nothing_revoked_is_taken() {
    for (version, first_is_revoked) in on_versions([true, false]) {
        let door = Door::open();
        let roots = [TestCa::root("one"), TestCa::root("two")];
        let sub = roots[0].child("sub");
        let cross = roots[1].sign(Arc::clone(&sub.key), "sub", numbered(&[7]));
        let again = roots[0].sign(Arc::clone(&sub.key), "sub", numbered(&[8]));
        for root in &roots {
            door.register(root, Active).unwrap();
        }
        // Under two roots.
        for chain in [[&sub, &cross], [&cross, &sub]] {
            let (door, device) = (Door::open(), sub.device("device").with_chain(&chain));
            roots.iter().for_each(|root| drop(door.register(root, Active).unwrap()));
            let (root, other, listed, left) = match first_is_revoked {
                true => (&roots[0], &roots[1], &sub, &cross),
                false => (&roots[1], &roots[0], &cross, &sub),
            };
            door.revoke(root, 1, &[listed.serial()]);
            let connection = door.knock(Some(&device), version).await.admitted().await;
            assert_eq!(connection.device().unwrap().ca_serial(), &other.serial());
            door.revoke(other, 1, &[left.serial()]);
            let refusal = door.knock(Some(&device), version).await.not_believed();
            assert!(matches!(refusal, Refusal::Revoked { .. }), "{refusal:?}");
        }
        // Under one.
        for chain in [[&sub, &again], [&again, &sub]] {
            let device = sub.device("device").with_chain(&chain);
            let listed = if first_is_revoked { &sub } else { &again };
            let door = Door::open();
            door.register(&roots[0], Active).unwrap();
            door.revoke(&roots[0], 1, &[listed.serial()]);
            door.knock(Some(&device), version).await.admitted().await;
            door.revoke(&roots[0], 2, &[sub.serial(), again.serial()]);
            let refusal = door.knock(Some(&device), version).await.not_believed();
            assert!(matches!(refusal, Refusal::Revoked { .. }), "{refusal:?}");
        }
    }
}

#[tokio::test]
async fn what_a_twin_revoked_is_revoked_through_each_of_them() {
    for (version, registered_later) in on_versions([false, true]) {
        let door = Door::open();
        let first = TestCa::root("fleet");
        let second = first.twin(|_| {});
        let [device, neighbour] = ["device", "neighbour"].map(|name| first.device(name));
        door.register(&first, Active).unwrap();
        if registered_later {
            door.revoke(&first, 1, &[device.serial()]);
            door.register(&second, Active).unwrap();
        } else {
            door.register(&second, Active).unwrap();
            door.revoke(&second, 1, &[device.serial()]);
        }
        for (off, on) in [(&first, &second), (&second, &first)] {
            door.activate(on);
            door.deactivate(off);
            let refusal = door.knock(Some(&device), version).await.not_believed();
            assert_eq!(refusal, revoked(on, &device.serial()));
            let connection = door.knock(Some(&neighbour), version).await.admitted().await;
            assert_eq!(connection.device().unwrap().ca_serial(), &on.serial());
        }
    }
}

#[tokio::test]
async fn a_list_of_an_inactive_ca_is_in_force_once_it_is_active() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        let [device, neighbour] = ["device", "neighbour"].map(|name| ca.device(name));
        door.register(&ca, Inactive).unwrap();
        door.revoke(&ca, 1, &[device.serial()]);
        door.activate(&ca);
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, revoked(&ca, &device.serial()));
        door.knock(Some(&neighbour), version).await.admitted().await;
    }
}

#[tokio::test]
async fn a_device_that_an_operator_registered_is_revoked_like_any_other_one() {
    for version in VERSIONS {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        let [device, unknown] = ["device", "unknown"].map(|name| ca.device(name));
        door.register(&ca, Active).unwrap();
        let operation = RegisterDeviceCertificate {
            mqtt_instance_id: door.instance.id().clone(),
            ca_sn: ca.serial(),
            status: DeviceStatus::Active,
            certificate: DeviceCertificate::from_der(device.chain.clone()).unwrap(),
        };
        operation.apply(&door.instances, &Caller::local()).unwrap();
        door.revoke(&ca, 1, &[device.serial(), unknown.serial()]);
        for device in [&device, &unknown] {
            let refusal = door.knock(Some(device), version).await.not_believed();
            assert_eq!(refusal, revoked(&ca, &device.serial()));
        }
        assert_eq!(door.instance.trust().device_count(), 1, "the other one leaves no record");
        door.revoke(&ca, 2, &[]);
        door.knock(Some(&device), version).await.admitted().await;
    }
}
