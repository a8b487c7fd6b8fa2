//! Lists, records and devices at random, beside a model that knows nothing of paths, tables and orders.

use std::collections::BTreeSet;

use mqtls::CaStatus::Active;
use mqtls::Ended;
use mqtls::control::Cause;
use mqtls::trust::{Refusal, RevocationError};

use crate::line::Line;
use crate::live::count;
use crate::revocation::numbered;
use crate::revocation_loading::serial;
use crate::support::{Dice, Door, Identity, TestCa, VERSIONS};

#[tokio::test]
async fn a_device_is_let_in_unless_a_list_of_its_issuer_names_it_whatever_came_before() {
    for seed in 0..6 {
        let mut dice = Dice::seeded(seed);
        let mut world = World::new(seed);
        for _ in 0..60 {
            match dice.roll(8) {
                0..3 => world.list(&mut dice),
                3 => world.turn_sub(),
                _ => world.knock(&mut dice).await,
            }
            world.check().await;
        }
    }
}

/// Whose devices have which serial numbers. The first root and the sub-CA share none: where the sub-CA
/// has no record both their devices are on record under the root.
const DEVICES: [(usize, &[u8]); 3] = [(ONE, &[1, 2, 3]), (TWO, &POOL), (SUB, &[4, 5, 6])];
const POOL: [u8; 6] = [1, 2, 3, 4, 5, 6];
const ONE: usize = 0;
const TWO: usize = 1;
const SUB: usize = 2;

/// Certificates of few serial numbers under two roots and a sub-CA.
struct World {
    door: Door,
    /// The third is a sub-CA of the first.
    cas: [TestCa; 3],
    /// The number of the list in force of each and what it names.
    lists: [Option<(u64, BTreeSet<u8>)>; 3],
    sub_is_registered: bool,
    devices: Vec<(usize, u8, Identity)>,
    /// Those that are up.
    lines: Vec<Up>,
}

struct Up {
    line: Line,
    /// What each CA on its path vouches for.
    path: Vec<(usize, u8)>,
    /// Whether the sub-CA's record let it in.
    through_record: bool,
}

/// The sub-CA's own serial number.
const OF_SUB: u8 = 2;

impl World {
    fn new(seed: u64) -> Self {
        let door = Door::open();
        let (one, two) =
            (TestCa::root("one"), TestCa::root(if seed % 2 == 0 { "one" } else { "two" }));
        let sub = one.child_with("sub", numbered(&[OF_SUB]));
        let cas = [one, two, sub];
        door.register(&cas[ONE], Active).unwrap();
        door.register(&cas[TWO], Active).unwrap();
        let devices =
            DEVICES.into_iter().flat_map(|(ca, numbers)| numbers.iter().map(move |&it| (ca, it)));
        let devices = devices.map(|(at, number)| {
            let device = cas[at].device_with("device", numbered(&[number]));
            (at, number, if at == SUB { device.with_chain(&[&cas[SUB]]) } else { device })
        });
        let devices = devices.collect();
        let lists = [None, None, None];
        Self { door, cas, lists, sub_is_registered: false, devices, lines: vec![] }
    }

    fn names(&self, ca: usize, number: u8) -> bool {
        self.lists[ca].as_ref().is_some_and(|(_, named)| named.contains(&number))
    }

    /// What each CA on the path vouches for.
    fn path(&self, ca: usize, number: u8) -> Vec<(usize, u8)> {
        match ca {
            SUB if !self.sub_is_registered => vec![(SUB, number), (ONE, OF_SUB)],
            _ => vec![(ca, number)],
        }
    }

    fn is_believed(&self, ca: usize, number: u8) -> bool {
        self.path(ca, number).into_iter().all(|(ca, below)| !self.names(ca, below))
    }

    fn list(&mut self, dice: &mut Dice) {
        let ca = dice.roll(3);
        let number = u64::try_from(dice.roll(30)).unwrap();
        let named: BTreeSet<u8> = POOL.into_iter().filter(|_| dice.roll(3) == 0).collect();
        let serials: Vec<_> = named.iter().map(|number| serial(&format!("{number:02x}"))).collect();
        let der = self.cas[ca].list(number, &serials, |_| {});
        if ca == SUB && !self.sub_is_registered {
            let error = self.door.try_load(&self.cas[SUB], &der).unwrap_err();
            assert!(matches!(error.cause(), Cause::NoSuchCa(_)));
            return;
        }
        let loaded = self.door.load(&self.cas[ca], &der);
        if self.lists[ca].as_ref().is_some_and(|(in_force, _)| number <= *in_force) {
            assert!(matches!(loaded, Err(RevocationError::NotLater { .. })), "{loaded:?}");
            return;
        }
        self.lists[ca] = Some((number, named));
        let ended = self.lines.iter().filter(|Up { line, path, .. }| {
            let is_over = path.iter().any(|(at, below)| *at == ca && self.names(ca, *below));
            let why = line.server.handle().ended();
            let serial = self.cas[ca].serial();
            assert_eq!(why, is_over.then_some(Ended::Revoked(serial)), "{path:?}");
            is_over
        });
        let (ended, answer) = (ended.count(), loaded.unwrap());
        assert_eq!((answer.changed, count(answer.connections)), (true, (ended, 0)));
        self.lines.retain(|up| up.line.server.handle().ended().is_none());
    }

    fn turn_sub(&mut self) {
        self.sub_is_registered = !self.sub_is_registered;
        if self.sub_is_registered {
            self.door.register(&self.cas[SUB], Active).unwrap();
            return;
        }
        self.lists[SUB] = None;
        let through = self.lines.iter().filter(|up| up.through_record).count();
        assert_eq!(count(self.door.delete(&self.cas[SUB]).connections), (through, 0));
        self.lines.retain(|up| !up.through_record);
    }

    async fn knock(&mut self, dice: &mut Dice) {
        let (ca, number, device) = dice.pick(&self.devices);
        let version = *dice.pick(&VERSIONS);
        if self.is_believed(*ca, *number) {
            let line = Line::up(&self.door, Some(device), version).await;
            let through_record = *ca == SUB && self.sub_is_registered;
            self.lines.push(Up { line, path: self.path(*ca, *number), through_record });
        } else {
            let refusal = self.door.knock(Some(device), version).await.not_believed();
            assert!(matches!(refusal, Refusal::Revoked { .. }), "{refusal:?}");
        }
    }

    async fn check(&mut self) {
        for (ca, number, device) in &self.devices {
            let believed = self.is_believed(*ca, *number);
            assert_eq!(self.door.believes(device), believed, "{ca} {number}");
        }
        for up in &mut self.lines {
            up.line.exchange().await;
        }
        assert_eq!(self.door.instance.connections(), self.lines.len());
    }
}
