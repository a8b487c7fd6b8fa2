//! A door, and what it must make of those who come with tickets.

use mqtls::{Admission, Device, Refusal, SerialNumber, Sha256};
use rustls::HandshakeKind;

use super::super::fixed;
use super::Outcome;
use super::door::Door;
use super::fleet::Fleet;
use super::reading::{Facts, Sealed, SealedCa, SealedDevice, Text};
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

/// What a door makes of a ticket that is good.
pub struct Opened {
    /// rustls' part.
    pub session: Vec<u8>,
    pub sealed: Sealed,
    /// Whether a client of TLS 1.2 that comes with it gets no other one.
    is_kept: bool,
}

impl House {
    /// What a door makes of a ticket that says this, within one handshake.
    pub fn open(&self, plain: &[u8], fleet: &Fleet) -> Option<Opened> {
        let found = self.find(plain, fleet);
        let mut handshake = self.door.handshake();
        let ticketer = &handshake.config().ticketer;
        assert_eq!(ticketer.decrypt(plain), None, "outside of a step");
        // Whatever a ticket before it said counts no more.
        let good = self.find(&self.good, fleet).unwrap().session;
        assert_eq!(handshake.step(|| ticketer.decrypt(&self.good)), Some(good));
        let opened = handshake.step(|| ticketer.decrypt(plain));
        let is_kept = !handshake.step(|| ticketer.enabled());
        let mut next = |session: &[u8]| handshake.step(|| ticketer.encrypt(session));
        match &found {
            Some(Opened { session, sealed, is_kept: is_to_be_kept }) => {
                assert_eq!(opened.as_ref(), Some(session));
                assert_eq!(is_kept, *is_to_be_kept);
                for session in [session, &[&[0], &session[..]].concat(), &vec![]] {
                    let repeated = Some(self.next(session, sealed, &Text::find(plain).unwrap()));
                    let repeated = repeated.filter(|next| next.len() <= LARGEST);
                    assert_eq!(next(session), repeated, "another ticket is sealed next");
                }
            }
            None => {
                assert_eq!(opened, None);
                assert!(!is_kept);
                let next = next(b"session");
                assert_eq!(next.is_some(), self.facts.takes_anonymous);
                let device = next.and_then(|next| Sealed::of(&next).unwrap().device);
                assert!(device.is_none(), "a ticket that was declined counts");
            }
        }
        self.door.glass.take_sealed();
        found
    }

    /// What a naive reading makes of it.
    fn find(&self, plain: &[u8], fleet: &Fleet) -> Option<Opened> {
        let (text, sealed) = (Text::find(plain)?, Sealed::of(plain)?);
        let now = fixed::now().as_secs();
        if plain.len() > LARGEST || !self.facts.hold(&sealed, fleet, now) {
            return None;
        }
        let session = text.whole(self.certificate(&sealed))?;
        let since_full = now - sealed.full_at;
        let issued = u64::from(text.issued);
        let is_kept = (issued..issued + KEPT).contains(&since_full);
        Some(Opened { session, sealed, is_kept })
    }

    /// Of the device's record.
    fn certificate(&self, sealed: &Sealed) -> Option<&[u8]> {
        sealed.device.as_ref().and_then(|device| self.facts.certificate(device.record))
    }

    /// What the ticket says that is issued next, for this part of rustls'.
    fn next(&self, session: &[u8], sealed: &Sealed, text: &Text<'_>) -> Vec<u8> {
        let issued = u32::try_from(fixed::now().as_secs() - sealed.full_at).unwrap();
        let missing = self.certificate(sealed).and_then(|certificate| {
            let at = session.windows(certificate.len()).position(|it| it == certificate)?;
            (1..=65_535).contains(&at).then_some((at, certificate.len()))
        });
        match missing {
            Some((at, length)) => {
                [&session[..at], &session[at + length..], &text.behind(at, issued)].concat()
            }
            None => [session, &text.behind(0, issued)].concat(),
        }
    }

    /// What becomes of a visitor with a ticket that is opened.
    pub fn admit(
        &self,
        visitor: &mut Visitor,
        plain: &[u8],
        opened: &Opened,
        fleet: &Fleet,
    ) -> Outcome {
        let Opened { session, sealed, is_kept } = opened;
        let own = self.find(visitor.plain(&self.door), fleet).unwrap();
        let its_own = *session == own.session;
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
            assert_eq!(Text::find(next).unwrap().binding, Text::find(plain).unwrap().binding);
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
            assert_eq!(next.is_empty(), *is_kept && visitor.is_tls12(), "the lineage ends");
        }
        let anchor = anchor.map(|it| SerialNumber::from_der_content(&[&[0], it].concat()).unwrap());
        assert_eq!(device.map(Device::ca_serial), anchor.as_ref());
        assert_eq!(admission.ended(), None);
        Outcome::Resumed
    }

    /// A ticket that comes of a full handshake says who was in it.
    pub fn check_genuine(&self, plain: &[u8], visitor: &Visitor, fleet: &Fleet) {
        let sealed = self.find(plain, fleet).unwrap().sealed;
        assert_eq!(self.certificate(&sealed), visitor.certificate());
        let text = Text::find(plain).unwrap();
        assert_eq!((text.gap == 0, text.issued), (visitor.certificate().is_none(), 0));
    }
}

fn refused(admitted: Result<Admission, Refusal>) -> Outcome {
    assert_eq!(admitted.unwrap_err(), Refusal::NotProven);
    Outcome::Refused
}

/// What a ticket has at most unless said otherwise.
const LARGEST: usize = 4096;
/// For how many seconds a ticket is kept: an eighth of its lifetime.
const KEPT: u64 = 450;
