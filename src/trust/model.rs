//! Every order of steps, or many, of changes to CAs beside handshakes.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use CaStatus::{Active, Inactive};
use Step::{Delete, Register, Set};
use rustls_pki_types::UnixTime;
use shuttle::thread::{self, JoinHandle};

use super::registry::{CaRegistry, TrustSettings};
use super::state::{CaStatus, Moment, State, Word};
use super::verifier::{ClientAuth, DeviceVerifier};
use crate::primitives::{explore, explore_fully};
use crate::support::{Identity, NOW, TestCa, provider};
use crate::timeline::{Attempt, Ticks, Timeline};

mod devices;
mod live;

#[test]
fn no_word_is_drawn_twice() {
    explore(200, || {
        let shared = Arc::new(State::new(Active));
        let writers = [Inactive, Active].map(|first| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let own = State::new(first);
                let mut words = vec![own.word()];
                for status in [Inactive, Active] {
                    shared.set(status);
                    words.extend(own.set(status).then(|| own.word()));
                }
                words
            })
        });
        let mut words = changes_of(&shared);
        words.extend(writers.into_iter().flat_map(joined));
        words.push(State::new(Inactive).word());
        for (at, word) in words.iter().enumerate() {
            assert!(!words[..at].contains(word), "{words:?}");
        }
    });
}

/// The words that a state has in turn, as far as three looks tell. One that comes back after
/// another one is listed twice.
fn changes_of(state: &State) -> Vec<Word> {
    let mut words = vec![state.word(), state.word(), state.word()];
    words.dedup();
    words
}

#[test]
fn of_two_writers_each_change_is_one_ones_and_the_last_one_stays() {
    let sequences =
        [[Inactive, Active], [Inactive, Inactive], [Active, Inactive], [Active, Active]];
    for (ours, theirs) in sequences.iter().flat_map(|ours| sequences.map(|theirs| (*ours, theirs)))
    {
        explore_fully(move || {
            let state = Arc::new(State::new(Active));
            let theirs = {
                let state = Arc::clone(&state);
                thread::spawn(move || theirs.map(|status| (status, state.set(status))))
            };
            let ours = ours.map(|status| (status, state.set(status)));
            let all = [ours, joined(theirs)].concat();
            let made = |to| all.iter().filter(|change| **change == (to, true)).count();
            let active = match made(Inactive) - made(Active) {
                0 => true,
                1 => false,
                more => panic!("{more} deactivations too many: {all:?}"),
            };
            assert_eq!(state.word().is_active(), active, "{all:?}");
        });
    }
}

#[test]
fn once_a_change_returned_no_gate_answers_from_before_it() {
    let scripts: [(Option<CaStatus>, &[Step]); 10] = [
        (Some(Active), &[Set(Active)]),
        (Some(Active), &[Set(Inactive)]),
        (Some(Active), &[Set(Inactive), Set(Active)]),
        (Some(Inactive), &[Set(Active)]),
        (Some(Inactive), &[Set(Active), Set(Inactive)]),
        (None, &[Register(Active)]),
        (None, &[Register(Inactive), Set(Active)]),
        (Some(Active), &[Delete]),
        (Some(Active), &[Delete, Register(Active)]),
        (Some(Active), &[Set(Inactive), Delete, Register(Inactive)]),
    ];
    let fleet = &*FLEET;
    for (at_first, steps) in scripts {
        explore(60, move || {
            House::new().run(&fleet.root, at_first, steps, &fleet.device, false);
        });
        explore(60, move || {
            House::new().run(&fleet.root, at_first, steps, &fleet.below_sub, false);
        });
    }
}

#[test]
fn an_intermediate_that_changes_behind_its_verification_is_caught() {
    let scripts: [(Option<CaStatus>, &[Step]); 8] = [
        (None, &[Register(Inactive)]),
        (None, &[Register(Active)]),
        (None, &[Register(Inactive), Set(Active)]),
        (Some(Inactive), &[Delete]),
        (Some(Active), &[Delete]),
        (Some(Active), &[Set(Inactive)]),
        (Some(Active), &[Set(Inactive), Set(Active)]),
        (Some(Active), &[Set(Inactive), Delete]),
    ];
    let fleet = &*FLEET;
    for (at_first, steps) in scripts {
        explore(60, move || {
            let house = House::new();
            house.take(&fleet.root, Register(Active));
            // Where the sub-CA is not registered, the root stands for it.
            house.run(&fleet.sub, at_first, steps, &fleet.below_sub, true);
        });
    }
}

#[test]
fn whatever_operations_meet_the_registry_ends_in_one_piece() {
    let pairs: [(&[Step], &[Step]); 5] = [
        (&[Register(Active)], &[Register(Inactive)]),
        (&[Register(Active), Set(Inactive)], &[Delete]),
        (&[Register(Active), Delete], &[Register(Active), Delete]),
        (&[Register(Inactive), Set(Active)], &[Set(Inactive), Delete]),
        (&[Delete, Register(Active)], &[Set(Active), Set(Inactive)]),
    ];
    let fleet = &*FLEET;
    for (ours, theirs) in pairs {
        explore(60, move || {
            let house = House::new();
            let other = Arc::clone(&house);
            let other = thread::spawn(move || {
                theirs.iter().for_each(|step| other.take(&fleet.root, *step))
            });
            ours.iter().for_each(|step| house.take(&fleet.root, *step));
            joined(other);
            let record = house.registry.get(&fleet.root.serial());
            let active = record.as_ref().is_some_and(|record| record.status() == Active);
            assert_eq!(house.knock(&fleet.device).admitted, active);
            let listed = house.registry.list(None, 10).authorities;
            assert_eq!(listed.len(), usize::from(record.is_some()));
            assert_eq!(house.registry.len(), listed.len());
            let identity = fleet.root.certificate().identity().clone();
            assert_eq!(house.registry.index().twins(&identity).len(), listed.len());
        });
    }
}

/// What an operator does to one CA.
#[derive(Clone, Copy, Debug)]
enum Step {
    Register(CaStatus),
    Set(CaStatus),
    Delete,
}

/// A registry with a verifier before it and a gate behind.
struct House {
    registry: Arc<CaRegistry>,
    verifier: DeviceVerifier,
    ticks: Ticks,
}

impl House {
    fn new() -> Arc<Self> {
        Self::with(TrustSettings::default())
    }

    fn with(settings: TrustSettings) -> Arc<Self> {
        let algorithms = provider().signature_verification_algorithms;
        let registry = Arc::new(CaRegistry::new(algorithms, settings, Duration::ZERO));
        let verifier = DeviceVerifier::new(Arc::clone(&registry), ClientAuth::Required, algorithms);
        Arc::new(Self { registry, verifier, ticks: Ticks::default() })
    }

    /// Takes `steps` while a device knocks, and holds every answer against what is right.
    /// `without_record` says whether the device is admitted while the CA is not registered.
    fn run(
        self: &Arc<Self>,
        ca: &'static TestCa,
        at_first: Option<CaStatus>,
        steps: &'static [Step],
        device: &'static Identity,
        without_record: bool,
    ) {
        if let Some(status) = at_first {
            self.take(ca, Register(status));
        }
        let devices = [2, 1].map(|times| {
            let house = Arc::clone(self);
            thread::spawn(move || (0..times).map(|_| house.knock(device)).collect::<Vec<_>>())
        });
        let mut admitted = at_first.map_or(without_record, |status| status == Active);
        let mut timeline = Timeline::new(admitted);
        for step in steps {
            let (admits, ends_attempts) = match step {
                Register(status) | Set(status) => (*status == Active, true),
                Delete => (without_record, false),
            };
            match step {
                // What changes nothing must disturb nobody.
                Set(_) if admits == admitted => self.take(ca, *step),
                _ => timeline.change(&self.ticks, admits, ends_attempts, || self.take(ca, *step)),
            }
            admitted = admits;
        }
        let attempts: Vec<_> = devices.into_iter().flat_map(joined).collect();
        let context = (at_first, steps);
        attempts.iter().for_each(|attempt| timeline.assert_right(attempt, &context));
        timeline.assert_met_in_order(attempts.iter(), &context);
        timeline.assert_right(&self.knock(device), &"afterwards");
    }

    fn take(&self, ca: &TestCa, step: Step) {
        let serial = ca.serial();
        match step {
            Register(status) => {
                // Where another one was quicker, that is right too.
                let _registered = self.registry.register("fleet", ca.certificate(), status, now());
            }
            Set(status) => drop(self.registry.set_status(&serial, status, Some(now()))),
            Delete => drop(self.registry.delete(&serial, Some(now()))),
        }
    }

    /// What a handshake asks: the moment, the verifier, and in the end the gate.
    fn knock(&self, device: &Identity) -> Attempt {
        let (end_entity, intermediates) = device.chain.split_first().unwrap();
        let began = self.ticks.tick();
        let moment = Moment::now();
        let captured = self.ticks.tick();
        let finding = self.verifier.examine(end_entity, intermediates, now(), moment);
        // The rest of the handshake: much happens behind a verification.
        thread::yield_now();
        let judged = self.ticks.tick();
        let admitted = finding.and_then(|verdict| verdict.admit(&self.registry, now())).is_ok();
        Attempt { began, captured, judged, ended: self.ticks.tick(), admitted }
    }
}

/// A root, a CA below it, and a device of each.
struct Fleet {
    root: TestCa,
    sub: TestCa,
    device: Identity,
    below_sub: Identity,
}

static FLEET: LazyLock<Fleet> = LazyLock::new(|| {
    let root = TestCa::root("root");
    let sub = root.child("sub");
    let device = root.device("device");
    let below_sub = sub.device("device below sub").with_chain(&[&sub]);
    Fleet { root, sub, device, below_sub }
});

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW))
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap()
}
