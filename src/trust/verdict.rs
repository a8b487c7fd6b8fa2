//! What a verified path rests on.

use rustls_pki_types::UnixTime;

use super::authority::SeenRecord;
use super::device::Device;
use super::index::Standing;
use super::live::Membership;
use super::refusal::Refusal;
use super::registry::CaRegistry;
use crate::certificate::{CaIdentity, SerialNumber};

/// A device whose chain is good, and every CA on its path with the state in which it was seen.
///
/// A claim only: the device has not proven that it holds the key, and a state may have changed
/// since. It becomes an answer at the gate.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(super) device: Device,
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
        let membership = registry.live().enter(&self.path, Some(self.not_after), now);
        registry.check_open()?;
        for ca in &self.path {
            ca.check_unchanged(registry)?;
        }
        if let Some(Seen::Registered(anchor)) = self.path.last().map(|ca| &ca.seen) {
            anchor.authority.note_success();
        }
        Ok(Admitted { device: Some(self.device), membership })
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
    pub(crate) device: Option<Device>,
    pub(crate) membership: Membership,
}

/// One CA on a path.
#[derive(Clone, Debug)]
pub(super) struct PathCa {
    /// Of the certificate on the path, which need not be the registered one.
    pub(super) serial: SerialNumber,
    pub(super) seen: Seen,
}

/// What was registered about a CA when a path was found through it.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// A record with its subject and key.
    Registered(SeenRecord),
    /// Nothing about this subject and key.
    Unregistered(CaIdentity),
}

impl PathCa {
    fn check_unchanged(&self, registry: &CaRegistry) -> Result<(), Refusal> {
        let changed = || Refusal::ChangedMeanwhile(self.serial.clone());
        match &self.seen {
            Seen::Registered(record) if record.authority.word() == record.word => Ok(()),
            Seen::Registered(_) => Err(changed()),
            Seen::Unregistered(identity) => match registry.index().standing(identity) {
                Standing::Unregistered => Ok(()),
                Standing::Active(_) | Standing::Inactive(_) => Err(changed()),
            },
        }
    }
}
