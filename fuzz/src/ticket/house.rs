//! A door, and what it must make of those who come with tickets.

use mqtls::{Admission, Device, Refusal, SerialNumber, Sha256};
use rustls::HandshakeKind;

use super::super::fixed;
use super::Outcome;
use super::door::Door;
use super::fleet::Fleet;
use super::reading::{Facts, Sealed, SealedCa, SealedDevice};
use super::visitor::Visitor;

/// A door, with what is known of it.
pub struct House {
    pub door: Door,
    pub facts: Facts,
    /// What a ticket says that is good.
    pub good: Vec<u8>,
    /// The words of CAs in tickets that are good no more, by the order of registration.
    pub once: Vec<(u64, u64)>,
    /// The orders and words of devices' records in them, one for each device.
    pub records_once: Vec<(u64, u64)>,
}

impl House {
    /// What a door makes of a ticket that says this, within one handshake.
    pub fn open(&self, plain: &[u8], fleet: &Fleet) -> Option<Sealed> {
        let found = Sealed::find(plain).filter(|(_, sealed)| {
            plain.len() <= LARGEST && self.facts.hold(sealed, fleet, fixed::now().as_secs())
        });
        let mut handshake = self.door.handshake();
        let ticketer = &handshake.config().ticketer;
        assert_eq!(ticketer.decrypt(plain), None, "outside of a step");
        // Whatever a ticket before it said counts no more.
        assert_eq!(handshake.step(|| ticketer.decrypt(&self.good)).unwrap(), apart(&self.good).0);
        let opened = handshake.step(|| ticketer.decrypt(plain));
        let mut next = |session: &[u8]| handshake.step(|| ticketer.encrypt(session));
        let sealed = match found {
            Some((length, sealed)) => {
                let (session, rest) = plain.split_at(length);
                assert_eq!(opened.as_deref(), Some(session));
                for session in [session, &[&[0], session].concat(), b""] {
                    let repeated = Some([session, rest].concat());
                    let repeated = repeated.filter(|next| next.len() <= LARGEST);
                    assert_eq!(next(session), repeated, "another ticket is sealed next");
                }
                Some(sealed)
            }
            None => {
                assert_eq!(opened, None);
                let next = next(b"session");
                assert_eq!(next.is_some(), self.facts.takes_anonymous);
                let device = next.and_then(|next| Sealed::find(&next).unwrap().1.device);
                assert!(device.is_none(), "a ticket that was declined counts");
                None
            }
        };
        self.door.glass.take_sealed();
        sealed
    }

    /// What becomes of a visitor with a ticket that is opened.
    pub fn admit(
        &self,
        visitor: &mut Visitor,
        plain: &[u8],
        sealed: &Sealed,
        fleet: &Fleet,
    ) -> Outcome {
        let its_own = plain.starts_with(apart(visitor.plain(&self.door)).0);
        let (context, shaken, next) = visitor.come(&self.door, plain);
        let Ok(server) = shaken else {
            return Outcome::Unused;
        };
        let shown = server.peer_certificates().and_then(|chain| Some(chain.first()?.to_vec()));
        let admitted = context.admit(&server);
        if server.handshake_kind() != Some(HandshakeKind::Resumed) {
            // Whatever the ticket said, who came has proven who they are.
            assert_eq!(admitted.unwrap().device().map(|it| it.sha256()), visitor.sha256());
            next.iter().for_each(|next| self.check_genuine(next, visitor, fleet));
            return Outcome::Unused;
        }
        for next in &next {
            assert!(next.ends_with(behind(plain)));
        }
        let anchor = match (&sealed.device, &shown) {
            (None, None) => None,
            (Some(SealedDevice { record, path, .. }), Some(shown)) => match path.last() {
                Some(SealedCa::Registered { order, .. })
                    if self.facts.certificate(*record) == Some(shown) =>
                {
                    Some(self.facts.serial(*order))
                }
                _ => return refused(admitted),
            },
            (None, Some(_)) | (Some(_), None) => return refused(admitted),
        };
        let admission = admitted.unwrap();
        let device = admission.device();
        // Nothing of it makes anything panic, whatever was written into the session.
        let _shown = format!("{device:?}");
        assert_eq!(device.map(Device::sha256), shown.map(|shown| Sha256::of(&shown)));
        if its_own {
            assert_eq!(device.map(Device::sha256), visitor.sha256());
            assert!(!next.is_empty(), "the lineage ends");
        }
        let anchor = anchor.map(|it| SerialNumber::from_der_content(&[&[0], it].concat()).unwrap());
        assert_eq!(device.map(Device::ca_serial), anchor.as_ref());
        assert_eq!(admission.ended(), None);
        Outcome::Resumed
    }

    /// A ticket that comes of a full handshake says who was in it.
    pub fn check_genuine(&self, plain: &[u8], visitor: &Visitor, fleet: &Fleet) {
        let (_, sealed) = Sealed::find(plain).unwrap();
        assert!(self.facts.hold(&sealed, fleet, fixed::now().as_secs()));
        let of = |device: SealedDevice| self.facts.certificate(device.record);
        assert_eq!(sealed.device.and_then(of), visitor.certificate());
    }
}

fn refused(admitted: Result<Admission, Refusal>) -> Outcome {
    assert_eq!(admitted.unwrap_err(), Refusal::NotProven);
    Outcome::Refused
}

/// rustls' part of a plain text that is genuine, and what is sealed with it.
pub fn apart(plain: &[u8]) -> (&[u8], &[u8]) {
    let (session, rest) = plain.split_at(Sealed::find(plain).unwrap().0);
    (session, &rest[..rest.len() - 2])
}

/// What stands behind rustls' part, to the end.
fn behind(plain: &[u8]) -> &[u8] {
    &plain[apart(plain).0.len()..]
}

/// What a ticket has at most unless said otherwise.
const LARGEST: usize = 4096;
