//! The TLS front door of an MQTT broker.
//!
//! `mqtls` answers two questions in every handshake: *which certificate do we show?* (by server
//! name) and *do we believe this device?* (by the status of the CA that issued its certificate).
//! An operator changes both answers while the listener runs.
//!
//! ```text
//!               operator                                      device
//!                  │                                             │
//!         control  │ SetSniConfig · ActiveCaCertificate · …      │ TCP, ClientHello
//!                  ▼                                    listener ▼
//!         ┌──────────────────────── instance ────────────────────────┐
//!         │  sni: name → certificates        trust: serial → CA      │
//!         └──────┬───────────────────────────────┬───────────────────┘
//!                ▼ ResolvesServerCert            ▼ ClientCertVerifier
//!                              rustls handshake
//!                                     │
//!                                     ▼  the gate
//!                  Connection: the stream, who is at its other end, and when it is over
//! ```
//!
//! # What always holds
//!
//! - A handshake is answered from one certificate table, the one that was in force when it got
//!   its permit, after its ClientHello. There is no way to change a published table.
//! - A device reaches the broker only if every registered CA on its path, and the device itself where
//!   it is on record, was active when its handshake began and nothing about them changed before its
//!   end. A session is resumed only where the same is true of all of them since the full handshake that
//!   it goes back to. There is no early data, by which a device could be heard before that is known.
//! - An operation does all that it says or nothing. There is no second way to change anything that an
//!   operator decides: what [`Instance`] hands out are readers. Certificates that are renewed where
//!   they come from, or expire, take effect without one, each for a whole table in one step.
//! - What an account wants is asked of an [`Authoriser`](control::Authoriser) before anything is
//!   looked up, and done only to an instance of that account in the caller's region. There is no
//!   way to call on an account's behalf without saying who decides.
//! - A table or a registry grows by what an operator does only, never by what clients send: but for
//!   the records of devices, one for each certificate that a registered CA vouches for and whose key
//!   somebody has proven to hold, up to a limit. The index of live connections holds those that are up, and
//!   nothing of them afterwards.
//! - Every chain that is not believed is refused with the same alert, `unknown_ca`, whatever the
//!   reason. No CA is named to clients.
//! - All cryptography is the caller's `CryptoProvider`, and what [`Tickets`] are sealed by. There is
//!   no global one.
//!
//! # In a broker
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use mqtls::{Acceptor, Caller, Directory, InstanceSpec, Instances, SetSniConfig, SniConfig};
//!
//! # async fn broker(tcp: tokio::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
//! let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
//! let instances = Instances::new(provider, Directory::open("certs")?);
//! let instance = instances.create(InstanceSpec::new("mqtt-cn-5yd3xxx".parse()?))?;
//! SetSniConfig {
//!     mqtt_instance_id: instance.id().clone(),
//!     default_certificate: "1533-cn-hangzhou".parse()?,
//!     sni_config: SniConfig::default(),
//! }
//! .apply(&instances, &Caller::local())?;
//!
//! let connection = Acceptor::new(&instance).accept(tcp).await?;
//! println!("{:?} is at the other end", connection.device());
//! # Ok(())
//! # }
//! ```
//!
//! The README shows a whole accept loop.

pub mod certificate;
pub mod control;
pub mod instance;
pub mod listener;
pub mod sni;
pub mod trust;

mod causes;
mod id;
mod lent;
mod name;
mod primitives;

pub use certificate::{
    CaCertificate, CertificateMaterial, CertificateSource, DeviceCertificate, Directory, Memory,
    RevocationList, SerialNumber, ServerCertificate, Sha256,
};
pub use control::{
    ActiveCaCertificate, ActiveDeviceCertificate, Caller, DeleteCaCertificate,
    DeleteDeviceCertificate, GetCaCertificate, GetDeviceCertificate, InactivateCaCertificate,
    InactivateDeviceCertificate, ListCaCertificate, ListDeviceCertificate,
    ListDeviceCertificateByCaSn, LoadRevocationList, OperationError, RegisterCa,
    RegisterDeviceCertificate, SetSniConfig, SniConfig,
};
pub use id::{AccountId, CertificateId, IdError, InstanceId, Region};
pub use instance::{
    Admission, Edition, Event, Events, Handshake, Instance, InstanceSpec, Instances, Outcome, Stats,
};
pub use listener::{Acceptor, Connection, ConnectionHandle, Drained, Refused};
pub use name::{HostName, NameError, NamePattern, PatternError};
pub use sni::{NotShown, OnExpiry, OnMiss, SniPolicy};
pub use trust::{
    CaStatus, ClientAuth, Device, DeviceStatus, Ended, LiveChange, Provisioning, Refusal,
    Resumption, Tickets,
};

/// The models of concurrency take their certificates from where the tests do.
#[cfg(mqtls_model)]
#[cfg(test)]
extern crate self as mqtls;
#[cfg(mqtls_model)]
#[cfg(test)]
#[path = "../tests/api/support.rs"]
mod support;
#[cfg(mqtls_model)]
#[cfg(test)]
#[path = "../tests/api/timeline.rs"]
mod timeline;

/// The README's example compiles, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
