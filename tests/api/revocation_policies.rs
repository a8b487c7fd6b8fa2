//! What it means where a revocation list is out of date, or where there is none.

use mqtls::CaStatus::Active;
use mqtls::InstanceSpec;
use mqtls::instance::Outcome;
use mqtls::trust::Refusal;
use rcgen::CertificateRevocationListParams;

use crate::line::{Line, assert_all_up, on_versions};
use crate::revocation::{Renewed, revoked};
use crate::support::{Door, NOW, TestCa, VERSIONS, date};

const WEEK: u64 = 7 * 24 * 60 * 60;

#[tokio::test]
async fn a_list_is_good_up_to_the_second_in_which_the_next_one_is_due() {
    for (version, accepted) in on_versions([false, true]) {
        let door =
            Door::open_as(
                |spec| {
                    if accepted { spec.accept_stale_revocation_lists() } else { spec }
                },
            );
        let (ca, other) = (TestCa::root("fleet"), TestCa::root("other"));
        let [device, on_list] = ["device", "revoked"].map(|name| ca.device(name));
        door.register(&ca, Active).unwrap();
        door.register(&other, Active).unwrap();
        door.revoke(&ca, 1, &[on_list.serial()]);
        let mut lines = vec![];
        for (second, is_stale) in [(NOW + WEEK, false), (NOW + WEEK + 1, true)] {
            door.clock.set(second);
            if is_stale && !accepted {
                let refusal = door.knock(Some(&device), version).await.not_believed();
                assert_eq!(refusal, Refusal::StaleRevocationList(ca.serial()));
            } else {
                lines.push(Line::up(&door, Some(&device), version).await);
            }
            let refusal = door.knock(Some(&on_list), version).await.not_believed();
            assert_eq!(refusal, revoked(&ca, &on_list.serial()), "whatever its age");
            door.knock(Some(&other.device("another CA's")), version).await.admitted().await;
        }
        door.instance.sweep().unwrap();
        assert_all_up(&mut lines).await;
        let stats = door.instances.stats();
        let unknown = u64::from(!accepted);
        assert_eq!(
            (stats.of(Outcome::Revoked), stats.of(Outcome::RevocationUnknown)),
            (2, unknown)
        );
        let newer = ca.list(2, &[], |list| list.next_update = date(NOW + 2 * WEEK));
        door.load(&ca, &newer).unwrap();
        door.knock(Some(&device), version).await.admitted().await;
    }
}

#[tokio::test]
async fn a_stale_list_of_any_ca_on_the_path_is_enough_and_of_none_beside_it() {
    for version in VERSIONS {
        let door = Door::open();
        let fleet = Renewed::at(&door);
        let device = fleet.device("device");
        let until = |seconds| {
            move |list: &mut CertificateRevocationListParams| {
                list.next_update = date(NOW + seconds);
            }
        };
        door.load(&fleet.root, &fleet.root.list(1, &[], until(200))).unwrap();
        door.load(&fleet.old, &fleet.old.list(1, &[], until(300))).unwrap();
        door.clock.set(NOW + 200);
        door.knock(Some(&device), version).await.admitted().await;
        door.clock.set(NOW + 201);
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, fleet.refused());
        door.load(&fleet.root, &fleet.root.list(2, &[], until(1000))).unwrap();
        door.knock(Some(&device), version).await.admitted().await;
        door.clock.set(NOW + 301);
        let refusal = door.knock(Some(&device), version).await.not_believed();
        assert_eq!(refusal, fleet.refused());
        door.knock(Some(&fleet.root.device("beside")), version).await.admitted().await;
    }
}

#[tokio::test]
async fn where_lists_are_required_each_ca_on_the_path_has_one() {
    for version in VERSIONS {
        let door = Door::open_as(InstanceSpec::require_revocation_lists);
        let fleet = Renewed::at(&door);
        let device = fleet.device("device");
        let beside = fleet.root.device("beside");
        let sub = fleet.root.child("unregistered");
        let below = sub.device("below").with_chain(&[&sub]);
        let none = |ca: &TestCa| Refusal::NoRevocationList(ca.serial());
        for (device, expected) in
            [(&device, fleet.refused()), (&beside, none(&fleet.root)), (&below, none(&sub))]
        {
            assert_eq!(door.knock(Some(device), version).await.not_believed(), expected);
        }
        assert_eq!(door.instances.stats().of(Outcome::RevocationUnknown), 2);

        door.revoke(&fleet.root, 1, &[]);
        door.knock(Some(&beside), version).await.admitted().await;
        for (device, expected) in [(&device, fleet.refused()), (&below, none(&sub))] {
            assert_eq!(door.knock(Some(device), version).await.not_believed(), expected);
        }
        door.revoke(&fleet.old, 1, &[]);
        door.knock(Some(&device), version).await.admitted().await;

        door.register(&sub, Active).unwrap();
        assert_eq!(door.knock(Some(&below), version).await.not_believed(), none(&sub));
        door.revoke(&sub, 1, &[]);
        door.knock(Some(&below), version).await.admitted().await;
        // A list of the sub-CA's alone does not do.
        let door = Door::open_as(InstanceSpec::require_revocation_lists);
        let fleet = Renewed::at(&door);
        let device = fleet.device("device");
        door.revoke(&fleet.old, 1, &[]);
        assert_eq!(door.knock(Some(&device), version).await.not_believed(), fleet.refused());
        door.revoke(&fleet.root, 1, &[]);
        door.knock(Some(&device), version).await.admitted().await;
    }
}
