//! Which certificate do we show?
//!
//! [`SniMap`] is the immutable table, [`select`] the one function that chooses from it, and
//! [`SniResolver`] the cell in which a whole new table replaces the old one, behind rustls'
//! `ResolvesServerCert`. A handshake loads the table once; nothing here waits or allocates.

mod map;
mod offer;
mod resolver;
mod table;

pub use map::{Hit, Rule, SniMap};
pub use offer::{Offer, Suites};
pub use resolver::{Explanation, SniPublisher, SniResolver};
pub use table::{CertificateSet, Selection, SniTable, select};

pub(crate) use resolver::{pin, went_unanswered};
