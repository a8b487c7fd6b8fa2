//! What a ticket claims about its bearer, held against the registry.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};

use super::authority::SeenRecord;
use super::binding::{Binding, BoundCa, BoundDevice, BoundRecord, Incarnation};
use super::declined::Declined;
use super::device::Device;
use super::index::Standing;
use super::refusal::Refusal;
use super::registry::CaRegistry;
use super::state::Word;
use super::verdict::{PathCa, Verdict};
use crate::certificate::{CaIdentity, SerialNumber, Sha256};

/// What a ticket says, after nothing was found that speaks against it.
///
/// No identity: whoever saw a ticket go by can offer it. It becomes a [`Verdict`] only where the
/// handshake was resumed, from a session that holds the same certificate.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// When the last full handshake took place, in seconds since 1970.
    full_at: u64,
    /// `None` for a client that showed no certificate.
    device: Option<CandidateDevice>,
}

#[derive(Debug)]
struct CandidateDevice {
    leaf: Sha256,
    path: Vec<PathCa>,
    not_after: UnixTime,
}

impl Candidate {
    /// Nobody, since a full handshake at that time.
    pub(super) fn anonymous(full_at: u64) -> Self {
        Self { full_at, device: None }
    }

    /// A device whose every CA is in the state in which the ticket says it was.
    pub(super) fn recall(
        full_at: u64,
        device: &BoundDevice<'_>,
        registry: &CaRegistry,
    ) -> Result<Self, Declined> {
        if device.word != NO_RECORD {
            return Err(Declined::DeviceChanged);
        }
        let path = device.path.iter().map(|ca| recall(ca, registry)).collect::<Result<_, _>>()?;
        let not_after = UnixTime::since_unix_epoch(Duration::from_secs(device.not_after));
        Ok(Self { full_at, device: Some(CandidateDevice { leaf: device.leaf, path, not_after }) })
    }

    /// What the next ticket of the same lineage says.
    pub(super) fn bind(&self, incarnation: Incarnation) -> Binding<'_> {
        let device = self.device.as_ref().map(|device| BoundDevice {
            leaf: device.leaf,
            word: NO_RECORD,
            not_after: device.not_after.as_secs(),
            path: device.path.iter().map(PathCa::bind).collect(),
        });
        Binding { incarnation, full_at: self.full_at, device }
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
            (Some(shown), Some(CandidateDevice { leaf, path, not_after })) => {
                let sha256 = Sha256::of(shown);
                let Some(PathCa::Registered { record, .. }) = path.last() else {
                    return Err(Refusal::NotProven);
                };
                if sha256 != leaf {
                    return Err(Refusal::NotProven);
                }
                let device = Device::remembered(shown, sha256, &record.authority);
                Ok(Some(Verdict { device, path, not_after }))
            }
            (Some(_), None) | (None, Some(_)) => Err(Refusal::NotProven),
        }
    }
}

impl Verdict {
    /// What a ticket says for a device that the verifier has believed in a handshake at that time.
    ///
    /// The words are those that the verifier saw: with the present ones, a CA that was deactivated
    /// and activated since would leave the ticket good.
    pub(super) fn bind(&self, incarnation: Incarnation, full_at: u64) -> Binding<'_> {
        let device = BoundDevice {
            leaf: self.device.sha256(),
            word: NO_RECORD,
            not_after: self.not_after.as_secs(),
            path: self.path.iter().map(PathCa::bind).collect(),
        };
        Binding { incarnation, full_at, device: Some(device) }
    }
}

impl PathCa {
    fn bind(&self) -> BoundCa<'_> {
        let record = match self {
            Self::Registered { record: SeenRecord { authority, word }, .. } => {
                BoundRecord::Registered {
                    serial: authority.certificate().serial().octets(),
                    word: word.bits(),
                }
            }
            Self::Unregistered { identity, lapsed, .. } => BoundRecord::Unregistered {
                subject: identity.subject(),
                key: identity.key(),
                word: lapsed.map_or(NO_RECORD, Word::bits),
            },
        };
        BoundCa { serial: self.serial().octets(), record }
    }
}

fn recall(ca: &BoundCa<'_>, registry: &CaRegistry) -> Result<PathCa, Declined> {
    let read = |octets| SerialNumber::from_octets(octets).ok_or(Declined::Unreadable);
    match ca.record {
        BoundRecord::Registered { serial: under, word: sealed } => {
            // Looked up as it stands there: one that is written in another way is nobody's.
            let Some(authority) = registry.find(under) else {
                return Err(Declined::CaChanged(read(under)?));
            };
            let word = authority.word();
            if word.bits() != sealed || !word.is_active() {
                return Err(Declined::CaChanged(read(under)?));
            }
            let record = SeenRecord { authority, word };
            let serial = if ca.serial == under { None } else { Some(read(ca.serial)?) };
            Ok(PathCa::Registered { record, serial })
        }
        BoundRecord::Unregistered { subject, key, word: sealed } => {
            let serial = read(ca.serial)?;
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
