//! What a ticket claims about its bearer, held against the registry.

use std::ops::Range;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};

use super::authority::SeenRecord;
use super::binding::{Binding, BoundCa, BoundDevice, Incarnation};
use super::declined::Declined;
use super::device::Device;
use super::index::Standing;
use super::refusal::Refusal;
use super::registry::CaRegistry;
use super::state::Word;
use super::verdict::{PathCa, Verdict};
use crate::certificate::{CaIdentity, SerialNumber};

/// What a ticket says, after nothing was found that speaks against it.
///
/// No identity: whoever saw a ticket go by can offer it. It becomes a [`Verdict`] only where the
/// handshake was resumed, from a session that holds the same certificate.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// The certificate of the device, where there is one, and behind it what is sealed.
    octets: Vec<u8>,
    /// Where the certificate stands in rustls' part, and is to stand in that of the next ticket.
    leaf: Range<usize>,
    device: Option<CandidateDevice>,
}

#[derive(Debug)]
struct CandidateDevice {
    path: Vec<PathCa>,
    not_after: UnixTime,
}

impl Candidate {
    /// What a ticket says with this plain text, of which the first octets are rustls' part.
    pub(super) fn recall(
        plain: &[u8],
        length: usize,
        device: Option<&BoundDevice<'_>>,
        registry: &CaRegistry,
    ) -> Result<Self, Declined> {
        let leaf = device.map_or(0..0, |device| device.leaf.clone());
        let part = |part| plain.get(part).unwrap_or_default();
        let octets = [part(leaf.clone()), part(length..plain.len())].concat();
        let device = device.map(|device| CandidateDevice::recall(device, registry)).transpose()?;
        Ok(Self { octets, leaf, device })
    }

    /// A session's plain text with the same behind it: what the next ticket of the lineage says, with
    /// the time of the full handshake that it goes back to. `None` where the session's certificate
    /// is not the device's.
    pub(super) fn append_to(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (leaf, sealed) = self.octets.split_at_checked(self.leaf.len())?;
        let is_its_own = plain.get(self.leaf.clone()) == Some(leaf);
        is_its_own.then(|| [plain, sealed].concat())
    }

    /// Whose connection a resumed handshake has led to, in which rustls restored `shown` as the
    /// client's certificate. `None` for a client that has none.
    ///
    /// Where ticket and session disagree they do not belong together, and nobody is proven.
    pub(crate) fn verdict(
        self,
        shown: Option<&CertificateDer<'_>>,
    ) -> Result<Option<Verdict>, Refusal> {
        let Self { mut octets, leaf, device } = self;
        match (shown, device) {
            (None, None) => Ok(None),
            (Some(shown), Some(CandidateDevice { path, not_after })) => {
                let Some(PathCa::Registered { record, .. }) = path.last() else {
                    return Err(Refusal::NotProven);
                };
                octets.truncate(leaf.len());
                if **shown != *octets {
                    return Err(Refusal::NotProven);
                }
                let device = Device::remembered(octets.into(), &record.authority);
                Ok(Some(Verdict { device, path, not_after }))
            }
            (Some(_), None) | (None, Some(_)) => Err(Refusal::NotProven),
        }
    }
}

impl CandidateDevice {
    /// A device whose every CA is in the state in which the ticket says it was.
    fn recall(device: &BoundDevice<'_>, registry: &CaRegistry) -> Result<Self, Declined> {
        let path = device.path.iter().map(|ca| recall(ca, registry)).collect::<Result<_, _>>()?;
        let not_after = UnixTime::since_unix_epoch(Duration::from_secs(device.not_after));
        Ok(Self { path, not_after })
    }
}

impl Verdict {
    /// What a ticket says for a device that the verifier has believed in a handshake at that time.
    ///
    /// The words are those that the verifier saw: with the present ones, a CA that was deactivated
    /// and activated since would leave the ticket good.
    pub(super) fn bind(
        &self,
        plain: &[u8],
        incarnation: Incarnation,
        full_at: u64,
    ) -> Option<Binding<'_>> {
        let device = BoundDevice {
            leaf: find(plain, self.device.certificate())?,
            not_after: self.not_after.as_secs(),
            path: self.path.iter().map(PathCa::bind).collect(),
        };
        Some(Binding { incarnation, full_at, device: Some(device) })
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

/// Where a certificate stands in a plain text that is hardly longer.
fn find(plain: &[u8], certificate: &CertificateDer<'_>) -> Option<Range<usize>> {
    // Few places begin alike, and the first octets are compared as one number.
    let begin = certificate.first_chunk::<8>()?;
    let is_there = |there: &[u8]| there.first_chunk() == Some(begin) && there == &**certificate;
    let start = plain.windows(certificate.len()).position(is_there)?;
    Some(start..start + certificate.len())
}

/// The word of what has no record, and has had none of late.
const NO_RECORD: u64 = 0;
