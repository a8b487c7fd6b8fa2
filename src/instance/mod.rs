//! One tenant, and the set of them.
//!
//! An [`Instance`] puts `sni` and `trust`, which do not know each other, behind one rustls
//! configuration, and gives every handshake its context: the table that it is answered from, the
//! moment at which it began, and what is found in it. At its end stands the gate, where a claim
//! becomes an answer and the connection one that is live.

mod admission;
mod claims;
mod events;
mod failures;
mod folders;
mod handshake;
mod instances;
mod listing;
mod lookers;
mod looks;
mod own_handshake;
mod publication;
mod rate;
mod renewal;
mod route;
mod shelf;
mod shown;
mod spec;
mod stats;
mod tenant;
mod watch;

pub use admission::Admission;
pub use events::{Event, Events};
pub use failures::FailedRenewal;
pub use instances::{CreateError, Instances};
pub use listing::ServedCertificate;
pub use own_handshake::Handshake;
pub use renewal::{Renewal, RenewalError, RenewalFault};
pub use route::Route;
pub use shown::SniStats;
pub use spec::{Edition, InstanceSpec};
pub use stats::{Outcome, Stats};
pub use tenant::Instance;
pub use watch::{Watch, WatchError};

pub(crate) use claims::ClaimError;
pub(crate) use events::Announcer;
pub(crate) use handshake::HandshakeContext;
pub(crate) use route::NoRoute;
pub(crate) use shelf::Shelf;
pub(crate) use stats::Counters;
