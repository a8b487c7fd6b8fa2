//! All operations at random from several threads, beside devices that come in every way that there
//! is: each answer is one that some order of the calls explains.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use mqtls::CaStatus::{Active, Inactive};
use mqtls::{CaStatus, ClientAuth};
use rustls::SupportedCipherSuite;

use crate::comings::{Comings, Way, regulars, runtime};
use crate::support::{Dice, Door, Identity, TestCa, provider};
use crate::timeline::{Attempt, Timeline};

#[test]
fn l05_random_changes_beside_handshakes_are_linearizable() {
    // Between two visits of a device there is seldom no change at all, which a ticket asks for.
    let met_tickets = |_| resumed_beside_random_changes() > 0;
    assert!((0..20).any(met_tickets), "tickets are met");
}

/// How many came back with a ticket.
fn resumed_beside_random_changes() -> usize {
    let seed = RandomState::new().hash_one("stress");
    let town = Town::new();
    let (timelines, attempts) = std::thread::scope(|scope| {
        let devices: Vec<_> = (0..)
            .take(DEVICE_THREADS)
            .map(|at| {
                let dice = Dice::seeded(seed.wrapping_add(at));
                scope.spawn(|| town.knock_about(dice))
            })
            .collect();
        scope.spawn(|| town.change_certificates(Dice::seeded(seed.wrapping_add(100))));
        let operators: Vec<_> = (200..)
            .zip(&town.fleets)
            .map(|(at, fleet)| {
                let dice = Dice::seeded(seed.wrapping_add(at));
                scope.spawn(|| town.operate(fleet, dice))
            })
            .collect();
        let timelines: Vec<_> = operators.into_iter().map(|it| it.join().unwrap()).collect();
        let attempts: Vec<_> = devices.into_iter().flat_map(|it| it.join().unwrap()).collect();
        (timelines, attempts)
    });
    for (fleet, way, attempt) in &attempts {
        timelines[*fleet].assert_right(attempt, &(way, "seed", seed));
    }
    for (fleet, timeline) in timelines.iter().enumerate() {
        let of_fleet = attempts.iter().filter(move |(whose, ..)| *whose == fleet);
        timeline.assert_met_in_order(of_fleet.map(|(.., attempt)| attempt), &("seed", seed));
    }
    let count = |admitted| attempts.iter().filter(|(.., it)| it.admitted == admitted).count();
    assert!(count(true) > 50 && count(false) > 50, "both answers are met");
    assert_eq!(town.comings.door.instance.trust().connections(), 0);
    town.comings.resumed.into_inner()
}

/// An instance, and what happens to it.
struct Town {
    comings: Comings,
    fleets: Vec<Fleet>,
    /// The generation of a table that was certainly published.
    generation: AtomicU64,
}

/// A CA with a device, under the hands of one operator.
struct Fleet {
    ca: TestCa,
    device: Identity,
    /// Whether its device is admitted while the CA is not registered: by a root above it.
    without_record: bool,
}

impl Town {
    fn new() -> Self {
        let door = Door::open_with(ClientAuth::Required);
        for id in ["A0", "B0", "A1", "B1"] {
            door.put(id, &door.server_ca.server(&["a.com", "b.com"]));
        }
        let above = TestCa::root("above");
        door.register(&above, Active).unwrap();
        let fleet = |ca: TestCa, without_record: bool| {
            let device = ca.device("device");
            let device = if without_record { device.with_chain(&[&ca]) } else { device };
            Fleet { ca, device, without_record }
        };
        let roots = [TestCa::root("one"), TestCa::root("two")].map(|ca| fleet(ca, false));
        let fleets = roots.into_iter().chain([fleet(above.child("below"), true)]).collect();
        let comings = Comings::to(door, DEVICE_THREADS);
        let town = Self { comings, fleets, generation: AtomicU64::new(0) };
        town.show(0);
        town
    }

    /// Devices of all fleets come in all ways, and look at the certificates meanwhile.
    fn knock_about(&self, mut dice: Dice) -> Vec<(usize, Way, Attempt)> {
        let _held = self.comings.pace.hold();
        let runtime = runtime();
        let regulars: Vec<_> = self.fleets.iter().map(|it| regulars(&it.device)).collect();
        let attempts = (0..ATTEMPTS).map(|_| {
            let fleet = dice.roll(self.fleets.len());
            let device = &self.fleets[fleet].device;
            let (way, attempt) = self.comings.come(&runtime, &mut dice, device, &regulars[fleet]);
            self.look_at_the_certificates();
            self.comings.pace.step();
            (fleet, way, attempt)
        });
        attempts.collect()
    }

    /// Two names of one table are of one configuration, and no table is older than one that was
    /// published before it was asked for.
    fn look_at_the_certificates(&self) {
        let known = self.generation.load(Ordering::SeqCst);
        let sni = self.comings.door.instance.sni();
        let table = sni.table().unwrap();
        assert!(table.generation() >= known);
        let number = |name| {
            let set = table.map().lookup(Some(name)).value;
            set.certificates().next().unwrap().0.as_str().as_bytes()[1]
        };
        assert_eq!(number("a.com"), number("b.com"));
        let provider = provider();
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let suites: Vec<_> =
            provider.cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
        assert!(sni.choose(Some("a.com"), &schemes, &suites).is_some());
        assert!(sni.explain(Some("b.com"), &schemes, &suites).unwrap().generation >= known);
    }

    /// Changes the certificates at random, and sweeps now and then.
    fn change_certificates(&self, mut dice: Dice) {
        while self.comings.pace.wait_for(dice.roll(3)) {
            match dice.roll(4) {
                0 => drop(self.comings.door.instance.sweep()),
                _ => self.show(dice.roll(2)),
            }
        }
        self.show(0);
        assert!(self.comings.door.instance.sweep().unwrap().is_empty());
    }

    fn show(&self, number: usize) {
        let config = format!("a.com#A{number};b.com#B{number}");
        let generation = self.comings.door.set_sni("default", &config).unwrap().generation;
        self.generation.store(generation, Ordering::SeqCst);
    }

    /// Does to the fleet's CA what can be done to it, at random.
    fn operate(&self, fleet: &Fleet, mut dice: Dice) -> Timeline {
        let mut timeline = Timeline::new(fleet.without_record);
        let mut registered: Option<CaStatus> = None;
        while self.comings.pace.wait_for(dice.roll(6)) {
            let (next, ends_attempts) = match (registered, dice.roll(4)) {
                (None, 0) => (Some(Inactive), true),
                (None, _) => (Some(Active), true),
                (Some(_), 0) => (None, false),
                (Some(same), 1) => (Some(same), false),
                (Some(Active), _) => (Some(Inactive), true),
                (Some(Inactive), _) => (Some(Active), true),
            };
            let take = || self.take(&fleet.ca, registered, next);
            let admits = next.map_or(fleet.without_record, |status| status == Active);
            if registered == next {
                take();
            } else {
                timeline.change(&self.comings.ticks, admits, ends_attempts, take);
            }
            registered = next;
        }
        timeline
    }

    fn take(&self, ca: &TestCa, registered: Option<CaStatus>, next: Option<CaStatus>) {
        match (registered, next) {
            (None, Some(status)) => drop(self.comings.door.register(ca, status).unwrap()),
            (_, Some(Active)) => drop(self.comings.door.activate(ca)),
            (_, Some(Inactive)) => drop(self.comings.door.deactivate(ca)),
            (_, None) => drop(self.comings.door.delete(ca)),
        }
    }
}

const DEVICE_THREADS: usize = 3;
const ATTEMPTS: usize = 200;
