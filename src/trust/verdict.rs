//! What a verified path rests on.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::authority::SeenRecord;
use super::device::Device;
use super::devices::{DeviceStanding, RecordedDevice, SeenDevice};
use super::index::Standing;
use super::live::LiveIndex;
use super::membership::Membership;
use super::refusal::Refusal;
use super::registry::CaRegistry;
use super::state::Word;
use crate::certificate::{CaIdentity, RevocationList, SerialNumber};

/// A device whose chain is good, and every CA on its path with the state in which it was seen.
///
/// A claim only: the device has not proven that it holds the key, and a state may have changed
/// since. It becomes an answer at the gate.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(super) device: Device,
    /// What is on record about the device.
    pub(super) standing: DeviceStanding,
    /// From the device's issuer to the anchor, which is last.
    pub(super) path: Vec<PathCa>,
    /// The last second in which every certificate on the path is valid, the device's included.
    pub(super) not_after: UnixTime,
}

impl Verdict {
    /// The gate: lets the device in where every CA on its path is still what it was.
    ///
    /// The connection enters the index first. Whatever changed before that shows now, and whoever
    /// changes something later ends this connection, too.
    pub(crate) fn admit(self, registry: &CaRegistry, now: UnixTime) -> Result<Admitted, Refusal> {
        if now.as_secs() > self.not_after.as_secs() {
            // It was valid when it was verified: a handshake takes a while.
            let (time, not_after) = (now, self.not_after);
            return Err(Refusal::Invalid(webpki::Error::CertExpired { time, not_after }));
        }
        let Some(PathCa::Registered { record: anchor, .. }) = self.path.last() else {
            return Err(Refusal::NotProven);
        };
        let leaf = self.leaf_serial();
        let below = self.below(registry.live());
        let mut membership = registry.live().enter(below, &self.path, Some(self.not_after), now)?;
        registry.check_open()?;
        for ca in &self.path {
            ca.check_unchanged(registry)?;
        }
        registry.check_revocation(leaf, &self.path, now)?;
        let (SeenDevice { record, word }, is_new) = match self.standing {
            DeviceStanding::Recorded(seen) => (seen, false),
            DeviceStanding::New { order, word, moment } => {
                registry.devices().record(&self.device, anchor, (order, word, moment))?
            }
        };
        membership.enter_under_device(&record);
        if record.word() != word {
            return Err(Refusal::DeviceChangedMeanwhile(record.serial().clone()));
        }
        record.note_seen(now);
        anchor.authority.note_success();
        let device = Some(Known { device: self.device, record });
        Ok(Admitted { device, membership, is_new })
    }

    /// As what the device's certificate stands below its issuer in the index.
    fn below(&self, live: &LiveIndex) -> u64 {
        let issuer = self.path.first().map(PathCa::subject).unwrap_or_default();
        match &self.standing {
            DeviceStanding::Recorded(SeenDevice { record, .. }) => {
                record.below(|| live.hash(issuer, record.serial()))
            }
            DeviceStanding::New { .. } => live.hash(issuer, self.device.serial()),
        }
    }

    /// The serial number of the device's certificate.
    fn leaf_serial(&self) -> &SerialNumber {
        match &self.standing {
            // A device that is on record need not be read anew.
            DeviceStanding::Recorded(seen) => seen.record.serial(),
            DeviceStanding::New { .. } => self.device.serial(),
        }
    }

    /// The device, whatever is still unproven about it.
    pub(crate) fn claimed_device(&self) -> &Device {
        &self.device
    }
}

/// A client that has passed the gate.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// `None` where it showed no certificate and need not.
    pub(crate) device: Option<Known>,
    pub(crate) membership: Membership,
    /// Whether the device was recorded just now.
    pub(crate) is_new: bool,
}

/// A device that has proven its identity, and the record on which it came in.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) device: Device,
    pub(crate) record: Arc<RecordedDevice>,
}

/// One CA on a path, with what was registered about it when the path was found.
#[derive(Clone, Debug)]
pub(super) enum PathCa {
    /// A record has its subject and key. The serial number is that of the certificate on the path,
    /// where it is another one than the record's.
    Registered { record: SeenRecord, serial: Option<SerialNumber> },
    /// Nothing about its subject and key; with the word that was drawn when its key last was an
    /// inactive CA's.
    Unregistered { identity: CaIdentity, serial: SerialNumber, lapsed: Option<Word> },
}

impl PathCa {
    /// A CA whose record was seen, by a certificate of this serial number.
    pub(super) fn registered(record: SeenRecord, serial: SerialNumber) -> Self {
        let own = serial == *record.authority.certificate().serial();
        Self::Registered { record, serial: (!own).then_some(serial) }
    }

    /// Of the certificate on the path, which need not be the registered one.
    pub(super) fn serial(&self) -> &SerialNumber {
        match self {
            Self::Registered { record, serial: None } => record.authority.certificate().serial(),
            Self::Registered { serial: Some(serial), .. } | Self::Unregistered { serial, .. } => {
                serial
            }
        }
    }

    /// Its subject, as [`CaIdentity::subject`] has it.
    pub(super) fn subject(&self) -> &[u8] {
        match self {
            Self::Registered { record, .. } => record.authority.certificate().identity().subject(),
            Self::Unregistered { identity, .. } => identity.subject(),
        }
    }

    /// Shows the revocation list of the CA. One that is not registered has none.
    pub(super) fn with_revocations<R>(&self, look: impl FnOnce(Option<&RevocationList>) -> R) -> R {
        match self {
            Self::Registered { record, .. } => record.authority.with_revocations(look),
            Self::Unregistered { .. } => look(None),
        }
    }

    fn check_unchanged(&self, registry: &CaRegistry) -> Result<(), Refusal> {
        let unchanged = match self {
            Self::Registered { record, .. } => record.authority.word() == record.word,
            Self::Unregistered { identity, lapsed: seen, .. } => {
                match registry.index().standing(identity) {
                    Standing::Unregistered { lapsed } => lapsed == *seen,
                    Standing::Active(_) | Standing::Inactive(_) => false,
                }
            }
        };
        if unchanged { Ok(()) } else { Err(Refusal::ChangedMeanwhile(self.serial().clone())) }
    }
}
