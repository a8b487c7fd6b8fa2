//! The registered CAs of one instance.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};

use foldhash::fast::RandomState;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::UnixTime;

use super::authority::Authority;
use super::index::CaIndex;
use super::lint::{RegistrationWarning, lint};
use super::register_error::{MAX_TWINS, RegisterError};
use super::self_check::check_usable;
use super::state::CaStatus;
use crate::certificate::{CaCertificate, SerialNumber};
use crate::primitives::{DashMap, Mutex, MutexGuard};

/// The CAs of one instance by serial number, each active or inactive.
///
/// A reader here; what changes it are the operations of [`control`](crate::control). A lookup
/// takes the time of one hash probe at any size. Indexes by subject, by key identifier and by key
/// change under the same writer.
pub struct CaRegistry {
    by_serial: Table<SerialNumber, Arc<Authority>>,
    index: CaIndex,
    /// Held for every change and for a page of a list, never in a handshake.
    writer: Mutex<Ledger>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl CaRegistry {
    pub(crate) fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self {
            by_serial: Table::default(),
            index: CaIndex::default(),
            writer: Mutex::default(),
            algorithms,
        }
    }

    /// The record under a serial number.
    pub fn get(&self, serial: &SerialNumber) -> Option<Arc<Authority>> {
        self.by_serial.get(serial).map(|authority| Arc::clone(&authority))
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

    /// Keeps a new CA under its serial number, in the status that is asked for, and tells what to
    /// look at.
    pub(crate) fn register(
        &self,
        name: &str,
        certificate: CaCertificate,
        status: CaStatus,
        now: UnixTime,
    ) -> Result<(Arc<Authority>, Vec<RegistrationWarning>), RegisterError> {
        let serial = certificate.serial().clone();
        check_usable(&certificate, &self.algorithms, now)?;
        let mut ledger = self.writer();
        if let Some(known) = self.get(&serial) {
            return Err(match known.certificate().der() == certificate.der() {
                true => RegisterError::AlreadyRegistered { serial, status: known.status() },
                false => RegisterError::SerialInUse(serial),
            });
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
        }
        self.index.insert(&authority);
        self.by_serial.insert(serial, Arc::clone(&authority));
        ledger.by_order.insert(authority.order(), Arc::clone(&authority));
        Ok((authority, warnings))
    }

    /// Sets a status. `None` where no CA is registered under the serial number.
    pub(crate) fn set_status(
        &self,
        serial: &SerialNumber,
        status: CaStatus,
    ) -> Option<StatusChange> {
        let _ledger = self.writer();
        let authority = self.get(serial)?;
        let changed = authority.set_status(status);
        let active_twins = match status {
            CaStatus::Inactive if authority.has_had_twins() => self.active_twins(&authority),
            CaStatus::Active | CaStatus::Inactive => vec![],
        };
        Some(StatusChange { changed, active_twins })
    }

    fn active_twins(&self, authority: &Arc<Authority>) -> Vec<SerialNumber> {
        let twins = self.index.twins(authority.certificate().identity());
        let others = twins.iter().filter(|twin| !Arc::ptr_eq(twin, authority));
        let active = others.filter(|twin| twin.status() == CaStatus::Active);
        active.map(|twin| twin.certificate().serial().clone()).collect()
    }

    /// Forgets a CA. Whoever still holds its record sees it inactive.
    pub(crate) fn delete(&self, serial: &SerialNumber) -> Option<Arc<Authority>> {
        let mut ledger = self.writer();
        let authority = self.get(serial)?;
        authority.set_status(CaStatus::Inactive);
        self.by_serial.remove(serial);
        self.index.remove(&authority);
        ledger.by_order.remove(&authority.order());
        Some(authority)
    }

    /// The indexes by which a path finds records.
    pub(super) fn index(&self) -> &CaIndex {
        &self.index
    }

    fn writer(&self) -> MutexGuard<'_, Ledger> {
        // A writer that panicked left every table whole: each is changed by single calls.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaRegistry").field("authorities", &self.len()).finish_non_exhaustive()
    }
}

/// What setting a status came to.
#[derive(Debug)]
pub(crate) struct StatusChange {
    /// Whether it was another one before.
    pub(crate) changed: bool,
    /// After a deactivation, the other active records with the same subject and key.
    pub(crate) active_twins: Vec<SerialNumber>,
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
struct Ledger {
    last_order: u64,
    /// For lists: a hash table has no order, and a page of it would be a full scan.
    by_order: BTreeMap<u64, Arc<Authority>>,
}

type Table<K, V> = DashMap<K, V, RandomState>;
