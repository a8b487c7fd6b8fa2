//! Nobody comes in with a certificate that a list revokes, however far the handshake was when it came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mqtls::CaStatus::Active;
use mqtls::instance::Outcome;
use mqtls::trust::Refusal;
use mqtls::{Ended, Refused, SerialNumber};

use crate::gate::verified;
use crate::line::on_versions;
use crate::live::count;
use crate::own_handshake::shaken;
use crate::revocation::{Renewed, revoked};
use crate::support::{
    Door, HeldHandshake, Identity, NOW, PlainHandshake, TestCa, client, date, in_small_records,
};

/// A root with a sub-CA that is not registered, and a device of each.
pub(crate) struct Fleet {
    pub(crate) root: TestCa,
    pub(crate) sub: TestCa,
    pub(crate) device: Identity,
    pub(crate) below: Identity,
}

impl Fleet {
    pub(crate) fn at(door: &Door) -> Self {
        let root = TestCa::root("root");
        let sub = root.child("sub");
        door.register(&root, Active).unwrap();
        let device = root.device("device");
        let below = sub.device("below").with_chain(&[&sub]);
        Self { root, sub, device, below }
    }

    /// Each device, with what the root revokes to have it refused, and the other one.
    fn cases(&self) -> [(&Identity, SerialNumber, &Identity); 2] {
        let (device, below) = (&self.device, &self.below);
        [(device, device.serial(), below), (below, self.sub.serial(), device)]
    }
}

#[tokio::test]
async fn l01_after_a_list_at_any_step_of_a_handshake_no_stream_is_handed_out() {
    for (version, case) in on_versions([0, 1]) {
        let mut steps = 0;
        loop {
            let door = Door::open();
            let fleet = Fleet::at(&door);
            let (device, on_list, neighbour) = fleet.cases()[case].clone();
            let begin = async |device| {
                let config = in_small_records(client(Some(device), version));
                HeldHandshake::up_to_the_certificate(&door, config).await
            };
            let (mut held, mut records) = begin(device).await;
            if steps == records.len() {
                break;
            }
            let (mut beside, mut its_records) = begin(neighbour).await;
            let rest = records.split_off(steps);
            let its_rest = its_records.split_off(steps.min(its_records.len() - 1));
            held.pass(records).await;
            beside.pass(its_records).await;
            let answer = door.revoke(&fleet.root, 1, std::slice::from_ref(&on_list));
            assert_eq!(count(answer.connections), (0, 0));
            let visit = held.release_with(rest).await;
            assert!(visit.client.is_err());
            match visit.server.unwrap_err() {
                Refused::Device(refusal) => assert_eq!(refusal, revoked(&fleet.root, &on_list)),
                other => panic!("step {steps}: {other:?}"),
            }
            assert_eq!(door.instance.connections(), 0);
            assert_eq!(door.instance.trust().device_count(), 0);
            assert_eq!(door.instances.stats().of(Outcome::Revoked), 1);
            beside.release_with(its_rest).await.admitted().await;
            steps += 1;
        }
        assert!(steps > 3, "there are several steps");
    }
}

#[tokio::test]
async fn l01_a_list_between_verification_and_finished_closes_before_any_byte() {
    for (version, case) in on_versions([0, 1]) {
        let door = Door::open();
        let fleet = Fleet::at(&door);
        let (device, on_list, neighbour) = fleet.cases()[case].clone();
        let (held, finished) = verified(&door, device, version).await;
        let (beside, its_finished) = verified(&door, neighbour, version).await;
        door.revoke(&fleet.root, 1, std::slice::from_ref(&on_list));
        let refusal = held.release_with(finished).await.turned_away_at_the_gate();
        assert_eq!(refusal, revoked(&fleet.root, &on_list));
        beside.release_with(its_finished).await.admitted().await;
        assert_eq!(door.instance.trust().device_count(), 1, "the neighbour");
        // A list that came and went meanwhile is nothing to the gate.
        let (held, finished) = verified(&door, neighbour, version).await;
        door.revoke(&fleet.root, 2, &[neighbour.serial(), fleet.sub.serial()]);
        door.revoke(&fleet.root, 3, &[]);
        held.release_with(finished).await.admitted().await;
    }
}

#[tokio::test]
async fn l01_the_gate_asks_each_ca_on_the_path() {
    for (version, by_root) in on_versions([true, false]) {
        let door = Door::open();
        let fleet = Renewed::at(&door);
        let device = fleet.device("device");
        let (by, list_of, on_list) = match by_root {
            true => (&fleet.root, &fleet.root, fleet.new.serial()),
            false => (&fleet.new, &fleet.old, device.serial()),
        };
        let (held, finished) = verified(&door, &device, version).await;
        door.revoke(list_of, 1, &[fleet.old.serial()]);
        held.release_with(finished).await.admitted().await;
        let (held, finished) = verified(&door, &device, version).await;
        door.revoke(list_of, 2, std::slice::from_ref(&on_list));
        let refusal = held.release_with(finished).await.turned_away_at_the_gate();
        assert_eq!(refusal, revoked(by, &on_list));
    }
}

#[tokio::test]
async fn a_list_that_grows_stale_during_the_handshake_is_so_at_the_gate() {
    for (version, late) in on_versions([0, 1]) {
        let door = Door::open();
        let fleet = Fleet::at(&door);
        let list = fleet.root.list(1, &[], |list| list.next_update = date(NOW + 60));
        door.load(&fleet.root, &list).unwrap();
        let (held, finished) = verified(&door, &fleet.below, version).await;
        door.clock.set(NOW + 60 + late);
        let visit = held.release_with(finished).await;
        if late == 0 {
            visit.admitted().await;
        } else {
            let refusal = visit.turned_away_at_the_gate();
            assert_eq!(refusal, Refusal::StaleRevocationList(fleet.root.serial()));
            assert_eq!(door.instances.stats().of(Outcome::RevocationUnknown), 1);
        }
    }
}

#[test]
fn l01_loops_of_ones_own_admit_nobody_behind_a_list() {
    for (version, case) in on_versions([0, 1]) {
        let door = Door::open();
        let fleet = Fleet::at(&door);
        let (device, on_list, neighbour) = fleet.cases()[case].clone();
        let [config, its_config] =
            [device, neighbour].map(|device| Arc::new(client(Some(device), version)));
        let plain = |config: &Arc<_>| {
            let server = door.instance.server_config();
            let mut handshake = PlainHandshake::between(server, Arc::clone(config));
            handshake.finish().map(|()| handshake.server)
        };
        let up = [
            door.instance.admit(&plain(&config).unwrap()).unwrap(),
            door.instance.admit(&plain(&its_config).unwrap()).unwrap(),
        ];
        let ((context, shaken_one), (its_context, its_shaken)) =
            (shaken(&door, &config), shaken(&door, &its_config));
        let (bare, its_bare) = (plain(&config).unwrap(), plain(&its_config).unwrap());
        let answer = door.revoke(&fleet.root, 1, std::slice::from_ref(&on_list));
        assert_eq!(count(answer.connections), (1, 0));
        let why = Ended::Revoked(fleet.root.serial());
        assert_eq!(up.map(|admission| admission.ended()), [Some(why), None]);

        let expected = revoked(&fleet.root, &on_list);
        assert_eq!(context.admit(&shaken_one.unwrap().server).unwrap_err(), expected);
        assert_eq!(door.instance.admit(&bare).unwrap_err(), expected);
        assert_eq!(its_context.admit(&its_shaken.unwrap().server).unwrap().ended(), None);
        assert_eq!(door.instance.admit(&its_bare).unwrap().ended(), None);
        assert!(plain(&config).is_err() && shaken(&door, &config).1.is_err());
    }
}

/// Without a clock: whichever way the threads go, nobody is up who came in by a revoked certificate.
#[test]
fn l05_once_a_list_has_returned_nobody_is_up_by_what_it_revokes_and_nobody_comes_in() {
    for (version, _) in on_versions(0..20) {
        let door = Door::open();
        let fleet = Fleet::at(&door);
        let config = Arc::new(client(Some(&fleet.below), version));
        let refused = revoked(&fleet.root, &fleet.sub.serial());
        let (came, returned) = (AtomicUsize::new(0), AtomicBool::new(false));
        let come_in = || {
            let mut admitted = vec![];
            loop {
                let too_late = returned.load(Ordering::SeqCst);
                let (context, shaken) = shaken(&door, &config);
                let Ok(shaken) = shaken else { return admitted };
                match context.admit(&shaken.server) {
                    Ok(admission) => admitted.push(admission),
                    Err(refusal) => {
                        assert_eq!(refusal, refused);
                        return admitted;
                    }
                }
                assert!(!too_late, "it began behind the return");
                came.fetch_add(1, Ordering::SeqCst);
            }
        };
        let (admitted, ended) = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(come_in)).collect();
            while came.load(Ordering::SeqCst) < 5 {
                std::thread::yield_now();
            }
            let list = fleet.root.list(1, &[fleet.sub.serial()], |_| {});
            let answer = door.try_load(&fleet.root, &list).unwrap();
            returned.store(true, Ordering::SeqCst);
            let admitted = threads.into_iter().flat_map(|thread| thread.join().unwrap());
            (admitted.collect::<Vec<_>>(), answer.connections.ended)
        });
        assert!(admitted.len() >= 5 && ended >= admitted.len());
        let why = Some(Ended::Revoked(fleet.root.serial()));
        assert!(admitted.iter().all(|admission| admission.ended() == why));
    }
}
