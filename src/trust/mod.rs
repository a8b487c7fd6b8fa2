//! Do we believe this device?
//!
//! [`CaRegistry`] holds the registered CAs, each with its status and epoch in one atomic word.
//! `path` asks `rustls-webpki` whether a chain is good, one candidate anchor at a time, and refuses
//! what webpki lets pass. [`DeviceVerifier`] is the face towards rustls. What it finds stays with
//! the handshake, as a claim, until the gate has seen that nothing changed meanwhile. A ticket
//! (`ticketer`) carries all that the claim rests on, and is declined where that no longer holds. An
//! admitted connection hangs on a `lifeline`, which stands in the index of what is `live` under
//! every CA on its path: whoever changes one of these cuts it.

mod authority;
mod binding;
mod budget;
mod candidate;
mod candidates;
mod change;
mod cut;
mod declined;
mod device;
mod devices;
mod ended;
mod handshake;
mod index;
mod lapses;
mod lifeline;
mod links;
mod lint;
mod live;
mod members;
mod membership;
mod no_sessions;
mod path;
mod plain_text;
mod records;
mod refusal;
mod register_error;
mod registry;
mod resumption;
mod revocation;
mod revocation_check;
mod revocation_error;
mod roster;
mod self_check;
mod signature;
mod state;
mod ticketer;
mod verdict;
mod verifier;

#[cfg(mqtls_model)]
#[cfg(test)]
mod model;

pub use authority::Authority;
pub use cut::LiveChange;
pub use device::{Device, SubjectAltName};
pub use devices::{
    DeviceCursor, DevicePage, DeviceStatus, Provisioning, RecordedDevice, RegisterDeviceError,
};
pub use ended::Ended;
pub use lint::RegistrationWarning;
pub use refusal::Refusal;
pub use register_error::RegisterError;
pub use registry::{CaCursor, CaRegistry, Page};
pub use resumption::{Resumption, Tickets};
pub use revocation_error::RevocationError;
pub use state::CaStatus;
pub use verifier::{ClientAuth, DeviceVerifier};

pub(crate) use change::{Deletion, Registration, StatusChange};
pub(crate) use devices::{DeviceChange, DeviceDeletion};
pub(crate) use handshake::{Claims, Observed, take_claims};
pub(crate) use lifeline::Lifeline;
pub(crate) use membership::Membership;
pub(crate) use no_sessions::NoSessions;
pub(crate) use registry::TrustSettings;
pub(crate) use resumption::Sealing;
pub(crate) use revocation::Revocation;
pub(crate) use state::Moment;
pub(crate) use ticketer::BindingTicketer;
pub(crate) use verdict::{Admitted, Known, Verdict};
