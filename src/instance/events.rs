//! What happens, told to whoever watches.

use std::fmt;
use std::sync::OnceLock;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender, channel};

use super::stats::Outcome;
use crate::certificate::SerialNumber;
use crate::id::{CertificateId, InstanceId};
use crate::trust::{CaStatus, DeviceStatus, Ended, Refusal};

/// Something that happened in one of a set's instances.
///
/// Told when it is done. Of two changes that are made at the same time either may be told first: ask
/// the registry for what holds. Texts that clients chose are not in it, but for serial numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A device that was not on record completed a handshake, and now is.
    DeviceRecorded {
        /// The instance.
        instance: InstanceId,
        /// The serial number of the CA under which it is on record.
        ca_serial: SerialNumber,
        /// The serial number of its certificate.
        serial: SerialNumber,
    },
    /// An [`Acceptor`](crate::Acceptor) refused a connection.
    Refused {
        /// The instance that it came to, where that is known: not before the whole ClientHello of a
        /// client has come to a shared listener, nor where none answers for its name.
        instance: Option<InstanceId>,
        /// As what it was counted.
        outcome: Outcome,
        /// Why its device was not believed, where that is the reason. Before the gate nobody has
        /// proven to be the device of which this tells.
        refusal: Option<Refusal>,
    },
    /// A CA was registered or deleted, or its status changed.
    ///
    /// The records of devices that go with a CA are not told one by one.
    CaStatusChanged {
        /// The instance.
        instance: InstanceId,
        /// The CA's serial number.
        ca_serial: SerialNumber,
        /// Its status now; `None` where it was deleted.
        status: Option<CaStatus>,
    },
    /// An operator registered a device, changed its status, or deleted its record.
    ///
    /// Not told are records that go with their CA, and those of expired certificates that are given up
    /// where there is [little room](super::InstanceSpec::max_devices).
    DeviceStatusChanged {
        /// The instance.
        instance: InstanceId,
        /// The serial number of the CA under which it is on record.
        ca_serial: SerialNumber,
        /// The serial number of its certificate.
        serial: SerialNumber,
        /// Its status now; `None` where its record was deleted.
        status: Option<DeviceStatus>,
    },
    /// A CA's revocation list was put in force.
    RevocationListLoaded {
        /// The instance.
        instance: InstanceId,
        /// The CA's serial number.
        ca_serial: SerialNumber,
    },
    /// A change or the clock ended connections, at least one. Not told are those that client or broker
    /// closed, nor those that the instance [keeps](super::InstanceSpec::keep_connections).
    ConnectionsEnded {
        /// The instance.
        instance: InstanceId,
        /// Why.
        why: Ended,
        /// How many.
        count: usize,
    },
    /// An instance shows other certificates than before.
    CertificatesChanged {
        /// The instance.
        instance: InstanceId,
        /// Which of its certificate maps is in force now, as
        /// [`SniTable::generation`](crate::sni::SniTable::generation) counts them.
        generation: u64,
    },
    /// A certificate could not be renewed; what was served still is. Told once for each reason, not
    /// with each attempt.
    CertificateNotRenewed {
        /// The instance.
        instance: InstanceId,
        /// The certificate.
        certificate_id: CertificateId,
        /// Why.
        reason: String,
    },
    /// An instance was removed.
    InstanceRemoved {
        /// The instance.
        instance: InstanceId,
    },
    /// Here some are missing: more came than are kept until they are read.
    Missed {
        /// How many are missing.
        count: u64,
    },
}

/// The events of one set of instances, from the call of
/// [`Instances::events`](super::Instances::events) on that returned this.
///
/// Nobody waits for whoever reads this. The last 1024 events are kept, and beside them the last 1024
/// refusals, so that clients who are refused push out nothing else; where more came before they were
/// read, [`Event::Missed`] tells how many are gone. Refusals keep their order, and so does everything
/// else; one may overtake the other.
pub struct Events {
    changes: Receiver<Event>,
    refusals: Receiver<Event>,
}

impl Events {
    /// Waits for the next event. `None` once nobody holds the set, an instance of it or an acceptor any
    /// more, and nothing is left to read. Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Event> {
        let received = tokio::select! {
            biased;
            received = self.changes.recv() => received,
            received = self.refusals.recv() => received,
        };
        match received {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(count)) => Some(Event::Missed { count }),
            // Both end together: what is left of the other is still to be read.
            Err(RecvError::Closed) => self.try_next(),
        }
    }

    /// The next event, where one has come. `None` does not tell whether more can come.
    pub fn try_next(&mut self) -> Option<Event> {
        [&mut self.changes, &mut self.refusals].into_iter().find_map(|receiver| {
            match receiver.try_recv() {
                Ok(event) => Some(event),
                Err(TryRecvError::Lagged(count)) => Some(Event::Missed { count }),
                Err(TryRecvError::Empty | TryRecvError::Closed) => None,
            }
        })
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Tells what happens to whoever watches. Costs next to nothing where nobody ever has.
#[derive(Default)]
pub(crate) struct Announcer(OnceLock<Channels>);

struct Channels {
    changes: Sender<Event>,
    refusals: Sender<Event>,
}

impl Announcer {
    /// What is announced from now on.
    pub(super) fn events(&self) -> Events {
        let channels =
            self.0.get_or_init(|| Channels { changes: channel(KEPT).0, refusals: channel(KEPT).0 });
        Events { changes: channels.changes.subscribe(), refusals: channels.refusals.subscribe() }
    }

    /// Tells of anything but a refusal.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(channels) = self.0.get() {
            let _nobody_watches = channels.changes.send(event());
        }
    }

    /// Tells of a refusal.
    pub(crate) fn tell_refusal(&self, event: impl FnOnce() -> Event) {
        if let Some(channels) = self.0.get() {
            let _nobody_watches = channels.refusals.send(event());
        }
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer").finish_non_exhaustive()
    }
}

const KEPT: usize = 1024;
