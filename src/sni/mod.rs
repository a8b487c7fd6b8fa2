//! Which certificate do we show?
//!
//! [`SniMap`] is the immutable table, [`select`] the one function that chooses from it, and
//! [`SniResolver`] the cell in which a whole new table replaces the old one, behind rustls'
//! `ResolvesServerCert`. A handshake loads the table once; nothing that it calls here
//! waits, allocates, or frees what was replaced: [`SniPublisher::sweep`] does.

mod map;
mod offer;
mod resolver;
mod retired;
mod table;

#[cfg(mqtls_model)]
#[cfg(test)]
mod model;

pub use map::{Hit, Rule, SniMap};
pub use offer::{Offer, Suites};
pub use resolver::{Explanation, SniPublisher, SniResolver};
pub use retired::StillHeld;
pub use table::{CertificateSet, Selection, SniTable, select};

pub(crate) use resolver::{Pinned, went_unanswered};
pub(crate) use table::{Configured, Only};
