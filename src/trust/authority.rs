//! One registered CA.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use super::members::Members;
use super::state::{CaStatus, State, Word};
use crate::certificate::{CaCertificate, RevocationList};
use crate::primitives::{ArcSwapOption, Mutex, MutexGuard};

/// A CA as it is registered: its certificate, the operator's name for it, and its state.
#[repr(C)]
pub struct Authority {
    // What handshakes and changes of status read and write comes first, in one or two lines of the cache:
    // of a hundred thousand records none is in it.
    state: State,
    /// Whether another record has had its subject and key. Spares the others a search.
    has_had_twins: AtomicBool,
    /// The live connections that came in through it. Locked for a moment when one begins or ends.
    live: Mutex<Members>,
    /// When it was registered, counted per registry from 1.
    order: u64,
    /// When it last admitted a device, counted per process; 0 for never. A hint for ordering.
    last_success: AtomicU64,
    /// What it revoked, as far as an operator has said so.
    revocations: ArcSwapOption<RevocationList>,
    /// How many devices are on record under it.
    devices: AtomicUsize,
    certificate: CaCertificate,
    name: Box<str>,
}

impl Authority {
    pub(super) fn new(
        name: &str,
        certificate: CaCertificate,
        status: CaStatus,
        order: u64,
    ) -> Self {
        Self {
            name: name.into(),
            certificate,
            state: State::new(status),
            order,
            last_success: AtomicU64::new(0),
            has_had_twins: AtomicBool::new(false),
            live: Mutex::default(),
            devices: AtomicUsize::new(0),
            revocations: ArcSwapOption::empty(),
        }
    }

    /// The name that the operator gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// Its status at this moment. A record that was deleted stays inactive for whoever still
    /// holds it.
    pub fn status(&self) -> CaStatus {
        self.state.word().status()
    }

    /// How many devices are on record under it.
    pub fn devices(&self) -> usize {
        self.devices.load(Ordering::SeqCst)
    }

    /// The revocation list that is in force for it, without what its signature was checked by: it
    /// cannot be loaded anywhere else.
    pub fn revocation_list(&self) -> Option<Arc<RevocationList>> {
        self.revocations.load_full()
    }

    /// Looks at that list without counting on it.
    pub(super) fn with_revocations<R>(&self, look: impl FnOnce(Option<&RevocationList>) -> R) -> R {
        look(self.revocations.load().as_deref())
    }

    /// Called under the registry's writer.
    pub(super) fn put_in_force(&self, list: Option<Arc<RevocationList>>) {
        drop(self.revocations.swap(list));
    }

    /// Called under the writer of these records, as the next is.
    pub(super) fn device_comes(&self) {
        self.devices.fetch_add(1, Ordering::SeqCst);
    }

    /// Called for each that has come, once.
    pub(super) fn device_goes(&self) {
        self.devices.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn word(&self) -> Word {
        self.state.word()
    }

    pub(super) fn set_status(&self, status: CaStatus) -> bool {
        self.state.set(status)
    }

    pub(super) fn order(&self) -> u64 {
        self.order
    }

    /// The live connections that came in through it.
    pub(super) fn live(&self) -> MutexGuard<'_, Members> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called under the registry's writer, as the next is.
    pub(super) fn note_twin(&self) {
        self.has_had_twins.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_had_twins(&self) -> bool {
        self.has_had_twins.load(Ordering::Relaxed)
    }

    pub(super) fn last_success(&self) -> u64 {
        self.last_success.load(Ordering::Relaxed)
    }

    /// Called where a device was admitted, so that its siblings under the same name try this CA
    /// early. Written only when another CA has admitted one since.
    pub(super) fn note_success(&self) {
        let last = LAST_SUCCESS.load(Ordering::Relaxed);
        if last == 0 || self.last_success() != last {
            let next = LAST_SUCCESS.fetch_add(1, Ordering::Relaxed) + 1;
            self.last_success.store(next, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("name", &self.name)
            .field("certificate", &self.certificate)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// A record in the state in which a handshake saw it.
#[derive(Clone, Debug)]
pub(super) struct SeenRecord {
    pub(super) authority: Arc<Authority>,
    pub(super) word: Word,
}

static LAST_SUCCESS: AtomicU64 = AtomicU64::new(0);
