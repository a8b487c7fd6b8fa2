//! The registered CAs of one instance.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::UnixTime;

use super::authority::Authority;
use super::change::{Deletion, Registration, StatusChange};
use super::cut::{Cut, LiveChange, Loss};
use super::devices::{DeviceLimits, DeviceRegistry, Forgotten};
use super::ended::Ended;
use super::index::CaIndex;
use super::lint::lint;
use super::live::{LiveIndex, LivePolicy};
use super::refusal::Refusal;
use super::register_error::{MAX_TWINS, RegisterError};
use super::revocation::RevocationPolicy;
use super::self_check::check_usable;
use super::state::CaStatus;
use super::verdict::Admitted;
use crate::certificate::{CaCertificate, SerialNumber};
use crate::primitives::{DashMap, Mutex, MutexGuard};

/// The CAs of one instance by serial number, each active or inactive.
///
/// A reader here; what changes it are the operations of [`control`](crate::control). A lookup
/// takes the time of one hash probe at any size. Indexes by subject, by key identifier and by key
/// change under the same writer.
pub struct CaRegistry {
    by_serial: Table<SerialNumber, Arc<Authority>>,
    /// For tickets, which name a CA by when it was registered: that is short and never comes back.
    by_order: Table<u64, Arc<Authority>>,
    index: CaIndex,
    /// Held for every change and for a page of a list, never in a handshake.
    writer: Mutex<Ledger>,
    algorithms: WebPkiSupportedAlgorithms,
    max_cas: usize,
    live: Arc<LiveIndex>,
    devices: DeviceRegistry,
    revocation: RevocationPolicy,
    /// Whether a revocation list was ever put in force.
    has_lists: AtomicBool,
}

impl CaRegistry {
    /// An empty one. Which keys were inactive is remembered for so long: for the lineage of tickets.
    pub(crate) fn new(
        algorithms: WebPkiSupportedAlgorithms,
        settings: TrustSettings,
        memory: Duration,
    ) -> Self {
        let live = Arc::new(LiveIndex::new(settings.live));
        Self {
            devices: DeviceRegistry::new(settings.devices, Arc::clone(&live)),
            live,
            revocation: settings.revocation,
            has_lists: AtomicBool::new(false),
            by_serial: Table::default(),
            by_order: Table::default(),
            index: CaIndex::new(memory),
            writer: Mutex::default(),
            algorithms,
            max_cas: settings.max_cas.unwrap_or(usize::MAX),
        }
    }

    /// The record under a serial number.
    pub fn get(&self, serial: &SerialNumber) -> Option<Arc<Authority>> {
        self.by_serial.get(serial).map(|authority| Arc::clone(&authority))
    }

    /// The record that was registered in this order.
    pub(super) fn registered(&self, order: u64) -> Option<Arc<Authority>> {
        self.by_order.get(&order).map(|authority| Arc::clone(&authority))
    }

    /// How many CAs are registered.
    pub fn len(&self) -> usize {
        self.by_serial.len()
    }

    /// Whether no CA is registered: then no device is believed.
    pub fn is_empty(&self) -> bool {
        self.by_serial.is_empty()
    }

    /// At most `limit` records in the order of their registration, from the first one behind
    /// `after`. Costs in proportion to the page.
    pub fn list(&self, after: Option<CaCursor>, limit: usize) -> Page {
        let from = after.map_or(Bound::Unbounded, |cursor| Bound::Excluded(cursor.0));
        let ledger = self.writer();
        let mut rest =
            ledger.by_order.range((from, Bound::Unbounded)).map(|(_, ca)| Arc::clone(ca));
        let authorities: Vec<_> = rest.by_ref().take(limit).collect();
        let last = authorities.last().map(|authority| CaCursor(authority.order()));
        Page { next: if rest.next().is_some() { last } else { None }, authorities }
    }

    /// How many connections are up that were admitted with this registry, anonymous ones among
    /// them. One that was ended counts until its owner drops it.
    pub fn connections(&self) -> usize {
        self.live.len()
    }

    /// Keeps a new CA under its serial number, in the status that is asked for, and tells what to
    /// look at.
    pub(crate) fn register(
        &self,
        name: &str,
        certificate: CaCertificate,
        status: CaStatus,
        now: UnixTime,
    ) -> Result<Registration, RegisterError> {
        let serial = certificate.serial().clone();
        check_usable(&certificate, &self.algorithms, now)?;
        let mut ledger = self.writer();
        if let Some(known) = self.get(&serial) {
            return Err(match known.certificate().der() == certificate.der() {
                true => RegisterError::AlreadyRegistered { serial, status: known.status() },
                false => RegisterError::SerialInUse(serial),
            });
        }
        if self.len() >= self.max_cas {
            return Err(RegisterError::TooManyCas(self.max_cas));
        }
        let twins = self.index.twins(certificate.identity());
        if twins.len() >= MAX_TWINS {
            return Err(RegisterError::TooManyTwins(serial));
        }
        let warnings = lint(&certificate, &self.index, now);
        ledger.last_order += 1;
        let authority = Arc::new(Authority::new(name, certificate, status, ledger.last_order));
        for twin in &twins {
            twin.note_twin();
            authority.note_twin();
            // What one of them revoked, all have.
            authority.put_in_force(twin.revocation_list());
        }
        self.index.insert(&authority);
        self.by_serial.insert(serial, Arc::clone(&authority));
        self.by_order.insert(authority.order(), Arc::clone(&authority));
        ledger.by_order.insert(authority.order(), Arc::clone(&authority));
        let cut = match status {
            CaStatus::Active => Cut::default(),
            CaStatus::Inactive => {
                self.index.note_lapse(&authority, Some(now));
                self.live.cut(&authority, Loss::Inactive)
            }
        };
        drop(ledger);
        let live = LiveChange::of(cut);
        Ok(Registration { authority, warnings, live })
    }

    /// Sets a status. `None` where no CA is registered under the serial number.
    pub(crate) fn set_status(
        &self,
        serial: &SerialNumber,
        status: CaStatus,
        now: Option<UnixTime>,
    ) -> Option<StatusChange> {
        let ledger = self.writer();
        let authority = self.get(serial)?;
        let changed = authority.set_status(status);
        let active_twins = self.twins_behind(&authority, status);
        // Under the lock, so that whoever comes second and changes nothing does not return before
        // what the first one ends has ended.
        let cut = match status {
            CaStatus::Active => Cut::default(),
            CaStatus::Inactive => {
                self.index.note_lapse(&authority, now);
                self.live.cut(&authority, Loss::Inactive)
            }
        };
        drop(ledger);
        Some(StatusChange { changed, active_twins, live: LiveChange::of(cut) })
    }

    /// What setting a status would come to now.
    pub(crate) fn foresee_status(
        &self,
        serial: &SerialNumber,
        status: CaStatus,
    ) -> Option<StatusChange> {
        let _ledger = self.writer();
        let authority = self.get(serial)?;
        let live = match status {
            CaStatus::Active => LiveChange::default(),
            CaStatus::Inactive => LiveChange::of(self.live.foresee(&authority, Loss::Inactive)),
        };
        let active_twins = self.twins_behind(&authority, status);
        Some(StatusChange { changed: authority.status() != status, active_twins, live })
    }

    fn twins_behind(&self, authority: &Arc<Authority>, status: CaStatus) -> Vec<SerialNumber> {
        match status {
            CaStatus::Inactive if authority.has_had_twins() => self.active_twins(authority),
            CaStatus::Active | CaStatus::Inactive => vec![],
        }
    }

    fn active_twins(&self, authority: &Arc<Authority>) -> Vec<SerialNumber> {
        let twins = self.index.twins(authority.certificate().identity());
        let others = twins.iter().filter(|twin| !Arc::ptr_eq(twin, authority));
        let active = others.filter(|twin| twin.status() == CaStatus::Active);
        active.map(|twin| twin.certificate().serial().clone()).collect()
    }

    /// Forgets a CA. Whoever still holds its record sees it inactive.
    pub(crate) fn delete(&self, serial: &SerialNumber, now: Option<UnixTime>) -> Option<Deletion> {
        let mut ledger = self.writer();
        let authority = self.get(serial)?;
        authority.set_status(CaStatus::Inactive);
        self.index.note_lapse(&authority, now);
        let active_twins = self.twins_behind(&authority, CaStatus::Inactive);
        let cut = if self.live.keeps() {
            self.foresee_loss(&authority).1
        } else {
            self.live.cut(&authority, Loss::Deleted)
        };
        self.by_serial.remove(serial);
        self.by_order.remove(&authority.order());
        self.index.remove(&authority);
        ledger.by_order.remove(&authority.order());
        drop(ledger);
        let mut live = LiveChange::of(cut);
        // None is recorded under it anymore: its word has changed, and it is not registered.
        let (devices, more) = self.devices.forget(&authority, now);
        live.ended += more;
        Some(Deletion { authority, active_twins, devices, live })
    }

    /// What forgetting a CA would come to now.
    pub(crate) fn foresee_delete(&self, serial: &SerialNumber) -> Option<Deletion> {
        let authority = self.get(serial)?;
        // They may be a million, and nobody waits for this but who asked.
        let (devices, cut) = self.foresee_loss(&authority);
        let _ledger = self.writer();
        let active_twins = self.twins_behind(&authority, CaStatus::Inactive);
        Some(Deletion { authority, active_twins, devices, live: LiveChange::of(cut) })
    }

    /// What goes with a CA: its devices, and what came in through it or on their records.
    fn foresee_loss(&self, authority: &Authority) -> (Forgotten, Cut) {
        let (devices, others) = self.devices.foresee_forget(authority);
        (devices, self.live.foresee_with(authority, Loss::Deleted, others))
    }

    /// Ends all connections and admits nobody any more: the instance is removed.
    pub(crate) fn close(&self) -> LiveChange {
        let ledger = self.writer();
        let cut = self.live.close();
        drop(ledger);
        // Not by whoever lets go of the instance last, which may be a handshake.
        self.devices.clear();
        LiveChange::of(cut)
    }

    /// Whether one more connection would be too many.
    pub(crate) fn is_full(&self) -> bool {
        self.live.is_full()
    }

    pub(crate) fn check_open(&self) -> Result<(), Refusal> {
        if self.live.is_open() { Ok(()) } else { Err(Refusal::InstanceRemoved) }
    }

    /// Forgets devices that cannot come in anymore, where there is little room for others.
    pub(crate) fn forget_expired_devices(&self, now: UnixTime) -> usize {
        self.devices.forget_expired(now)
    }

    /// Ends the connections whose time is over; tells why, and how many.
    pub(crate) fn end_due(&self, now: UnixTime) -> Vec<(Ended, usize)> {
        self.live.end_due(now)
    }

    /// Admits a client that showed no certificate, where it need not.
    pub(crate) fn admit_anonymous(&self, now: UnixTime) -> Result<Admitted, Refusal> {
        let membership = self.live.enter(0, &[], None, now)?;
        self.check_open()?;
        Ok(Admitted { device: None, membership, is_new: false })
    }

    pub(super) fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.algorithms
    }

    pub(super) fn revocation_policy(&self) -> RevocationPolicy {
        self.revocation
    }

    pub(super) fn has_lists(&self) -> bool {
        self.has_lists.load(Ordering::SeqCst)
    }

    /// Before the first list is put in force.
    pub(super) fn note_lists(&self) {
        self.has_lists.store(true, Ordering::SeqCst);
    }

    /// The devices on record.
    pub(super) fn devices(&self) -> &DeviceRegistry {
        &self.devices
    }

    /// The connections that are up.
    pub(super) fn live(&self) -> &Arc<LiveIndex> {
        &self.live
    }

    /// The indexes by which a path finds records.
    pub(super) fn index(&self) -> &CaIndex {
        &self.index
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Ledger> {
        // A writer that panicked left every table whole: each is changed by single calls.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaRegistry").field("authorities", &self.len()).finish_non_exhaustive()
    }
}

/// How an instance is set about whom it believes, and for how long.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TrustSettings {
    pub(crate) live: LivePolicy,
    /// Without one there is no limit.
    pub(crate) max_cas: Option<usize>,
    pub(crate) devices: DeviceLimits,
    pub(crate) revocation: RevocationPolicy,
}

/// Where a page of [`CaRegistry::list`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CaCursor(u64);

/// One page of registered CAs.
#[derive(Debug)]
pub struct Page {
    /// The records, in the order of their registration.
    pub authorities: Vec<Arc<Authority>>,
    /// Where to go on; `None` where nothing follows.
    pub next: Option<CaCursor>,
}

/// What only the writer needs.
#[derive(Default)]
pub(super) struct Ledger {
    last_order: u64,
    /// For lists: a hash table has no order, and a page of it would be a full scan.
    by_order: BTreeMap<u64, Arc<Authority>>,
}

type Table<K, V> = DashMap<K, V, RandomState>;
