//! What a ticket claims about its bearer, held against the registry.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};

use super::authority::SeenRecord;
use super::binding::{Binding, BoundCa, BoundDevice};
use super::declined::Declined;
use super::device::Device;
use super::devices::{DeviceStanding, SeenDevice};
use super::index::Standing;
use super::plain_text::PlainText;
use super::refusal::Refusal;
use super::registry::CaRegistry;
use super::state::Word;
use super::verdict::{PathCa, Verdict};
use crate::certificate::{CaIdentity, SerialNumber};

/// What a ticket says, after nothing was found that speaks against it.
///
/// No identity: whoever saw a ticket go by can offer it. It becomes a [`Verdict`] only where the
/// handshake was resumed, from a session that holds the certificate on the device's record.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// The octets that say it.
    binding: Vec<u8>,
    device: Option<CandidateDevice>,
    /// How many seconds after the full handshake the ticket was issued.
    issued_after: u32,
    /// And offered.
    offered_after: u32,
}

/// When a ticket is offered.
pub(super) struct Offered {
    pub(super) now: UnixTime,
    /// How many seconds after the full handshake that is.
    pub(super) after: u32,
}

#[derive(Debug)]
struct CandidateDevice {
    seen: SeenDevice,
    path: Vec<PathCa>,
    not_after: UnixTime,
}

impl Candidate {
    /// What a ticket says with this plain text, and rustls' part of it. `check` looks at it first, and
    /// tells the time.
    pub(super) fn recall(
        plain: &[u8],
        check: impl FnOnce(&Binding<'_>) -> Result<Offered, Declined>,
        registry: &CaRegistry,
    ) -> Result<(Vec<u8>, Self), Declined> {
        let plain = PlainText::read(plain).ok_or(Declined::Unreadable)?;
        let binding = Binding::read(plain.binding).ok_or(Declined::Unreadable)?;
        let Offered { now, after } = check(&binding)?;
        let recall = |device| CandidateDevice::recall(device, registry, now);
        let candidate = Self {
            device: binding.device.as_ref().map(recall).transpose()?,
            binding: plain.binding.to_vec(),
            issued_after: plain.issued_after,
            offered_after: after,
        };
        let session = plain.session(candidate.certificate()).ok_or(Declined::Unreadable)?;
        Ok((session, candidate))
    }

    fn certificate(&self) -> Option<&[u8]> {
        self.device.as_ref().map(|device| &**device.seen.record.certificate())
    }

    /// Whether the ticket was issued fewer seconds ago than this.
    pub(super) fn is_younger_than(&self, seconds: u32) -> bool {
        let age = self.offered_after.checked_sub(self.issued_after);
        age.is_some_and(|age| age < seconds)
    }

    /// What the next ticket of the lineage says, with the time of the full handshake that it goes back
    /// to, for this part of rustls'.
    pub(super) fn seal(&self, session: &[u8]) -> Option<Vec<u8>> {
        PlainText::write(session, self.certificate(), self.offered_after, |octets| {
            octets.extend_from_slice(&self.binding);
            Some(())
        })
    }

    /// Whose connection a resumed handshake has led to, in which rustls restored `shown` as the
    /// client's certificate. `None` for a client that has none.
    ///
    /// Where ticket and session disagree they do not belong together, and nobody is proven.
    pub(crate) fn verdict(
        self,
        shown: Option<&CertificateDer<'_>>,
    ) -> Result<Option<Verdict>, Refusal> {
        match (shown, self.device) {
            (None, None) => Ok(None),
            (Some(shown), Some(CandidateDevice { seen, path, not_after })) => {
                let Some(PathCa::Registered { record, .. }) = path.last() else {
                    return Err(Refusal::NotProven);
                };
                let certificate = seen.record.certificate();
                if **shown != **certificate {
                    return Err(Refusal::NotProven);
                }
                let device = Device::remembered(Arc::clone(certificate), &record.authority);
                let standing = DeviceStanding::Recorded(seen);
                Ok(Some(Verdict { device, standing, path, not_after }))
            }
            (Some(_), None) | (None, Some(_)) => Err(Refusal::NotProven),
        }
    }
}

impl CandidateDevice {
    /// A device that is, with its every CA, in the state in which the ticket says it was.
    fn recall(
        bound: &BoundDevice<'_>,
        registry: &CaRegistry,
        now: UnixTime,
    ) -> Result<Self, Declined> {
        let path: Vec<_> =
            bound.path.iter().map(|ca| recall(ca, registry)).collect::<Result<_, _>>()?;
        let record = registry.devices().recorded(bound.order).ok_or(Declined::DeviceDeleted)?;
        let word = record.word();
        if word.bits() != bound.word || !word.is_active() {
            return Err(Declined::DeviceChanged(record.serial().clone()));
        }
        let checked = registry.check_revocation(record.serial(), &path, now);
        checked.map_err(Declined::Revocation)?;
        let not_after = UnixTime::since_unix_epoch(Duration::from_secs(bound.not_after));
        Ok(Self { seen: SeenDevice { record, word }, path, not_after })
    }
}

impl Verdict {
    /// What a ticket says of a device that the verifier has believed.
    ///
    /// The words are those that the verifier saw: with the present ones, a CA that was deactivated
    /// and activated since would leave the ticket good. A device that is new is named by the record
    /// that the gate will make of it; where it makes none, the ticket is of no use.
    pub(super) fn bind(&self) -> BoundDevice<'_> {
        let (order, word) = self.standing.bind();
        let path = self.path.iter().map(PathCa::bind).collect();
        BoundDevice { order, word, not_after: self.not_after.as_secs(), path }
    }
}

impl PathCa {
    fn bind(&self) -> BoundCa<'_> {
        match self {
            Self::Registered { record: SeenRecord { authority, word }, serial } => {
                BoundCa::Registered {
                    order: authority.order(),
                    word: word.bits(),
                    shown: serial.as_ref().map(SerialNumber::octets),
                }
            }
            Self::Unregistered { identity, serial, lapsed } => BoundCa::Unregistered {
                serial: serial.octets(),
                subject: identity.subject(),
                key: identity.key(),
                word: lapsed.map_or(NO_RECORD, Word::bits),
            },
        }
    }
}

fn recall(ca: &BoundCa<'_>, registry: &CaRegistry) -> Result<PathCa, Declined> {
    let read = |octets| SerialNumber::from_octets(octets).ok_or(Declined::Unreadable);
    match *ca {
        BoundCa::Registered { order, word: sealed, shown } => {
            let authority = registry.registered(order).ok_or(Declined::CaDeleted)?;
            let word = authority.word();
            if word.bits() != sealed || !word.is_active() {
                return Err(Declined::CaChanged(authority.certificate().serial().clone()));
            }
            let serial = shown.map(read).transpose()?;
            if serial.as_ref() == Some(authority.certificate().serial()) {
                return Err(Declined::Unreadable);
            }
            Ok(PathCa::Registered { record: SeenRecord { authority, word }, serial })
        }
        BoundCa::Unregistered { serial, subject, key, word: sealed } => {
            let serial = read(serial)?;
            let identity = CaIdentity::restored(subject, key);
            match registry.index().standing(&identity) {
                Standing::Unregistered { lapsed }
                    if lapsed.map_or(NO_RECORD, Word::bits) == sealed =>
                {
                    Ok(PathCa::Unregistered { identity, serial, lapsed })
                }
                Standing::Unregistered { .. } | Standing::Active(_) | Standing::Inactive(_) => {
                    Err(Declined::CaRegistered(serial))
                }
            }
        }
    }
}

/// The word of what has no record, and has had none of late.
const NO_RECORD: u64 = 0;
