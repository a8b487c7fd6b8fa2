//! The devices that an instance knows one by one, so that one can be switched off.
//!
//! A [`RecordedDevice`] is made at the gate of the first handshake that a device completes, or by an
//! operator beforehand. Its word is to the device what a CA's is to all that it issued: captured by
//! the verifier, sealed in tickets, asked again at the gate.

mod change;
mod of_registry;
mod operations;
mod page;
mod provisioning;
mod recorded;
mod register_error;
mod registry;
mod standing;

pub use page::{DeviceCursor, DevicePage};
pub use provisioning::Provisioning;
pub use recorded::{DeviceStatus, RecordedDevice};
pub use register_error::RegisterDeviceError;

pub(crate) use change::{DeviceChange, DeviceDeletion, Forgotten};
pub(crate) use provisioning::DeviceLimits;

pub(super) use registry::DeviceRegistry;
pub(super) use standing::{DeviceStanding, SeenDevice};
