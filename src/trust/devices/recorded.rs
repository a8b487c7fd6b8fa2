//! One device on record.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::certificate::SerialNumber;
use crate::primitives::{Mutex, MutexGuard};
use crate::trust::authority::Authority;
use crate::trust::device::Device;
use crate::trust::members::Members;
use crate::trust::state::{CaStatus, Moment, State, Word};

/// Whether a device on record may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum DeviceStatus {
    /// It comes in where its CA does not keep it out. What a device is when it is recorded, unless an
    /// operator says otherwise.
    #[default]
    Active,
    /// Its certificate is refused, whichever CA it comes through.
    Inactive,
}

impl fmt::Display for DeviceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        })
    }
}

/// One device's certificate as it is recorded under a CA: its status, and when it was seen.
///
/// What it tells goes on changing. One that was deleted stays with whoever holds it, and
/// [lets nobody in](Self::is_let_in).
#[repr(C)]
pub struct RecordedDevice {
    // What a handshake that is resumed reads and writes comes first, in one or two lines of the cache:
    // of a million records none is in it.
    /// Whether it lets the device in: it is active, and so is each other record of the certificate.
    state: State,
    certificate: Arc<[u8]>,
    /// As what the certificate stands below its issuer in the index of live connections; 0 before it
    /// first does.
    below: AtomicU64,
    /// In seconds since 1970; 0 for never, here and below.
    first_seen: AtomicU64,
    last_seen: AtomicU64,
    connections: AtomicU64,
    /// The live connections that came in on it. Locked for a moment when one begins or ends.
    live: Mutex<Members>,
    authority: Arc<Authority>,
    serial: SerialNumber,
    /// The last second in which the certificate is valid, since 1970.
    not_after: u64,
    /// The hash of what the CA signed of the certificate, by which its other records are found.
    signed: u64,
    /// When it was recorded, counted per instance from 1. Never comes back.
    order: u64,
    /// What the state was when it was recorded.
    first_word: Word,
    /// Its own status. Written under the writer of all records.
    is_inactive: AtomicBool,
}

impl RecordedDevice {
    /// A record whose word was drawn before.
    pub(super) fn new(
        device: &Device,
        authority: &Arc<Authority>,
        signed: u64,
        (order, word): (u64, Word),
    ) -> Self {
        Self {
            authority: Arc::clone(authority),
            serial: device.serial().clone(),
            certificate: Arc::clone(device.certificate()),
            not_after: device.validity().not_after.as_secs(),
            signed,
            order,
            below: AtomicU64::new(0),
            state: State::with(word),
            first_word: word,
            is_inactive: AtomicBool::new(!word.is_active()),
            first_seen: AtomicU64::new(0),
            last_seen: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            live: Mutex::default(),
        }
    }

    /// Its status at this moment.
    pub fn status(&self) -> DeviceStatus {
        if self.is_inactive.load(Ordering::SeqCst) {
            DeviceStatus::Inactive
        } else {
            DeviceStatus::Active
        }
    }

    /// Whether it lets the device in, as far as records tell. Where its status is active and this is
    /// `false`, another record of the same certificate is inactive, or this one was deleted.
    pub fn is_let_in(&self) -> bool {
        self.word().is_active()
    }

    /// The serial number of the CA under which it is recorded.
    pub fn ca_serial(&self) -> &SerialNumber {
        self.authority.certificate().serial()
    }

    /// The serial number of its certificate.
    pub fn serial(&self) -> &SerialNumber {
        &self.serial
    }

    /// What its certificate says, which is read anew.
    pub fn device(&self) -> Device {
        Device::remembered(Arc::clone(&self.certificate), &self.authority)
    }

    /// When it first came in, by the instance's clock; `None` where it has not yet.
    pub fn first_seen(&self) -> Option<UnixTime> {
        seen(&self.first_seen)
    }

    /// When it last came in, by the instance's clock; `None` where it has not yet.
    pub fn last_seen(&self) -> Option<UnixTime> {
        seen(&self.last_seen)
    }

    /// How many connections have come in on this record, with a ticket or without.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many of these are up. One that was ended does not count. Costs in proportion to them.
    pub fn live_connections(&self) -> usize {
        self.live().live().len()
    }

    pub(in crate::trust) fn certificate(&self) -> &Arc<[u8]> {
        &self.certificate
    }

    /// Whether its certificate has expired.
    pub(super) fn is_expired(&self, now: UnixTime) -> bool {
        now.as_secs() > self.not_after
    }

    pub(super) fn signed(&self) -> u64 {
        self.signed
    }

    pub(in crate::trust) fn order(&self) -> u64 {
        self.order
    }

    pub(in crate::trust) fn word(&self) -> Word {
        self.state.word()
    }

    /// Whether it lets the device in, and did not at some time since the moment and since it was made.
    pub(super) fn was_barred_since(&self, moment: Moment) -> bool {
        let word = self.word();
        word.is_active() && !word.is_older_than(moment) && word != self.first_word
    }

    pub(super) fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// Sets its own status; tells whether it was another one. The caller sees to the state.
    pub(super) fn set_status(&self, status: DeviceStatus) -> bool {
        let inactive = status == DeviceStatus::Inactive;
        self.is_inactive.swap(inactive, Ordering::SeqCst) != inactive
    }

    /// Lets the device in on this record, or not.
    pub(super) fn let_in(&self, allowed: bool) {
        self.state.set(if allowed { CaStatus::Active } else { CaStatus::Inactive });
    }

    /// As what its certificate stands below its issuer, made once: a certificate has one issuer.
    pub(in crate::trust) fn below(&self, make: impl FnOnce() -> u64) -> u64 {
        match self.below.load(Ordering::Relaxed) {
            0 => {
                let below = make();
                self.below.store(below, Ordering::Relaxed);
                below
            }
            known => known,
        }
    }

    /// Called where the device came in. No lock: one that comes in twice at a time may leave the
    /// earlier time.
    pub(in crate::trust) fn note_seen(&self, now: UnixTime) {
        let now = now.as_secs();
        if self.first_seen.load(Ordering::Relaxed) == 0 {
            let _was_first =
                self.first_seen.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.last_seen.store(now, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// The live connections that came in on it.
    pub(in crate::trust) fn live(&self) -> MutexGuard<'_, Members> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RecordedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedDevice")
            .field("ca_serial", self.ca_serial())
            .field("serial", &self.serial)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

fn seen(second: &AtomicU64) -> Option<UnixTime> {
    let second = Some(second.load(Ordering::Relaxed)).filter(|second| *second != 0)?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(second)))
}
