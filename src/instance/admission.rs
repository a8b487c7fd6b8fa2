//! A client that an accept loop of the embedder's own let in.

use std::future::Future;
use std::sync::Arc;

use crate::trust::{Admitted, Device, Ended, RecordedDevice};

/// A client that has passed the gate of an accept loop of the embedder's own: hold this for as long
/// as its connection is up.
///
/// The connection is live for as long as this lives: whatever would end a
/// [`Connection`](crate::Connection) ends it, and is counted in the same reports. The stream is
/// yours, though, and so is to act on it: ask [`ended`](Self::ended) before each read and write, or
/// wait for [`revoked`](Self::revoked) and close the stream.
#[derive(Debug)]
#[must_use = "the connection is live for as long as this is held"]
pub struct Admission(pub(super) Admitted);

impl Admission {
    /// The device that has proven its identity; `None` for a client that showed no certificate
    /// where it need not.
    pub fn device(&self) -> Option<&Device> {
        self.0.device.as_ref().map(|known| &known.device)
    }

    /// The record on which the device came in; `None` where there is no [`device`](Self::device). By its
    /// serial numbers the device is switched off. The CA's is that of [`Device::ca_serial`], or of
    /// another CA under which the same certificate is on record, a renewed twin say.
    pub fn record(&self) -> Option<&Arc<RecordedDevice>> {
        self.0.device.as_ref().map(|known| &known.record)
    }

    /// Why the connection is over; `None` where it is not. Costs one load.
    pub fn ended(&self) -> Option<Ended> {
        self.0.membership.lifeline().ended()
    }

    /// Waits until the connection is over and tells why; [`Ended::Dropped`] where it is this that
    /// was dropped. The future borrows nothing.
    pub fn revoked(&self) -> impl Future<Output = Ended> + Send + use<> {
        Arc::clone(self.0.membership.lifeline()).over()
    }
}
