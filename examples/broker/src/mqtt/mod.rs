//! The MQTT half: what `mqtt5` is given, and what it is not trusted with.
//!
//! `mqtt5` speaks the protocol and routes messages. Who a client is, which topics it may touch
//! and which client identifiers it may use is decided here, from the verified certificate alone:
//! nothing that a CONNECT packet says takes part. What it says about the protocol's version only
//! decides in which words a client is told that its connection is cut.

mod access;
mod client_ids;
mod farewell;
mod identity;
mod service;
mod services;
mod stream;
mod topics;

pub(crate) use identity::Identity;
pub(crate) use services::Services;
