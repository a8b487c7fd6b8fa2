//! What is sealed into a ticket, as only somebody could write it who has the keys.

mod door;
mod draft;
mod fleet;
mod reading;
mod visitor;

use std::sync::{LazyLock, Mutex, PoisonError};

use mqtls::{Admission, ClientAuth, Device, Refusal, SerialNumber, Sha256};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use super::fixed;
use door::Door;
use draft::Draft;
use fleet::Fleet;
use reading::{Facts, Sealed, SealedCa, SealedDevice};
use visitor::Visitor;

/// What became of a ticket, at the door of the session that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is not opened.
    Declined,
    /// It is opened, and rustls cannot go on with the session.
    Unused,
    /// The session is resumed, and it is not the device's that is sealed with it.
    Refused,
    /// The session is resumed, and its owner is let in.
    Resumed,
}

/// Takes a genuine ticket, the first octet says which; what is sealed into it or into another one,
/// the second octet says which; and edits both as [`Draft::edit`] has it. Every door opens exactly
/// what a naive reading finds to be good, gives rustls its own part back, and seals the same into
/// the next ticket. Whoever comes with it is let in as who they are, or not at all.
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

/// A door, with what is known of it.
struct House {
    door: Door,
    facts: Facts,
    /// What a ticket says that is good.
    good: Vec<u8>,
}

impl World {
    fn make() -> Self {
        let fleet = Fleet::make();
        let mut houses = [ClientAuth::Optional, ClientAuth::Required].map(|client_auth| {
            let takes_anonymous = client_auth == ClientAuth::Optional;
            let facts = Facts { takes_anonymous, ..Facts::default() };
            House { door: Door::open(client_auth, &fleet), facts, good: vec![] }
        });
        let devices = fleet.devices();
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
        for (at, visitor) in earlier.iter_mut().filter(|(_, visitor)| visitor.certificate.is_some())
        {
            sealed.push(apart(visitor.plain(&houses[*at].door)).1.to_vec());
        }
        for house in &houses {
            house.door.close_and_open(&fleet);
        }
        let mut visitors = visitors();
        for (at, visitor) in &mut visitors {
            let house = &mut houses[*at];
            let plain = visitor.plain(&house.door);
            house.facts.learn(&Sealed::find(plain).unwrap().1);
            house.good = plain.to_vec();
            sealed.push(apart(plain).1.to_vec());
        }
        let pieces = pieces(&fleet, &houses, &visitors);
        Self { fleet, houses, visitors, sealed, pieces }
    }

    fn offer(&mut self, visitor: usize, sealed: usize, edits: &[u8]) -> Outcome {
        let count = self.visitors.len();
        let (at, visitor) = &mut self.visitors[visitor % count];
        let (session, own) = apart(visitor.plain(&self.houses[*at].door));
        let sealed = match sealed.checked_sub(1) {
            None => own,
            Some(other) => &self.sealed[other % self.sealed.len()],
        };
        let mut draft = Draft::of(session, sealed);
        draft.edit(edits, &self.pieces);
        let plain = draft.plain();
        let [first, second] = self.houses.each_ref().map(|house| house.open(&plain, &self.fleet));
        assert!(first.is_none() || second.is_none(), "two doors open the same ticket");
        let Some(sealed) = (if *at == 0 { first } else { second }) else {
            return Outcome::Declined;
        };
        if !visitor.can_offer(&plain) {
            return Outcome::Unused;
        }
        come(visitor, &self.houses[*at].door, &plain, &sealed)
    }
}

impl House {
    /// What a door makes of a ticket that says this, within one handshake.
    fn open(&self, plain: &[u8], fleet: &Fleet) -> Option<Sealed> {
        let found = Sealed::find(plain).filter(|(_, sealed)| {
            plain.len() <= LARGEST && self.facts.hold(sealed, fleet, fixed::now().as_secs())
        });
        let mut handshake = self.door.handshake();
        let ticketer = &handshake.config().ticketer;
        assert_eq!(ticketer.decrypt(plain), None, "outside of a step");
        // Whatever a ticket before it said counts no more.
        assert_eq!(handshake.step(|| ticketer.decrypt(&self.good)).unwrap(), apart(&self.good).0);
        let opened = handshake.step(|| ticketer.decrypt(plain));
        let next = handshake.step(|| ticketer.encrypt(opened.as_deref().unwrap_or(b"session")));
        self.door.glass.take_sealed();
        match found {
            Some((length, sealed)) => {
                assert_eq!(opened.as_deref(), Some(&plain[..length]));
                assert_eq!(next.as_deref(), Some(plain), "another ticket is sealed next");
                Some(sealed)
            }
            None => {
                assert_eq!(opened, None);
                assert_eq!(next.is_some(), self.facts.takes_anonymous);
                let device = next.and_then(|next| Sealed::find(&next).unwrap().1.device);
                assert!(device.is_none(), "a ticket that was declined counts");
                None
            }
        }
    }
}

/// Comes with a ticket that is opened.
fn come(visitor: &mut Visitor, door: &Door, plain: &[u8], sealed: &Sealed) -> Outcome {
    let (context, shaken) = visitor.come(door, plain);
    let Ok(server) = shaken else {
        return Outcome::Unused;
    };
    let shown = server.peer_certificates().and_then(|chain| Some(chain.first()?.to_vec()));
    let admitted = context.admit(&server);
    if server.handshake_kind() != Some(HandshakeKind::Resumed) {
        // Whatever the ticket said, who came has proven who they are.
        assert_eq!(admitted.unwrap().device().map(|it| it.sha256()), visitor.sha256());
        return Outcome::Unused;
    }
    let anchor = match (&sealed.device, shown) {
        (None, None) => None,
        (Some(SealedDevice { leaf, path, .. }), Some(shown)) => match path.last() {
            Some(SealedCa::Registered { serial, .. }) if *Sha256::of(&shown).as_ref() == *leaf => {
                Some(serial)
            }
            _ => return refused(admitted),
        },
        (None, Some(_)) | (Some(_), None) => return refused(admitted),
    };
    let admission = admitted.unwrap();
    let device = admission.device();
    assert!(device.is_none_or(|device| Some(device.sha256()) == visitor.sha256()));
    let anchor =
        anchor.map(|it| SerialNumber::from_der_content(&[&[0], &it[..]].concat()).unwrap());
    assert_eq!(device.map(Device::ca_serial), anchor.as_ref());
    assert_eq!(admission.ended(), None);
    Outcome::Resumed
}

fn refused(admitted: Result<Admission, Refusal>) -> Outcome {
    assert_eq!(admitted.unwrap_err(), Refusal::NotProven);
    Outcome::Refused
}

/// rustls' part of a plain text that is genuine, and what is sealed with it.
fn apart(plain: &[u8]) -> (&[u8], &[u8]) {
    let (session, rest) = plain.split_at(Sealed::find(plain).unwrap().0);
    (session, &rest[..rest.len() - 2])
}

/// Octets as they stand in tickets, seeds and corpus know them by their places here.
fn pieces(fleet: &Fleet, houses: &[House; 2], visitors: &[(usize, Visitor)]) -> Vec<Vec<u8>> {
    let mut pieces: Vec<Vec<u8>> = houses.iter().map(|it| it.facts.incarnation.to_vec()).collect();
    for (_, visitor) in visitors.iter().take(6).step_by(2) {
        pieces.push(visitor.sha256().unwrap().as_ref().to_vec());
    }
    let registered = |ca: &fleet::Ca, shown: &[u8], house: &House| {
        let (serial, word) = house.facts.word(&ca.serial);
        SealedCa::Registered { shown: shown.to_vec(), serial, word }.write()
    };
    for house in houses {
        for ca in fleet.active() {
            pieces.push(house.facts.word(&ca.serial).1.to_be_bytes().to_vec());
            pieces.push(registered(ca, &ca.serial, house));
            pieces.push(registered(ca, &fleet.unregistered.serial, house));
        }
    }
    let [root, sub, early] = fleet.active();
    for subject in [root, &fleet.unregistered] {
        for key in [root, sub, early, &fleet.retired, &fleet.unregistered] {
            let (serial, subject) = (key.serial.clone(), subject.subject.clone());
            let point = key.point().to_vec();
            pieces.push(SealedCa::Unregistered { serial, subject, point, word: 0 }.write());
        }
    }
    let retired = fleet.retired.serial.clone();
    let word = houses[0].facts.word(&root.serial).1;
    pieces.push(SealedCa::Registered { shown: retired.clone(), serial: retired, word }.write());
    pieces
}

/// What a ticket has at most unless said otherwise.
const LARGEST: usize = 4096;
