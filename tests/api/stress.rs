//! All operations at random from several threads, beside devices that come in every way that there
//! is: each answer is one that some order of the calls explains.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use mqtls::CaStatus::{Active, Inactive};
use mqtls::{CaStatus, ClientAuth};
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, HandshakeKind, SupportedCipherSuite};
use rustls_pki_types::UnixTime;
use tokio::runtime::{Builder, Runtime};

use crate::support::{
    Dice, Door, Examinations, HeldHandshake, Identity, NOW, PlainHandshake, TestCa, VERSIONS,
    client, in_small_records, provider,
};
use crate::timeline::{Attempt, Ticks, Timeline};

#[test]
fn l05_random_changes_beside_handshakes_are_linearizable() {
    let seed = RandomState::new().hash_one("stress");
    let town = Town::new();
    let (timelines, attempts) = std::thread::scope(|scope| {
        let devices: Vec<_> = (0..DEVICE_THREADS)
            .map(|at| {
                let dice = Dice::seeded(seed + at);
                scope.spawn(|| town.knock_about(dice))
            })
            .collect();
        scope.spawn(|| town.change_certificates(Dice::seeded(seed + 100)));
        let operators: Vec<_> = (200..)
            .zip(&town.fleets)
            .map(|(at, fleet)| {
                let dice = Dice::seeded(seed + at);
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
    assert!(town.resumed.into_inner() > 10, "tickets are met");
    assert_eq!(town.door.instance.trust().connections(), 0);
}

/// An instance, and what happens to it.
struct Town {
    door: Door,
    fleets: Vec<Fleet>,
    ticks: Ticks,
    /// How many attempts ended: the operators' pace.
    attempts: AtomicUsize,
    devices_gone: AtomicU64,
    /// How many devices were admitted by a ticket.
    resumed: AtomicUsize,
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

/// In which ways a device may come.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// The verifier alone is asked.
    Verifier,
    /// Through `Acceptor`.
    Acceptor,
    /// Through an accept loop of the embedder's own, with `admit` behind it.
    OwnLoop,
    /// The same in steps, as a client that comes again and again and offers its tickets.
    Again,
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
        let town = Self {
            door,
            fleets,
            ticks: Ticks::default(),
            attempts: AtomicUsize::new(0),
            devices_gone: AtomicU64::new(0),
            resumed: AtomicUsize::new(0),
            generation: AtomicU64::new(0),
        };
        town.show(0);
        town
    }

    /// Devices of all fleets come in all ways, and look at the certificates meanwhile.
    fn knock_about(&self, mut dice: Dice) -> Vec<(usize, Way, Attempt)> {
        let _gone = Gone(&self.devices_gone);
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let regulars: Vec<_> = self.fleets.iter().map(|it| regulars(&it.device)).collect();
        let attempts = (0..ATTEMPTS).map(|_| {
            let fleet = dice.roll(self.fleets.len());
            let ways = [Way::Verifier, Way::Acceptor, Way::OwnLoop, Way::Again, Way::Again];
            let way = *dice.pick(&ways);
            let version = *dice.pick(&VERSIONS);
            let device = &self.fleets[fleet].device;
            let attempt = match way {
                Way::Verifier => self.ask_the_verifier(device),
                Way::Acceptor => {
                    self.knock(&runtime, client(Some(device), version), dice.roll(2) == 0)
                }
                Way::OwnLoop => self.come_to_an_own_loop(client(Some(device), version)),
                Way::Again => self.come_again(dice.pick(&regulars[fleet])),
            };
            self.look_at_the_certificates();
            self.attempts.fetch_add(1, Ordering::SeqCst);
            (fleet, way, attempt)
        });
        attempts.collect()
    }

    fn ask_the_verifier(&self, device: &Identity) -> Attempt {
        let (end_entity, intermediates) = device.chain.split_first().unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        let began = self.ticks.tick();
        let verifier = self.door.instance.verifier();
        let admitted = verifier.verify_client_cert(end_entity, intermediates, now).is_ok();
        Attempt { began, captured: began, judged: began, ended: self.ticks.tick(), admitted }
    }

    /// With a pause behind the verification, so that the gate has something to find.
    fn knock(&self, runtime: &Runtime, config: ClientConfig, pause: bool) -> Attempt {
        runtime.block_on(async {
            let examinations = Examinations::watch();
            let began = self.ticks.tick();
            let (mut held, mut answer) =
                HeldHandshake::up_to_the_certificate(&self.door, in_small_records(config)).await;
            let captured = self.ticks.tick();
            let last = answer.pop_back();
            held.pass([answer.into_iter().flatten().collect()]).await;
            examinations.next().await;
            if pause {
                self.let_others_go_first();
            }
            let judged = self.ticks.tick();
            let admitted = held.release_with(last).await.server.is_ok();
            Attempt { began, captured, judged, ended: self.ticks.tick(), admitted }
        })
    }

    /// Until another device has come, or a while has gone by.
    fn let_others_go_first(&self) {
        let before = self.attempts.load(Ordering::SeqCst);
        for _ in 0..10_000 {
            if self.attempts.load(Ordering::SeqCst) > before + 1 {
                return;
            }
            std::thread::yield_now();
        }
    }

    fn come_to_an_own_loop(&self, config: ClientConfig) -> Attempt {
        let began = self.ticks.tick();
        let server = self.door.instance.server_config();
        let mut handshake = PlainHandshake::between(server, Arc::new(config));
        let finished = handshake.finish().is_ok();
        let judged = self.ticks.tick();
        let admitted = finished && self.door.instance.admit(&handshake.server).is_ok();
        Attempt { began, captured: judged, judged, ended: self.ticks.tick(), admitted }
    }

    fn come_again(&self, config: &Arc<ClientConfig>) -> Attempt {
        let began = self.ticks.tick();
        let mut context = self.door.instance.handshake().unwrap();
        let captured = self.ticks.tick();
        let server = context.config();
        let (shaken, server) = context.step(|| {
            let mut handshake = PlainHandshake::between(server, Arc::clone(config));
            (handshake.finish().is_ok(), handshake.server)
        });
        let judged = self.ticks.tick();
        let admitted = shaken && context.admit(&server).is_ok();
        if admitted && server.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.resumed.fetch_add(1, Ordering::SeqCst);
        }
        Attempt { began, captured, judged, ended: self.ticks.tick(), admitted }
    }

    /// Two names of one table are of one configuration, and no table is older than one that was
    /// published before it was asked for.
    fn look_at_the_certificates(&self) {
        let known = self.generation.load(Ordering::SeqCst);
        let sni = self.door.instance.sni();
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
        while self.go_on(dice.roll(3)) {
            match dice.roll(4) {
                0 => drop(self.door.instance.sweep()),
                _ => self.show(dice.roll(2)),
            }
        }
        self.show(0);
        assert!(self.door.instance.sweep().unwrap().is_empty());
    }

    fn show(&self, number: usize) {
        let config = format!("a.com#A{number};b.com#B{number}");
        let generation = self.door.set_sni("default", &config).unwrap().generation;
        self.generation.store(generation, Ordering::SeqCst);
    }

    /// Does to the fleet's CA what can be done to it, at random.
    fn operate(&self, fleet: &Fleet, mut dice: Dice) -> Timeline {
        let mut timeline = Timeline::new(fleet.without_record);
        let mut registered: Option<CaStatus> = None;
        while self.go_on(dice.roll(6)) {
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
                timeline.change(&self.ticks, admits, ends_attempts, take);
            }
            registered = next;
        }
        timeline
    }

    fn take(&self, ca: &TestCa, registered: Option<CaStatus>, next: Option<CaStatus>) {
        match (registered, next) {
            (None, Some(status)) => drop(self.door.register(ca, status).unwrap()),
            (_, Some(Active)) => drop(self.door.activate(ca)),
            (_, Some(Inactive)) => drop(self.door.deactivate(ca)),
            (_, None) => drop(self.door.delete(ca)),
        }
    }

    /// Waits until some more devices have come. False once there are none any more, also where
    /// their thread failed.
    fn go_on(&self, more: usize) -> bool {
        let until = self.attempts.load(Ordering::SeqCst) + more;
        while self.devices_gone.load(Ordering::SeqCst) < DEVICE_THREADS {
            if self.attempts.load(Ordering::SeqCst) >= until {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}

/// Clients with this device's certificate that keep their tickets.
fn regulars(device: &Identity) -> Vec<Arc<ClientConfig>> {
    VERSIONS.iter().map(|version| Arc::new(client(Some(device), version))).collect()
}

/// Tells that a thread of devices ended, well or not.
struct Gone<'a>(&'a AtomicU64);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

const DEVICE_THREADS: u64 = 3;
const ATTEMPTS: usize = 200;
