//! Accepting connections.
//!
//! An [`Acceptor`] takes a stream through the whole handshake, under one deadline, to a
//! [`Connection`] that has passed the gate. The only layer that is async.

mod acceptor;
mod connection;
mod lingering;
mod refused;

pub use acceptor::Acceptor;
pub use connection::Connection;
pub use refused::Refused;
