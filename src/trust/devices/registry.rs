//! The devices on record in one instance.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use super::page::{DeviceCursor, DevicePage, Place};
use super::provisioning::{DeviceLimits, Provisioning};
use super::recorded::{DeviceStatus, RecordedDevice};
use super::standing::{DeviceStanding, SeenDevice};
use crate::certificate::SerialNumber;
use crate::primitives::{AtomicU64, DashMap, Mutex, MutexGuard};
use crate::trust::authority::{Authority, SeenRecord};
use crate::trust::device::{Device, signed_part};
use crate::trust::lapses::Lapses;
use crate::trust::live::LiveIndex;
use crate::trust::records::Records;
use crate::trust::refusal::Refusal;
use crate::trust::state::{CaStatus, Moment, Word};

/// The devices on record, by their CA and serial number, by certificate, and in order.
///
/// A handshake of a device that is on record reads one table. Everything that changes a record, or
/// makes one, holds the ledger.
pub(in crate::trust) struct DeviceRegistry {
    limits: DeviceLimits,
    by_pair: Table<Pair, Arc<RecordedDevice>>,
    /// For tickets, on sheets by their number.
    by_order: Table<u64, Sheet>,
    /// By a hash of what the CA signed. Not of the whole certificate: whoever holds it can write an
    /// ECDSA signature in a second way, and would have another certificate of the same device.
    by_certificate: Table<u64, Records<RecordedDevice>>,
    hasher: RandomState,
    last_order: AtomicU64,
    len: AtomicUsize,
    ledger: Mutex<Ledger>,
    /// The words of deleted records: a handshake that began before saw nothing of them.
    deleted: Lapses,
    live: Arc<LiveIndex>,
    /// Behind which record those that have expired are looked for next.
    next_look: Mutex<Place>,
}

impl DeviceRegistry {
    pub(in crate::trust) fn new(limits: DeviceLimits, live: Arc<LiveIndex>) -> Self {
        Self {
            limits,
            by_pair: Table::default(),
            by_order: Table::default(),
            by_certificate: Table::default(),
            hasher: RandomState::default(),
            last_order: AtomicU64::new(0),
            len: AtomicUsize::new(0),
            ledger: Mutex::default(),
            // For as long as a handshake takes: a record that is gone is named by no ticket.
            deleted: Lapses::new(Duration::ZERO),
            live,
            next_look: Mutex::default(),
        }
    }

    /// How many devices are on record.
    pub(in crate::trust) fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    /// The record under a CA with a serial number.
    pub(in crate::trust) fn get(
        &self,
        ca: &Authority,
        serial: &SerialNumber,
    ) -> Option<Arc<RecordedDevice>> {
        self.at(&Pair { ca: ca.order(), serial: serial.clone() })
    }

    /// The record that was made in this order.
    pub(in crate::trust) fn recorded(&self, order: u64) -> Option<Arc<RecordedDevice>> {
        self.by_order.get(&Sheet::of(order)).and_then(|sheet| sheet.at(order).cloned())
    }

    /// At most `limit` records behind `after`: CA by CA, in the order in which these were registered,
    /// and of each in the order in which they were recorded.
    pub(in crate::trust) fn list(
        &self,
        of: Option<&Authority>,
        after: Option<DeviceCursor>,
        limit: usize,
    ) -> DevicePage {
        let (first, last) = of.map_or((0, u64::MAX), |ca| (ca.order(), ca.order()));
        // No record has the order 0.
        let from = after.map_or((first, 0), |DeviceCursor(after)| after.max((first, 0)));
        let ledger = self.ledger();
        let behind = ledger.range((Bound::Excluded(from), Bound::Unbounded));
        let of_ca = behind.take_while(|((ca, _), _)| *ca <= last);
        let mut records = of_ca.map(|(_, record)| Arc::clone(record));
        let devices: Vec<_> = records.by_ref().take(limit).collect();
        let last = devices.last().map(|record| DeviceCursor(place(record)));
        DevicePage { next: if records.next().is_some() { last } else { None }, devices }
    }

    /// What is on record about a device whose chain is good, for a handshake that began at `moment`.
    pub(in crate::trust) fn standing(
        &self,
        device: &Device,
        authority: &Authority,
        moment: Moment,
    ) -> Result<DeviceStanding, Refusal> {
        Ok(match self.look_up(device, authority, moment)? {
            Some(seen) => DeviceStanding::Recorded(seen),
            None => DeviceStanding::New {
                order: self.draw_order(),
                word: Word::draw(CaStatus::Active),
                moment,
            },
        })
    }

    /// At the gate: the record of a device that had none when its handshake looked. It is made now,
    /// unless another handshake has made it meanwhile; and whether it was.
    pub(in crate::trust) fn record(
        &self,
        device: &Device,
        ca: &SeenRecord,
        (order, word, moment): (u64, Word, Moment),
    ) -> Result<(SeenDevice, bool), Refusal> {
        let mut ledger = self.ledger();
        // Whoever deletes the CA has changed its word, and takes out afterwards what is here.
        if ca.authority.word() != ca.word {
            return Err(Refusal::ChangedMeanwhile(ca.authority.certificate().serial().clone()));
        }
        if let Some(seen) = self.look_up(device, &ca.authority, moment)? {
            return Ok((seen, false));
        }
        let signed = self.hash_signed(device);
        let record = RecordedDevice::new(device, &ca.authority, signed, (order, word));
        let record = Arc::new(record);
        self.insert(&mut ledger, &record);
        Ok((SeenDevice { record, word }, true))
    }

    /// The record on which a device may come in; `None` where there is none and one may be made.
    fn look_up(
        &self,
        device: &Device,
        authority: &Authority,
        moment: Moment,
    ) -> Result<Option<SeenDevice>, Refusal> {
        let pair = Pair { ca: authority.order(), serial: device.serial().clone() };
        if let Some(record) = self.at(&pair) {
            if record.certificate() != device.certificate() {
                return Err(Refusal::DeviceConflict(pair.serial));
            }
            return self.see(record, moment).map(Some);
        }
        let signed = self.hash_signed(device);
        let alike = self.alike(signed, device.certificate());
        // Behind its status comes its word, by which the gate goes. One that is active and lets nobody
        // in is being deleted.
        let is_barred = |record: &&Arc<RecordedDevice>| !is_active(record) && !record.is_let_in();
        if let Some(record) = alike.iter().find(is_barred) {
            return Err(inactive(record));
        }
        self.check_not_deleted(&pair, signed, moment)?;
        check_not_barred_since(&alike, moment)?;
        let is_full = self.len() >= self.limits.max_devices;
        // By the octets that are on record: its tickets are good for no others.
        let of_another_ca = alike.iter().find(|it| it.certificate() == device.certificate());
        match (self.limits.provisioning, of_another_ca) {
            // The renewed twin of the CA under which it is on record keeps a device in.
            (Provisioning::RegisteredOnly, Some(record)) => {
                self.see(Arc::clone(record), moment).map(Some)
            }
            (Provisioning::Automatic, Some(record)) if is_full => {
                self.see(Arc::clone(record), moment).map(Some)
            }
            (Provisioning::RegisteredOnly, None) => Err(Refusal::UnknownDevice(pair.serial)),
            (Provisioning::Automatic, None) if is_full => Err(Refusal::TooManyDevices),
            (Provisioning::Automatic, _) => Ok(None),
        }
    }

    fn see(&self, record: Arc<RecordedDevice>, moment: Moment) -> Result<SeenDevice, Refusal> {
        let word = record.word();
        if !word.is_active() {
            return Err(inactive(&record));
        }
        if !word.is_older_than(moment) {
            // Two first handshakes at a time are as good as one; a change between is none. What happened
            // to others before this one was made is not in its word.
            let alike = self.alike(record.signed(), record.certificate());
            check_not_barred_since(&alike, moment)?;
            self.check_not_deleted(&Pair::of(&record), record.signed(), moment)?;
        }
        Ok(SeenDevice { record, word })
    }

    /// Refuses where a record under this pair was deleted since the moment, or one that kept this
    /// certificate out.
    fn check_not_deleted(&self, pair: &Pair, signed: u64, moment: Moment) -> Result<(), Refusal> {
        let words = [self.deleted.of(&pair.octets()), self.deleted.of(&signed.to_be_bytes())];
        if words.iter().flatten().all(|word| word.is_older_than(moment)) {
            return Ok(());
        }
        Err(Refusal::DeviceChangedMeanwhile(pair.serial.clone()))
    }

    pub(super) fn next_look(&self) -> Place {
        *self.next_look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn look_next_at(&self, place: Place) {
        *self.next_look.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    pub(super) fn live(&self) -> &LiveIndex {
        &self.live
    }

    pub(super) fn max_devices(&self) -> usize {
        self.limits.max_devices
    }

    /// Notes that a record is gone; behind that.
    pub(super) fn note_deleted(&self, record: &RecordedDevice, now: Option<UnixTime>) {
        // A new one: that of a record which was inactive tells when it became so.
        let word = Word::draw(CaStatus::Inactive);
        self.deleted.note(&Pair::of(record).octets(), word, now);
        if !is_active(record) {
            // It kept its certificate out under every CA.
            self.deleted.note(&record.signed().to_be_bytes(), word, now);
        }
    }

    /// The records of a certificate, in the order in which they were made.
    pub(super) fn alike(&self, signed: u64, certificate: &[u8]) -> Vec<Arc<RecordedDevice>> {
        let records = self.by_certificate.get(&signed).map(|records| Records::clone(&records));
        let is_alike = |record: &&Arc<RecordedDevice>| {
            let other = record.certificate();
            **other == *certificate || signed_part(other) == signed_part(certificate)
        };
        records.unwrap_or_default().iter().filter(is_alike).cloned().collect()
    }

    /// As records keep it.
    pub(super) fn hash_signed(&self, device: &Device) -> u64 {
        self.hasher.hash_one(device.signed_part())
    }

    pub(super) fn insert(&self, ledger: &mut Ledger, record: &Arc<RecordedDevice>) {
        self.by_certificate.entry(record.signed()).or_default().value_mut().add(record);
        let mut sheet = self.by_order.entry(Sheet::of(record.order())).or_default();
        sheet.value_mut().put(record.order(), Some(Arc::clone(record)));
        drop(sheet);
        self.by_pair.insert(Pair::of(record), Arc::clone(record));
        ledger.insert(place(record), Arc::clone(record));
        self.len.fetch_add(1, Ordering::SeqCst);
        record.authority().device_comes();
    }

    /// Takes a record out that lets nobody in. Its certificate's others may do so now.
    pub(super) fn remove(&self, ledger: &mut Ledger, record: &Arc<RecordedDevice>) {
        let signed = record.signed();
        if let Some(mut records) = self.by_certificate.get_mut(&signed) {
            records.value_mut().take_out(record);
        }
        self.by_certificate.remove_if(&signed, |_, records| records.is_empty());
        let sheet = Sheet::of(record.order());
        if let Some(mut sheet) = self.by_order.get_mut(&sheet) {
            sheet.value_mut().put(record.order(), None);
        }
        self.by_order.remove_if(&sheet, |_, sheet| sheet.is_empty());
        self.by_pair.remove(&Pair::of(record));
        ledger.remove(&place(record));
        self.len.fetch_sub(1, Ordering::SeqCst);
        record.authority().device_goes();
        let others = self.alike(signed, record.certificate());
        let allowed = others.iter().all(|it| is_active(it));
        others.iter().for_each(|it| it.let_in(allowed));
    }

    fn at(&self, pair: &Pair) -> Option<Arc<RecordedDevice>> {
        self.by_pair.get(pair).map(|record| Arc::clone(&record))
    }

    pub(super) fn draw_order(&self) -> u64 {
        self.last_order.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A writer that panicked left every table whole: each is changed by single calls.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DeviceRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceRegistry").field("devices", &self.len()).finish_non_exhaustive()
    }
}

/// The records of some orders in a row.
///
/// A table with an entry for each of a million records is in no cache. With one for so many of them,
/// what finds an entry is, and the entry itself is looked at in one place.
#[derive(Default)]
struct Sheet([Option<Arc<RecordedDevice>>; LINES as usize]);

impl Sheet {
    /// The number of the sheet of an order.
    fn of(order: u64) -> u64 {
        order / LINES
    }

    fn at(&self, order: u64) -> Option<&Arc<RecordedDevice>> {
        self.0.get(Self::line(order)).and_then(Option::as_ref)
    }

    fn put(&mut self, order: u64, record: Option<Arc<RecordedDevice>>) {
        if let Some(line) = self.0.get_mut(Self::line(order)) {
            *line = record;
        }
    }

    fn line(order: u64) -> usize {
        (order % LINES) as usize
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// On a sheet: two lines of the cache.
const LINES: u64 = 16;

/// A CA by its order, and a device by its serial number.
#[derive(PartialEq, Eq, Hash)]
struct Pair {
    ca: u64,
    serial: SerialNumber,
}

impl Pair {
    fn of(record: &RecordedDevice) -> Self {
        Self { ca: record.authority().order(), serial: record.serial().clone() }
    }

    fn octets(&self) -> Vec<u8> {
        [&self.ca.to_be_bytes(), self.serial.octets()].concat()
    }
}

pub(super) fn is_active(record: &RecordedDevice) -> bool {
    record.status() == DeviceStatus::Active
}

fn inactive(record: &RecordedDevice) -> Refusal {
    let (ca_serial, serial) = (record.ca_serial().clone(), record.serial().clone());
    Refusal::InactiveDevice { ca_serial, serial }
}

/// Refuses where one of these records has come to let the device in since the moment.
fn check_not_barred_since(alike: &[Arc<RecordedDevice>], moment: Moment) -> Result<(), Refusal> {
    match alike.iter().find(|record| record.was_barred_since(moment)) {
        Some(record) => Err(Refusal::DeviceChangedMeanwhile(record.serial().clone())),
        None => Ok(()),
    }
}

pub(super) fn place(record: &RecordedDevice) -> Place {
    (record.authority().order(), record.order())
}

/// For lists, in their order.
pub(super) type Ledger = BTreeMap<Place, Arc<RecordedDevice>>;

type Table<K, V> = DashMap<K, V, RandomState>;

#[cfg(test)]
mod tests;
