//! Which certificate do we show?
//!
//! [`SniMap`] is the immutable table, [`SniTable::select`] the one function that chooses from it, and
//! [`SniResolver`] the cell in which a whole new table replaces the old one, behind rustls'
//! `ResolvesServerCert`. A handshake loads the table once; nothing that it calls here
//! waits, allocates, or frees what was replaced: [`SniPublisher::sweep`] does.

mod certificate_set;
mod explanation;
mod map;
mod offer;
mod parts;
mod policy;
mod renewed;
mod resolver;
mod retired;
mod select;
mod table;

#[cfg(mqtls_model)]
#[cfg(test)]
mod model;

pub use certificate_set::CertificateSet;
pub use explanation::{Answer, Candidate, Explanation, Verdict};
pub use map::{Hit, Rule, SniMap};
pub use offer::{Offer, Suites};
pub use policy::{NotShown, OnExpiry, OnMiss, SniPolicy};
pub use resolver::{SniPublisher, SniResolver};
pub use retired::StillHeld;
pub use select::Selection;
pub use table::SniTable;

pub(crate) use certificate_set::{Configured, Only};
pub(crate) use policy::Terms;
pub(crate) use renewed::Renewed;
pub(crate) use resolver::Pinned;
pub(crate) use table::Next;
