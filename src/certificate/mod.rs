//! Certificates as checked values, and where the server's come from.
//!
//! Text and bytes become values here and nowhere else: PEM and DER in [`CaCertificate`] and
//! [`CertificateMaterial`], [`RevocationList`] likewise, serials in [`SerialNumber`]. `x509-parser` reads fields; nothing in
//! this layer decides whether a chain is good.

mod ca;
mod ca_error;
mod ca_extensions;
mod chain;
mod device;
mod directory;
mod encrypted_key;
mod fingerprint;
mod identity;
mod list_number;
mod material;
mod memory;
mod password;
mod pem;
mod revocation_list;
mod revocation_list_error;
mod revocation_list_fields;
mod serial;
mod serial_set;
mod server;
mod source;
mod validity;

pub use ca::CaCertificate;
pub use ca_error::CaCertificateError;
pub use chain::ChainFinding;
pub use device::{DeviceCertificate, DeviceCertificateError};
pub use directory::{Directory, DirectoryError};
pub use encrypted_key::EncryptedKeyError;
pub use fingerprint::Sha256;
pub use list_number::{ListNumber, ListNumberError};
pub use material::{CertificateMaterial, MaterialError};
pub use memory::Memory;
pub use password::Password;
pub use pem::PemError;
pub use revocation_list::RevocationList;
pub use revocation_list_error::RevocationListError;
pub use serial::{SerialError, SerialNumber};
pub use server::{KeyType, ServerCertificate, ServerCertificateError};
pub use source::{CertificateSource, SourceError};
pub use validity::Validity;

pub(crate) use identity::CaIdentity;
pub(crate) use server::SIGNATURE_SCHEMES;
