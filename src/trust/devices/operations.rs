//! What operators change about the devices on record.

use std::ops::Bound;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::change::{DeviceChange, DeviceDeletion, Forgotten};
use super::page::Place;
use super::recorded::{DeviceStatus, RecordedDevice};
use super::register_error::RegisterDeviceError;
use super::registry::{DeviceRegistry, Ledger, is_active, place};
use crate::certificate::SerialNumber;
use crate::trust::authority::Authority;
use crate::trust::cut::{Cut, LiveChange};
use crate::trust::device::Device;
use crate::trust::ended::Ended;
use crate::trust::lifeline::Lifeline;
use crate::trust::state::{CaStatus, Word};

impl DeviceRegistry {
    /// Records a device beforehand, and settles what that means for its other records.
    pub(in crate::trust) fn register(
        &self,
        device: &Device,
        authority: &Arc<Authority>,
        status: DeviceStatus,
        is_registered: impl FnOnce() -> bool,
    ) -> Result<(Arc<RecordedDevice>, LiveChange), RegisterDeviceError> {
        let mut ledger = self.ledger();
        if !is_registered() {
            let serial = authority.certificate().serial().clone();
            return Err(RegisterDeviceError::CaDeleted(serial));
        }
        let serial = device.serial().clone();
        if let Some(known) = self.get(authority, &serial) {
            return Err(if known.certificate() == device.certificate() {
                RegisterDeviceError::AlreadyRecorded { serial, status: known.status() }
            } else {
                RegisterDeviceError::SerialInUse(serial)
            });
        }
        // A stolen one must not come in because there is no room to say so.
        if status == DeviceStatus::Active && self.len() >= self.max_devices() {
            return Err(RegisterDeviceError::TooManyDevices(self.max_devices()));
        }
        let signed = self.hash_signed(device);
        let alike = self.alike(signed, device.certificate());
        let allowed = status == DeviceStatus::Active && alike.iter().all(|it| is_active(it));
        let word = Word::draw(if allowed { CaStatus::Active } else { CaStatus::Inactive });
        let record = RecordedDevice::new(device, authority, signed, (self.draw_order(), word));
        record.set_status(status);
        let record = Arc::new(record);
        self.insert(&mut ledger, &record);
        let cut = self.settle(&record);
        drop(ledger);
        Ok((record, LiveChange::of(cut)))
    }

    /// Sets a status. `None` where the device is not on record.
    pub(in crate::trust) fn set_status(
        &self,
        ca: &Authority,
        serial: &SerialNumber,
        status: DeviceStatus,
    ) -> Option<DeviceChange> {
        // Held to the end, so that whoever comes second and changes nothing does not return before
        // what the first one ends has ended.
        let ledger = self.ledger();
        let record = self.get(ca, serial)?;
        let changed = record.set_status(status);
        let cut = self.settle(&record);
        let (let_in, also_under) = (record.is_let_in(), self.also_under(&record));
        drop(ledger);
        Some(DeviceChange { changed, let_in, also_under, live: LiveChange::of(cut) })
    }

    /// What making a device inactive would come to now.
    pub(in crate::trust) fn foresee_inactive(
        &self,
        ca: &Authority,
        serial: &SerialNumber,
    ) -> Option<DeviceChange> {
        let _ledger = self.ledger();
        let record = self.get(ca, serial)?;
        let alike = self.alike(record.signed(), record.certificate());
        Some(DeviceChange {
            changed: is_active(&record),
            let_in: false,
            also_under: self.also_under(&record),
            live: LiveChange::of(self.live().foresee_devices(&alike)),
        })
    }

    /// Forgets a device. Whoever still holds its record sees that it lets nobody in.
    pub(in crate::trust) fn delete(
        &self,
        ca: &Authority,
        serial: &SerialNumber,
        now: Option<UnixTime>,
    ) -> Option<DeviceDeletion> {
        let mut ledger = self.ledger();
        let record = self.get(ca, serial)?;
        let also_under = self.also_under(&record);
        record.let_in(false);
        self.note_deleted(&record, now);
        let cut = self.live().cut_devices(std::slice::from_ref(&record), &deleted(&record));
        self.remove(&mut ledger, &record);
        drop(ledger);
        Some(DeviceDeletion { also_under, live: LiveChange::of(cut) })
    }

    /// What forgetting a device would come to now.
    pub(in crate::trust) fn foresee_delete(
        &self,
        ca: &Authority,
        serial: &SerialNumber,
    ) -> Option<DeviceDeletion> {
        let _ledger = self.ledger();
        let record = self.get(ca, serial)?;
        let live = LiveChange::of(self.live().foresee_devices(std::slice::from_ref(&record)));
        Some(DeviceDeletion { also_under: self.also_under(&record), live })
    }

    /// Forgets the devices of a CA, some at a time: those of others go on meanwhile. Behind a change
    /// after which none is recorded under it anymore. Tells how many connections it ended.
    pub(in crate::trust) fn forget(
        &self,
        ca: &Authority,
        now: Option<UnixTime>,
    ) -> (Forgotten, usize) {
        let (mut forgotten, mut ended) = (Forgotten::default(), 0);
        let why = Ended::CaDeleted(ca.certificate().serial().clone());
        loop {
            let mut ledger = self.ledger();
            let batch = some_of(&ledger, ca, None);
            if batch.is_empty() {
                return (forgotten, ended);
            }
            forgotten.add(&batch);
            batch.iter().for_each(|record| record.let_in(false));
            let cut = self.live().cut_devices(&batch, &why);
            let inactive = batch.iter().filter(|record| !is_active(record));
            inactive.for_each(|record| self.note_deleted(record, now));
            batch.iter().for_each(|record| self.remove(&mut ledger, record));
            drop(ledger);
            ended += LiveChange::of(cut).ended;
        }
    }

    /// Forgets devices whose certificates have expired, where there is little room left, and tells how
    /// many. Not the inactive ones: they are there to keep somebody out. Looks at a thousand records,
    /// from where it looked last.
    pub(in crate::trust) fn forget_expired(&self, now: UnixTime) -> usize {
        if self.len() < self.max_devices() - self.max_devices() / FULL_PARTS {
            return 0;
        }
        let mut ledger = self.ledger();
        let from = self.next_look();
        let behind = ledger.range((Bound::Excluded(from), Bound::Unbounded)).take(AT_A_TIME);
        let looked_at: Vec<_> = behind.map(|(_, record)| Arc::clone(record)).collect();
        let next = looked_at.last().filter(|_| looked_at.len() == AT_A_TIME);
        self.look_next_at(next.map_or(FIRST, |record| place(record)));
        let mut forgotten = 0;
        for record in looked_at {
            if is_active(&record) && record.is_expired(now) && record.live().is_empty() {
                record.let_in(false);
                self.remove(&mut ledger, &record);
                forgotten += 1;
            }
        }
        forgotten
    }

    /// Forgets all: the instance is removed.
    pub(in crate::trust) fn clear(&self) {
        loop {
            let mut ledger = self.ledger();
            let batch: Vec<_> = ledger.values().take(AT_A_TIME).cloned().collect();
            if batch.is_empty() {
                return;
            }
            for record in &batch {
                record.let_in(false);
                self.remove(&mut ledger, record);
            }
        }
    }

    /// What forgetting them would come to now, and the connections that it would end.
    pub(in crate::trust) fn foresee_forget(
        &self,
        ca: &Authority,
    ) -> (Forgotten, Vec<Arc<Lifeline>>) {
        let (mut forgotten, mut live, mut after) = (Forgotten::default(), vec![], None);
        loop {
            let ledger = self.ledger();
            let batch = some_of(&ledger, ca, after);
            drop(ledger);
            let Some(last) = batch.last() else { return (forgotten, live) };
            after = Some(place(last));
            forgotten.add(&batch);
            live.extend(batch.iter().flat_map(|record| record.live().live()));
        }
    }

    /// Holds the records of one certificate against each other: where one is inactive none lets the
    /// device in, and what came in on any of them ends.
    fn settle(&self, record: &RecordedDevice) -> Cut {
        let alike = self.alike(record.signed(), record.certificate());
        let allowed = alike.iter().all(|it| is_active(it));
        alike.iter().for_each(|it| it.let_in(allowed));
        if allowed {
            return Cut::default();
        }
        let (ca_serial, serial) = (record.ca_serial().clone(), record.serial().clone());
        self.live().cut_devices(&alike, &Ended::DeviceInactive { ca_serial, serial })
    }

    fn also_under(&self, record: &Arc<RecordedDevice>) -> Vec<SerialNumber> {
        let alike = self.alike(record.signed(), record.certificate());
        let others = alike.iter().filter(|it| !Arc::ptr_eq(it, record));
        others.map(|it| it.ca_serial().clone()).collect()
    }
}

/// The first records of a CA behind a place.
fn some_of(ledger: &Ledger, ca: &Authority, after: Option<Place>) -> Vec<Arc<RecordedDevice>> {
    let from = after.map_or(Bound::Included((ca.order(), 0)), Bound::Excluded);
    let records = ledger.range((from, Bound::Included((ca.order(), u64::MAX))));
    records.take(AT_A_TIME).map(|(_, record)| Arc::clone(record)).collect()
}

fn deleted(record: &RecordedDevice) -> Ended {
    let (ca_serial, serial) = (record.ca_serial().clone(), record.serial().clone());
    Ended::DeviceDeleted { ca_serial, serial }
}

/// How many records are forgotten, or looked at, under one lock.
const AT_A_TIME: usize = 1000;
/// One of so many parts of the room is little.
const FULL_PARTS: usize = 10;
/// Before all records.
const FIRST: Place = (0, 0);
