//! Live connections under random changes from several threads: once a call has returned, not one
//! byte more is written by what it ended, and nobody is ended by what came before it.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use mqtls::CaStatus::{Active, Inactive};
use mqtls::{CaStatus, ConnectionHandle};

use crate::comings::{Comings, Life, runtime};
use crate::line::Wire;
use crate::support::{Dice, Door, Identity, TestCa, VERSIONS, client};

#[test]
fn l05_random_changes_beside_live_connections_end_whom_they_must_and_nobody_else() {
    let seed = RandomState::new().hash_one("live");
    let town = Town::new();
    let (changes, lives) = std::thread::scope(|scope| {
        let devices: Vec<_> = (0..)
            .take(DEVICE_THREADS)
            .map(|at| {
                let dice = Dice::seeded(seed.wrapping_add(at));
                scope.spawn(|| town.live(dice))
            })
            .collect();
        let operators: Vec<_> = (200..)
            .zip(&town.fleets)
            .map(|(at, fleet)| {
                let dice = Dice::seeded(seed.wrapping_add(at));
                scope.spawn(|| town.operate(fleet, dice))
            })
            .collect();
        let changes: Vec<_> = operators.into_iter().map(|it| it.join().unwrap()).collect();
        let lives: Vec<_> = devices.into_iter().flat_map(|it| it.join().unwrap()).collect();
        (changes, lives)
    });
    for (fleet, life) in &lives {
        for change in &changes[*fleet] {
            change.assert_right_beside(life, seed);
        }
        let excused = |ended| changes[*fleet].iter().any(|it| it.may_end(life, ended));
        assert!(life.ended.is_none_or(excused), "{life:?} {:#?} {seed}", changes[*fleet]);
    }
    for fleet in &town.fleets {
        for (wire, frozen) in fleet.frozen.lock().unwrap().iter() {
            assert_eq!(wire.written(), *frozen, "a byte left behind the return: {seed}");
        }
    }
    assert_eq!(town.comings.door.instance.trust().connections(), 0);
    let ended = lives.iter().filter(|(_, life)| life.ended.is_some()).count();
    assert!(ended > 3 && ended < lives.len(), "both are met: {ended} of {}", lives.len());
}

struct Town {
    comings: Comings,
    fleets: Vec<Fleet>,
}

/// A CA with a device, under the hands of one operator.
struct Fleet {
    ca: TestCa,
    device: Identity,
    /// Whether its device is admitted while the CA is not registered: by a root above it.
    without_record: bool,
    up: Mutex<Vec<(ConnectionHandle, Arc<Wire>)>>,
    /// How much had been written on those that were up when a call returned that ended them.
    frozen: Mutex<Vec<(Arc<Wire>, usize)>>,
}

/// What an operator did.
#[derive(Debug)]
struct Change {
    called: u64,
    returned: u64,
    /// Whether it ends every connection, or those that came in through the record.
    ends: Ends,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    All,
    Some,
    None,
}

impl Change {
    fn assert_right_beside(&self, life: &Life, seed: u64) {
        let came_before = life.admitted < self.called;
        let outlived = life.last_exchange > self.returned;
        let wrong = self.ends == Ends::All && came_before && outlived;
        assert!(!wrong, "{life:?} outlived {self:?}, {seed}");
    }

    fn may_end(&self, life: &Life, ended: u64) -> bool {
        self.ends != Ends::None && self.returned > life.began && self.called < ended
    }
}

impl Town {
    fn new() -> Self {
        let door = Door::open();
        let above = TestCa::root("above");
        door.register(&above, Active).unwrap();
        let fleet = |ca: TestCa, without_record: bool| {
            let device = ca.device("device");
            let device = if without_record { device.with_chain(&[&ca]) } else { device };
            let (up, frozen) = Default::default();
            Fleet { ca, device, without_record, up, frozen }
        };
        let fleets = vec![fleet(TestCa::root("one"), false), fleet(above.child("below"), true)];
        Self { comings: Comings::to(door, DEVICE_THREADS), fleets }
    }

    /// Devices come in, talk, and go.
    fn live(&self, mut dice: Dice) -> Vec<(usize, Life)> {
        let _held = self.comings.pace.hold();
        let runtime = runtime();
        let lives = (0..LIVES).filter_map(|_| {
            let (at, version) = (dice.roll(self.fleets.len()), *dice.pick(&VERSIONS));
            let fleet = &self.fleets[at];
            let config = client(Some(&fleet.device), version);
            let life = self.comings.live(&runtime, config, dice.roll(TALKS), |line| {
                let up = (line.server.handle(), Arc::clone(&line.wire));
                fleet.up.lock().unwrap().push(up);
            });
            life.ok().map(|life| (at, life))
        });
        lives.collect()
    }

    /// Does to the fleet's CA what can be done to it, at random.
    fn operate(&self, fleet: &Fleet, mut dice: Dice) -> Vec<Change> {
        let mut changes = vec![];
        let mut registered: Option<CaStatus> = None;
        while {
            // Whoever is refused is back at once; whoever is in has much to say.
            let admits = registered.map_or(fleet.without_record, |status| status == Active);
            self.comings.pace.wait_for(if admits { 10 + dice.roll(100) } else { 1 + dice.roll(3) })
        } {
            let (next, ends) = match (registered, dice.roll(4)) {
                (None, 0) => (Some(Inactive), Ends::All),
                (None, _) => (Some(Active), Ends::None),
                (Some(Active), 0) if fleet.without_record => (None, Ends::Some),
                (Some(Active), 0) => (None, Ends::All),
                (Some(Inactive), 0) => (None, Ends::None),
                (Some(Active), _) => (Some(Inactive), Ends::All),
                (Some(Inactive), _) => (Some(Active), Ends::None),
            };
            let called = self.comings.ticks.tick();
            let before: Vec<_> = fleet.up.lock().unwrap().drain(..).collect();
            match (registered, next) {
                (None, Some(status)) => {
                    drop(self.comings.door.register(&fleet.ca, status).unwrap())
                }
                (_, Some(Active)) => drop(self.comings.door.activate(&fleet.ca)),
                (_, Some(Inactive)) => drop(self.comings.door.deactivate(&fleet.ca)),
                (_, None) => drop(self.comings.door.delete(&fleet.ca)),
            }
            let frozen: Vec<_> =
                before.iter().map(|(_, wire)| (Arc::clone(wire), wire.written())).collect();
            changes.push(Change { called, returned: self.comings.ticks.tick(), ends });
            if ends == Ends::All {
                assert!(before.iter().all(|(handle, _)| handle.ended().is_some()));
                fleet.frozen.lock().unwrap().extend(frozen);
            } else {
                fleet.up.lock().unwrap().extend(before);
            }
            registered = next;
        }
        changes
    }
}

const DEVICE_THREADS: usize = 3;
const LIVES: usize = 60;
const TALKS: usize = 60;
