//! Devices on record, asked for by the serial number of their CA.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, UnixTime};

use super::change::{DeviceChange, DeviceDeletion};
use super::page::{DeviceCursor, DevicePage};
use super::recorded::{DeviceStatus, RecordedDevice};
use super::register_error::RegisterDeviceError;
use crate::certificate::SerialNumber;
use crate::trust::authority::Authority;
use crate::trust::budget::Budget;
use crate::trust::cut::LiveChange;
use crate::trust::path::PathCheck;
use crate::trust::registry::CaRegistry;
use crate::trust::state::Moment;

impl CaRegistry {
    /// The record of a device under a CA, by the serial numbers of both. `None` also where the CA is
    /// not registered.
    pub fn device(&self, ca: &SerialNumber, serial: &SerialNumber) -> Option<Arc<RecordedDevice>> {
        self.devices().get(self.get(ca)?.as_ref(), serial)
    }

    /// How many devices are on record, under all CAs.
    pub fn device_count(&self) -> usize {
        self.devices().len()
    }

    /// At most `limit` devices behind `after`; none, and no place to go on from, where `limit` is 0.
    /// Costs in proportion to the page. What is recorded meanwhile may be missed; what was there all the
    /// time is shown once.
    pub fn list_devices(&self, after: Option<DeviceCursor>, limit: usize) -> DevicePage {
        self.devices().list(None, after, limit)
    }

    /// The same of the devices of one CA. `None` where it is not registered.
    pub fn list_devices_of(
        &self,
        ca: &SerialNumber,
        after: Option<DeviceCursor>,
        limit: usize,
    ) -> Option<DevicePage> {
        Some(self.devices().list(Some(self.get(ca)?.as_ref()), after, limit))
    }

    /// Records a device beforehand: what the end entity of this chain shows, under this CA.
    pub(crate) fn register_device(
        &self,
        authority: &Arc<Authority>,
        chain: &[CertificateDer<'_>],
        status: DeviceStatus,
        now: UnixTime,
    ) -> Result<(Arc<RecordedDevice>, LiveChange), RegisterDeviceError> {
        let check =
            PathCheck { registry: self, algorithms: self.algorithms(), now, moment: Moment::now() };
        let device = check
            .verify_below(authority, chain, &Budget::default())
            .map_err(RegisterDeviceError::NotBelow)?;
        let is_registered = || self.registered(authority.order()).is_some();
        self.devices().register(&device, authority, status, is_registered)
    }

    /// Sets a device's status. `None` where it is not on record.
    pub(crate) fn set_device_status(
        &self,
        ca: &Authority,
        serial: &SerialNumber,
        status: DeviceStatus,
    ) -> Option<DeviceChange> {
        self.devices().set_status(ca, serial, status)
    }

    /// What making a device inactive would come to now.
    pub(crate) fn foresee_inactive_device(
        &self,
        ca: &Authority,
        serial: &SerialNumber,
    ) -> Option<DeviceChange> {
        self.devices().foresee_inactive(ca, serial)
    }

    /// Forgets a device. `None` where it is not on record.
    pub(crate) fn delete_device(
        &self,
        ca: &Authority,
        serial: &SerialNumber,
        now: Option<UnixTime>,
    ) -> Option<DeviceDeletion> {
        self.devices().delete(ca, serial, now)
    }

    /// What forgetting it would come to now.
    pub(crate) fn foresee_delete_device(
        &self,
        ca: &Authority,
        serial: &SerialNumber,
    ) -> Option<DeviceDeletion> {
        self.devices().foresee_delete(ca, serial)
    }
}
