//! Records of devices under random changes from several threads, beside devices that come in every
//! way that there is, and talk.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use mqtls::CaStatus::{Active as CaActive, Inactive as CaInactive};
use mqtls::DeviceStatus::{self, Active, Inactive};
use mqtls::{
    ActiveDeviceCertificate, Caller, ConnectionHandle, DeleteDeviceCertificate, DeviceCertificate,
    InactivateDeviceCertificate, RegisterDeviceCertificate,
};

use crate::comings::{Comings, Life, regulars, runtime};
use crate::line::Wire;
use crate::support::{Dice, Door, Identity, TestCa, VERSIONS, client};
use crate::timeline::{Attempt, Barred, Effect, Timeline};

#[test]
fn l05_random_changes_to_devices_end_whom_they_must_and_nobody_else() {
    let seed = RandomState::new().hash_one("devices");
    let town = Town::new();
    let (timelines, attempts, lives) = std::thread::scope(|scope| {
        let dice = |at| Dice::seeded(seed.wrapping_add(at));
        let town = &town;
        let knocking = [0, 1].map(|at| scope.spawn(move || town.knock_about(dice(at))));
        let living = [10, 11].map(|at| scope.spawn(move || town.live(dice(at))));
        let operators: Vec<_> = (20..)
            .zip(&town.subjects)
            .map(|(at, subject)| scope.spawn(move || town.operate(subject, dice(at))))
            .collect();
        let timelines: Vec<_> = operators.into_iter().map(|it| it.join().unwrap()).collect();
        let attempts: Vec<_> = knocking.into_iter().flat_map(|it| it.join().unwrap()).collect();
        let lives: Vec<_> = living.into_iter().flat_map(|it| it.join().unwrap()).collect();
        (timelines, attempts, lives)
    });
    let refused = lives.iter().filter_map(|(at, life)| Some((*at, life.as_ref().err()?.clone())));
    let admitted = lives.iter().filter_map(|(at, life)| Some((*at, life.as_ref().ok()?)));
    let came_in = admitted.clone().map(|(at, life)| (at, life.attempt()));
    let attempts: Vec<_> = attempts.into_iter().chain(refused).chain(came_in).collect();
    for (at, timeline) in timelines.iter().enumerate() {
        let of_device = attempts.iter().filter(|(whose, _)| *whose == at).map(|(_, it)| it);
        of_device.clone().for_each(|attempt| timeline.assert_right(attempt, &("seed", seed)));
        // Of two records one is barred before the other, until the call returns.
        if town.subjects[at].other.is_none() {
            timeline.assert_met_in_order(of_device, &("seed", seed));
        }
    }
    for (at, life) in admitted.clone() {
        let (timeline, last) = (&timelines[at], life.last_exchange);
        let right = !timeline.came_between(life.admitted, last)
            && life.ended.is_none_or(|ended| timeline.may_be_over(&life.attempt(), ended));
        assert!(right, "{life:?} {timeline:#?} {seed}");
    }
    for (wire, frozen) in town.subjects.iter().flat_map(|it| it.frozen.lock().unwrap().clone()) {
        assert_eq!(wire.written(), frozen, "a byte left behind the return: {seed}");
    }
    let count = |admitted| attempts.iter().filter(|(_, it)| it.admitted == admitted).count();
    assert!(count(true) > 50 && count(false) > 50, "both answers are met");
    assert!(town.comings.resumed.load(Ordering::SeqCst) > 0, "tickets are met");
    let ended = admitted.clone().filter(|(_, life)| life.ended.is_some()).count();
    assert!(ended > 3 && ended < admitted.count(), "both ends are met: {ended}");
    town.assert_counts_agree();
}

/// An instance, and the devices on record in it.
struct Town {
    comings: Comings,
    cas: Vec<TestCa>,
    subjects: Vec<Subject>,
}

/// A device, under the hands of one operator.
struct Subject {
    device: Identity,
    /// The CA through which it comes.
    own: TestCa,
    /// Another CA under which it may be on record.
    other: Option<TestCa>,
    up: Mutex<Vec<(ConnectionHandle, Arc<Wire>)>>,
    /// How much had been written on those that were up when a call returned that ended them.
    frozen: Mutex<Vec<(Arc<Wire>, usize)>>,
}

impl Town {
    fn new() -> Self {
        let door = Door::open();
        let (plain, old) = (TestCa::root("plain"), TestCa::root("twins"));
        let new = old.twin(|_| {});
        for (ca, status) in [(&plain, CaActive), (&old, CaInactive), (&new, CaActive)] {
            door.register(ca, status).unwrap();
        }
        let subject = |own: &TestCa, other: Option<&TestCa>| {
            let (device, (up, frozen)) = (own.device("device"), Default::default());
            Subject { device, own: own.clone(), other: other.cloned(), up, frozen }
        };
        let subjects = vec![
            subject(&plain, None),
            subject(&plain, None),
            subject(&new, Some(&old)),
            subject(&new, Some(&old)),
        ];
        Self { comings: Comings::to(door, DEVICE_THREADS), cas: vec![plain, old, new], subjects }
    }

    /// Devices come in all ways.
    fn knock_about(&self, mut dice: Dice) -> Vec<(usize, Attempt)> {
        let _held = self.comings.pace.hold();
        let runtime = runtime();
        let regulars: Vec<_> = self.subjects.iter().map(|it| regulars(&it.device)).collect();
        let attempts = (0..ATTEMPTS).map(|_| {
            let at = dice.roll(self.subjects.len());
            let device = &self.subjects[at].device;
            let (_, attempt) = self.comings.come(&runtime, &mut dice, device, &regulars[at]);
            self.comings.pace.step();
            (at, attempt)
        });
        attempts.collect()
    }

    /// Devices come in, with a ticket or without, talk, and go.
    fn live(&self, mut dice: Dice) -> Vec<(usize, Result<Life, Attempt>)> {
        let _held = self.comings.pace.hold();
        let runtime = runtime();
        let regulars: Vec<_> = self.subjects.iter().map(|it| regulars(&it.device)).collect();
        let lives = (0..LIVES).map(|_| {
            let at = dice.roll(self.subjects.len());
            let subject = &self.subjects[at];
            let config = match dice.roll(2) {
                0 => client(Some(&subject.device), VERSIONS[dice.roll(2)]),
                _ => dice.pick(&regulars[at]).as_ref().clone(),
            };
            let life = self.comings.live(&runtime, config, dice.roll(TALKS), |line| {
                let up = (line.server.handle(), Arc::clone(&line.wire));
                subject.up.lock().unwrap().push(up);
            });
            (at, life)
        });
        lives.collect()
    }

    /// Does to the device's records what can be done to them, at random.
    fn operate(&self, subject: &Subject, mut dice: Dice) -> Timeline {
        let (mut timeline, mut barred) = (Timeline::new(true), Barred::default());
        let ticks = &self.comings.ticks;
        while self.comings.pace.wait_for(match barred.is_barred() {
            false => 1 + dice.roll(30),
            true => 1 + dice.roll(15),
        }) {
            let ca = subject.other.as_ref().filter(|_| dice.roll(2) == 0).unwrap_or(&subject.own);
            let act = match dice.roll(8) {
                0 => Act::Record(Active),
                1 => Act::Record(Inactive),
                2 => Act::Delete,
                3 | 4 => Act::Set(Inactive),
                _ => Act::Set(Active),
            };
            let before: Vec<_> = subject.up.lock().unwrap().drain(..).collect();
            let called = ticks.tick();
            let effect = self.take(subject, ca, act, &mut barred);
            let written = |wire: &Arc<Wire>| (Arc::clone(wire), wire.written());
            let frozen: Vec<_> = before.iter().map(|(_, wire)| written(wire)).collect();
            let returned = ticks.tick();
            match effect {
                None => subject.up.lock().unwrap().extend(before),
                Some(effect) => {
                    assert!(before.iter().all(|(handle, _)| handle.ended().is_some()));
                    subject.frozen.lock().unwrap().extend(frozen);
                    timeline.note(called, returned, effect);
                }
            }
        }
        timeline
    }

    /// Takes one step, and tells what it changed for the device.
    fn take(
        &self,
        subject: &Subject,
        ca: &TestCa,
        act: Act,
        barred: &mut Barred,
    ) -> Option<Effect> {
        let Door { instances, instance, .. } = &self.comings.door;
        let mqtt_instance_id = instance.id().clone();
        let (ca_sn, device_sn) = (ca.serial(), subject.device.serial());
        let is_own = ca_sn == subject.own.serial();
        let (effect, let_in) = match act {
            Act::Record(status) => {
                let certificate = DeviceCertificate::from_der(subject.device.chain.clone());
                let certificate = certificate.unwrap();
                let operation =
                    RegisterDeviceCertificate { mqtt_instance_id, ca_sn, status, certificate };
                let response = operation.apply(instances, &Caller::local()).ok()?;
                (barred.set(is_own, status == Inactive), response.let_in)
            }
            Act::Set(Active) => {
                let operation = ActiveDeviceCertificate { mqtt_instance_id, ca_sn, device_sn };
                let response = operation.apply(instances, &Caller::local()).ok()?;
                (barred.set(is_own, false), response.let_in)
            }
            Act::Set(Inactive) => {
                let operation = InactivateDeviceCertificate { mqtt_instance_id, ca_sn, device_sn };
                operation.apply(instances, &Caller::local()).ok()?;
                (barred.set(is_own, true), false)
            }
            Act::Delete => {
                let operation = DeleteDeviceCertificate { mqtt_instance_id, ca_sn, device_sn };
                operation.apply(instances, &Caller::local()).ok()?;
                let effect = barred.delete(is_own);
                (effect, !barred.is_barred())
            }
        };
        assert_eq!(let_in, !barred.is_barred(), "{act:?}");
        effect
    }

    fn assert_counts_agree(&self) {
        let trust = self.comings.door.instance.trust();
        assert_eq!(trust.connections(), 0);
        let listed = trust.list_devices(None, 100).devices;
        assert_eq!(listed.len(), trust.device_count());
        let by_ca = self.cas.iter().map(|ca| {
            let of_ca = trust.list_devices_of(&ca.serial(), None, 100).unwrap().devices;
            assert_eq!(of_ca.len(), trust.get(&ca.serial()).unwrap().devices());
            of_ca.len()
        });
        assert_eq!(by_ca.sum::<usize>(), listed.len());
        for record in listed {
            assert_eq!(record.live_connections(), 0);
            let found = trust.device(record.ca_serial(), record.serial()).unwrap();
            assert!(Arc::ptr_eq(&found, &record));
        }
    }
}

/// What an operator does about a device under one CA, whether it is on record there or not.
#[derive(Clone, Copy, Debug)]
enum Act {
    Record(DeviceStatus),
    Set(DeviceStatus),
    Delete,
}

const DEVICE_THREADS: usize = 4;
const ATTEMPTS: usize = 200;
const LIVES: usize = 60;
const TALKS: usize = 60;
