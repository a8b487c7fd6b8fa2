//! How connections ended up, counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::trust::Refusal;

/// Declares [`Outcome`] and the list of all outcomes in one, so that none goes uncounted.
macro_rules! outcomes {
    ($($(#[$doc:meta])+ $outcome:ident,)+) => {
        /// How an accepted connection ended up: admitted, or refused for a reason.
        ///
        /// A fixed list: nothing that clients send can make it grow.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Outcome {
            $($(#[$doc])+ $outcome,)+
        }

        impl Outcome {
            /// All outcomes, in the order in which they are documented.
            pub const ALL: [Self; [$(stringify!($outcome)),+].len()] = [$(Self::$outcome),+];
        }
    };
}

outcomes! {
    /// The broker got the stream.
    Admitted,
    /// No whole ClientHello within its time.
    HelloTimeout,
    /// No whole ClientHello yet when as many others as may wait for theirs had come later.
    HelloCrowdedOut,
    /// No whole handshake within its time, waiting for a permit included.
    HandshakeTimeout,
    /// As many as may wait for a permit were waiting already.
    QueueFull,
    /// It had held its permit for long when somebody waited for one.
    Stalled,
    /// What came was no TLS that rustls speaks, in the ClientHello or later in the handshake.
    ProtocolError,
    /// The client went away, or its network did, perhaps before its connection was accepted.
    ClientGone,
    /// The client ended the handshake with an alert of its own.
    ClientAlert,
    /// No name, or one that leads to no instance, or to one that has no certificate map yet or was
    /// removed, or whose policy is against it.
    UnrecognizedName,
    /// No certificate that the client can use, or none for the name where the policy asks no further.
    NoUsableCertificate,
    /// What the client could use has expired, and is not shown then.
    CertificateExpired,
    /// The client showed no certificate and must.
    NoDeviceCertificate,
    /// The client's chain is over a limit in count or bytes, or takes too long to follow.
    ChainOverLimit,
    /// The client's chain cannot be read.
    ChainUnreadable,
    /// No path leads to a registered CA.
    UnknownIssuer,
    /// The path leads through an inactive CA.
    InactiveCa,
    /// The device is on record and inactive.
    InactiveDevice,
    /// The device is not on record, and must be.
    UnknownDevice,
    /// Another certificate is on record under the device's CA and serial number.
    DeviceConflict,
    /// The device is new, and as many are on record as may be.
    TooManyDevices,
    /// A certificate on the path is revoked.
    Revoked,
    /// A revocation list is missing or out of date.
    RevocationUnknown,
    /// A CA's status, or the device's record, changed during the handshake.
    ChangedMeanwhile,
    /// A registered CA's certificate is not valid at this time.
    CaNotValid,
    /// The chain is not valid: expired, for another use, against a constraint.
    ChainInvalid,
    /// The clock did not answer.
    NoTime,
    /// The client did not prove that it holds the certificate's key.
    NotProven,
    /// The instance was removed.
    InstanceRemoved,
    /// As many connections of the instance were up as may be.
    TooManyConnections,
    /// The instance had taken as many handshakes of late as it takes.
    TooManyHandshakes,
    /// It came when the acceptor was draining.
    Draining,
    /// No whole handshake before the end of a drain.
    DrainTimeout,
    /// The handshake panicked: a fault in this crate, in rustls, or in the crypto provider. Ought to
    /// stay zero.
    Panicked,
    /// No connection at all: the listener failed to accept one, most likely for want of file
    /// descriptors or memory.
    AcceptFailed,
}

impl From<&Refusal> for Outcome {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::TooManyIntermediates(_)
            | Refusal::ChainTooLarge(_)
            | Refusal::TooManyCandidates
            | Refusal::TooManySignatureChecks
            | Refusal::SearchTooLong => Self::ChainOverLimit,
            Refusal::Unreadable | Refusal::UnusualKey => Self::ChainUnreadable,
            Refusal::UnknownIssuer => Self::UnknownIssuer,
            Refusal::InactiveCa(_) => Self::InactiveCa,
            Refusal::InactiveDevice { .. } => Self::InactiveDevice,
            Refusal::UnknownDevice(_) => Self::UnknownDevice,
            Refusal::DeviceConflict(_) => Self::DeviceConflict,
            Refusal::TooManyDevices => Self::TooManyDevices,
            Refusal::Revoked { .. } => Self::Revoked,
            Refusal::StaleRevocationList(_) | Refusal::NoRevocationList(_) => {
                Self::RevocationUnknown
            }
            Refusal::ChangedMeanwhile(_) | Refusal::DeviceChangedMeanwhile(_) => {
                Self::ChangedMeanwhile
            }
            Refusal::CaNotYetValid(_) | Refusal::CaExpired(_) => Self::CaNotValid,
            Refusal::PathTooLong(_)
            | Refusal::NoKeyCertSign
            | Refusal::NotForClientAuth
            | Refusal::UnsupportedSignature
            | Refusal::Invalid(_) => Self::ChainInvalid,
            Refusal::NoTime => Self::NoTime,
            Refusal::NotProven => Self::NotProven,
            Refusal::InstanceRemoved => Self::InstanceRemoved,
            Refusal::TooManyConnections => Self::TooManyConnections,
        }
    }
}

/// The counters of one set of instances.
#[derive(Debug)]
pub(crate) struct Counters([AtomicU64; Outcome::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Outcome::ALL.len()])
    }
}

impl Counters {
    pub(crate) fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.0.get(outcome as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats(std::array::from_fn(|at| {
            self.0.get(at).map_or(0, |counter| counter.load(Ordering::Relaxed))
        }))
    }
}

/// How many connections ended up how, since the set of instances was made.
#[derive(Clone, PartialEq, Eq)]
pub struct Stats([u64; Outcome::ALL.len()]);

impl Stats {
    /// How many connections had this outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0.get(outcome as usize).copied().unwrap_or(0)
    }

    /// How many connections were refused, whatever the reason. A listener's failure to accept is
    /// none: what was not accepted has not ended yet.
    pub fn refused(&self) -> u64 {
        let no_refusal = [Outcome::Admitted, Outcome::AcceptFailed];
        self.iter()
            .filter(|(outcome, _)| !no_refusal.contains(outcome))
            .map(|(_, count)| count)
            .sum()
    }

    /// Every outcome with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.into_iter().map(|outcome| (outcome, self.of(outcome)))
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_counter_of_its_own() {
        let counters = Counters::default();
        for (times, outcome) in (1..).zip(Outcome::ALL) {
            (0..times).for_each(|_| counters.count(outcome));
        }
        let stats = counters.snapshot();
        for (times, (outcome, count)) in (1..).zip(stats.iter()) {
            assert_eq!(count, times, "{outcome:?}");
        }
        assert_eq!(stats.refused(), (2..=34).sum::<u64>(), "neither the first nor the last");
    }
}
