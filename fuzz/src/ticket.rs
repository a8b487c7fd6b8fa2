//! What is sealed into a ticket, as only somebody could write it who has the keys.

mod door;
mod draft;
mod fleet;
mod house;
mod reading;
mod visitor;

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use mqtls::ClientAuth;
use rustls::version::{TLS12, TLS13};

use door::Door;
use draft::Draft;
use fleet::{Device, Fleet};
use house::House;
use reading::{Facts, Record, Sealed, SealedCa, Text, written};
use visitor::Visitor;

/// What became of a ticket, at the door of the session that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is not opened.
    Declined,
    /// It is opened, and rustls cannot go on with the session.
    Unused,
    /// The session is resumed, and its certificate is not that of the record that is sealed with it.
    Refused,
    /// The session is resumed, and its owner is let in.
    Resumed,
}

/// Takes a genuine ticket, the first octet says which; what is sealed into it or into another one,
/// the second octet says which; and edits both as [`Draft::edit`] has it. Every door opens exactly
/// what a naive reading finds to be good, gives rustls its own part back, and seals the same into
/// the next ticket. Whoever comes with it is let in as the session says, where the record is that of
/// its certificate, or not at all.
pub fn run(data: &[u8]) -> Outcome {
    let [visitor, sealed, edits @ ..] = data else {
        return Outcome::Declined;
    };
    static WORLD: LazyLock<Mutex<World>> = LazyLock::new(|| Mutex::new(World::make()));
    let mut world = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    world.offer(usize::from(*visitor), usize::from(*sealed), edits)
}

struct World {
    fleet: Fleet,
    houses: [House; 2],
    /// Each with the number of the house that it comes to.
    visitors: Vec<(usize, Visitor)>,
    /// What is sealed into their tickets, and into tickets that are good no more.
    sealed: Vec<Vec<u8>>,
    /// What is hard to find by chance.
    pieces: Vec<Vec<u8>>,
}

impl World {
    fn make() -> Self {
        let fleet = Fleet::make();
        draw_words(&fleet);
        let mut houses = [ClientAuth::Optional, ClientAuth::Required].map(|client_auth| {
            let takes_anonymous = client_auth == ClientAuth::Optional;
            let facts = Facts::none(takes_anonymous);
            let door = Door::open(client_auth, &fleet);
            House { door, facts, good: vec![], once: vec![], records_once: vec![] }
        });
        let devices = fleet.devices().map(Arc::new);
        let visitors = || {
            let mut visitors = vec![];
            for device in &devices {
                visitors.extend([0, 1].map(|at| (at, Visitor::new(Some(device), &fleet, &TLS12))));
            }
            visitors.push((0, Visitor::new(None, &fleet, &TLS12)));
            visitors.push((0, Visitor::new(Some(&devices[0]), &fleet, &TLS13)));
            visitors
        };
        let mut sealed = vec![];
        let mut earlier = visitors();
        for (at, visitor) in earlier.iter_mut().filter(|(_, visitor)| visitor.device.is_some()) {
            let plain = visitor.plain(&houses[*at].door);
            let found = Sealed::of(plain).unwrap();
            houses[*at].once.extend(found.words());
            houses[*at].records_once.extend(found.device.map(|device| device.record));
            sealed.push(Text::find(plain).unwrap().binding.to_vec());
        }
        for house in &houses {
            house.door.close_and_open(&fleet, &devices[5], &devices[1]);
        }
        let mut visitors = visitors();
        for (at, visitor) in &mut visitors {
            let house = &mut houses[*at];
            let plain = visitor.plain(&house.door).to_vec();
            let found = Sealed::of(&plain).unwrap();
            house.facts.learn(&found, visitor.certificate(), visitor.over());
            house.check_genuine(&plain, visitor, &fleet);
            sealed.push(Text::find(&plain).unwrap().binding.to_vec());
            house.good = plain;
        }
        let mut world = Self { fleet, houses, visitors, sealed, pieces: vec![] };
        world.pieces =
            [world.known_pieces(), world.records(&devices), world.certificates(&devices)].concat();
        world
    }

    /// Octets as they stand in tickets, seeds and corpus know them by their places here.
    fn known_pieces(&self) -> Vec<Vec<u8>> {
        let Self { fleet, houses, .. } = self;
        let mut pieces: Vec<_> = houses.iter().map(|it| it.facts.incarnation.to_vec()).collect();
        for House { facts, .. } in houses {
            for ca in fleet.active() {
                let Record { order, word, .. } = *facts.record(&ca.serial);
                let with = |shown| SealedCa::Registered { order, word, shown }.write();
                let another = fleet.unregistered.serial.clone();
                pieces.extend([written(word), with(None), with(Some(another))]);
            }
        }
        let [root, sub, early] = fleet.active();
        for subject in [root, &fleet.unregistered] {
            for key in [root, sub, early, &fleet.retired, &fleet.unregistered, &fleet.deleted] {
                let with = |word| {
                    let (serial, subject) = (key.serial.clone(), subject.subject.clone());
                    let point = key.point().to_vec();
                    SealedCa::Unregistered { serial, subject, point, word }.write()
                };
                pieces.extend([with(0), with(houses[0].facts.lapse(key.point()))]);
            }
        }
        // The inactive one was registered behind the last that is active, and drew the next word if
        // nobody else in the process did.
        let order = houses[0].facts.record(&early.serial).order;
        let (_, word) = houses[0].once.iter().find(|(known, _)| *known == order).unwrap();
        let (order, word) = (order + 1, word + 1);
        pieces.push(SealedCa::Registered { order, word, shown: None }.write());
        pieces
    }

    /// The record of each device at each door, and of before; and of one that is inactive.
    fn records(&self, devices: &[Arc<Device>]) -> Vec<Vec<u8>> {
        let mut records = vec![];
        for House { facts, .. } in &self.houses {
            records.extend(devices.iter().map(|device| facts.record_of(&device.chain[0])));
        }
        let house = &self.houses[0];
        records.extend(&house.records_once[..devices.len()]);
        // It was the first to be recorded, behind the CA that was deleted, which was the fifth; and
        // drew the next word if nobody else in the process did.
        let (_, word) = house.once.iter().find(|(order, _)| *order == 5).unwrap();
        records.push((1, word + 1));
        records.iter().map(|(order, word)| [written(*order), written(*word)].concat()).collect()
    }

    /// The certificate of each device, and of a CA that one sends along.
    fn certificates(&self, devices: &[Arc<Device>]) -> Vec<Vec<u8>> {
        let devices = devices.iter().map(|device| device.chain[0].to_vec());
        devices.chain([self.fleet.unregistered.der.to_vec()]).collect()
    }

    fn offer(&mut self, visitor: usize, sealed: usize, edits: &[u8]) -> Outcome {
        let count = self.visitors.len();
        let (at, visitor) = &mut self.visitors[visitor % count];
        let plain = visitor.plain(&self.houses[*at].door).to_vec();
        let own = Text::find(&plain).unwrap();
        let sealed = match sealed.checked_sub(1) {
            None => own.binding,
            Some(other) => &self.sealed[other % self.sealed.len()],
        };
        let mut draft = Draft::of(&own, sealed, visitor.certificate());
        draft.edit(edits, &self.pieces);
        let plain = draft.plain();
        let [first, second] = self.houses.each_ref().map(|house| house.open(&plain, &self.fleet));
        assert!(first.is_none() || second.is_none(), "two doors open the same ticket");
        let Some(opened) = (if *at == 0 { first } else { second }) else {
            return Outcome::Declined;
        };
        if !visitor.can_offer(&opened.session) {
            return Outcome::Unused;
        }
        self.houses[*at].admit(visitor, &plain, &opened, &self.fleet)
    }
}

/// Draws words until each that follows has three octets, so that what is sealed is as long in every
/// process.
fn draw_words(fleet: &Fleet) {
    let door = Door::open(ClientAuth::Required, fleet);
    for _ in 0..1 << 14 {
        door.toggle(&fleet.root);
    }
}
