//! Live connections under random changes from several threads: once a call has returned, not one
//! byte more is written by what it ended, and nobody is ended by what came before it.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Condvar, Mutex};

use mqtls::CaStatus::{Active, Inactive};
use mqtls::{CaStatus, ConnectionHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;

use crate::line::{Line, Wire, ended};
use crate::support::{Dice, Door, Identity, TestCa, VERSIONS, client};
use crate::timeline::Ticks;

#[test]
fn l05_random_changes_beside_live_connections_end_whom_they_must_and_nobody_else() {
    let seed = RandomState::new().hash_one("live");
    let town = Town::new();
    let (changes, lives) = std::thread::scope(|scope| {
        let devices: Vec<_> = (0..DEVICE_THREADS)
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
    for life in &lives {
        for change in &changes[life.fleet] {
            life.assert_right_beside(change, seed);
        }
        let excused = |ended| changes[life.fleet].iter().any(|it| life.may_be_ended_by(it, ended));
        assert!(life.ended.is_none_or(excused), "{life:?} {:#?} {seed}", changes[life.fleet]);
    }
    for fleet in &town.fleets {
        for (wire, frozen) in fleet.frozen.lock().unwrap().iter() {
            assert_eq!(wire.written(), *frozen, "a byte left behind the return: {seed}");
        }
    }
    assert_eq!(town.door.instance.trust().connections(), 0);
    let ended = lives.iter().filter(|life| life.ended.is_some()).count();
    assert!(ended > 3 && ended < lives.len(), "both are met: {ended} of {}", lives.len());
}

struct Town {
    door: Door,
    fleets: Vec<Fleet>,
    ticks: Ticks,
    pace: Pace,
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

/// A connection from its beginning to its end.
#[derive(Debug)]
struct Life {
    fleet: usize,
    began: u64,
    admitted: u64,
    /// Before the last exchange that went well.
    last_exchange: u64,
    /// Behind the first failure.
    ended: Option<u64>,
}

impl Life {
    fn assert_right_beside(&self, change: &Change, seed: u64) {
        let came_before = self.admitted < change.called;
        let outlived = self.last_exchange > change.returned;
        let wrong = change.ends == Ends::All && came_before && outlived;
        assert!(!wrong, "{self:?} outlived {change:?}, {seed}");
    }

    fn may_be_ended_by(&self, change: &Change, ended: u64) -> bool {
        change.ends != Ends::None && change.returned > self.began && change.called < ended
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
        let (ticks, pace) = Default::default();
        Self { door, fleets, ticks, pace }
    }

    /// Devices come in, talk, and go.
    fn live(&self, mut dice: Dice) -> Vec<Life> {
        let _gone = Gone(&self.pace);
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let mut lives = vec![];
        for _ in 0..LIVES {
            let (at, version) = (dice.roll(self.fleets.len()), *dice.pick(&VERSIONS));
            let fleet = &self.fleets[at];
            let began = self.ticks.tick();
            let config = client(Some(&fleet.device), version);
            let line = runtime.block_on(Line::tried(&self.door, config));
            self.pace.step();
            let Ok(mut line) = line else { continue };
            let mut life = {
                let admitted = self.ticks.tick();
                Life { fleet: at, began, admitted, last_exchange: 0, ended: None }
            };
            let up = (line.server.handle(), Arc::clone(&line.wire));
            fleet.up.lock().unwrap().push(up);
            for _ in 0..dice.roll(TALKS) {
                let tick = self.ticks.tick();
                let talked = runtime.block_on(async {
                    line.server.write_all(b"publish").await?;
                    line.server.flush().await?;
                    line.client.read_exact(&mut [0; 7]).await
                });
                self.pace.step();
                match talked {
                    Ok(_) => life.last_exchange = tick,
                    Err(error) => {
                        drop(ended(error));
                        life.ended = Some(self.ticks.tick());
                        break;
                    }
                }
            }
            lives.push(life);
        }
        lives
    }

    /// Does to the fleet's CA what can be done to it, at random.
    fn operate(&self, fleet: &Fleet, mut dice: Dice) -> Vec<Change> {
        let mut changes = vec![];
        let mut registered: Option<CaStatus> = None;
        while {
            // Whoever is refused is back at once; whoever is in has much to say.
            let admits = registered.map_or(fleet.without_record, |status| status == Active);
            self.pace.wait_for(if admits { 10 + dice.roll(100) } else { 1 + dice.roll(3) })
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
            let called = self.ticks.tick();
            let before: Vec<_> = fleet.up.lock().unwrap().drain(..).collect();
            match (registered, next) {
                (None, Some(status)) => drop(self.door.register(&fleet.ca, status).unwrap()),
                (_, Some(Active)) => drop(self.door.activate(&fleet.ca)),
                (_, Some(Inactive)) => drop(self.door.deactivate(&fleet.ca)),
                (_, None) => drop(self.door.delete(&fleet.ca)),
            }
            let frozen: Vec<_> =
                before.iter().map(|(_, wire)| (Arc::clone(wire), wire.written())).collect();
            changes.push(Change { called, returned: self.ticks.tick(), ends });
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

/// How much has happened: the operators' pace.
#[derive(Default)]
struct Pace {
    steps: Mutex<(usize, u64)>,
    stepped: Condvar,
}

impl Pace {
    fn step(&self) {
        self.steps.lock().unwrap().0 += 1;
        self.stepped.notify_all();
    }

    /// Waits until some more has happened. False once there are no devices any more.
    fn wait_for(&self, more: usize) -> bool {
        let steps = self.steps.lock().unwrap();
        let until = steps.0 + more;
        let waits = |steps: &mut (usize, u64)| steps.0 < until && steps.1 < DEVICE_THREADS;
        self.stepped.wait_while(steps, waits).unwrap().1 < DEVICE_THREADS
    }
}

/// Tells that a thread of devices ended, well or not.
struct Gone<'a>(&'a Pace);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.steps.lock().unwrap().1 += 1;
        self.0.stepped.notify_all();
    }
}

const DEVICE_THREADS: u64 = 3;
const LIVES: usize = 60;
const TALKS: usize = 60;
