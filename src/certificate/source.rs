//! Where the certificates that the server shows come from.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::material::{CertificateMaterial, MaterialError};
use super::password::Password;
use crate::id::{CertificateId, InstanceId};

/// Finds the chain and key behind a certificate id, for one instance.
///
/// Asked by [`SetSniConfig`](crate::SetSniConfig), from
/// [`Instances::reload`](crate::Instances::reload) and its like, and from
/// [`Instances::watch`](crate::Instances::watch), from several threads at once; never in a handshake,
/// so it may block. It is asked with the instance so that one tenant never serves another's key.
pub trait CertificateSource: Send + Sync {
    /// The chain and key of `id`.
    ///
    /// # Errors
    ///
    /// When there is none, when it cannot be read, and when the password does not fit: one that
    /// the key needs and that is missing or wrong, and one that the key does not need.
    fn load(
        &self,
        instance: &InstanceId,
        id: &CertificateId,
        password: Option<&Password>,
    ) -> Result<CertificateMaterial, SourceError>;

    /// The folder in which a change may mean that a certificate was renewed, where there is one: what
    /// lies in `<folder>/<instance>` concerns that instance. None unless a source says otherwise.
    fn folder(&self) -> Option<&Path> {
        None
    }
}

impl<T: CertificateSource + ?Sized> CertificateSource for Arc<T> {
    fn load(
        &self,
        instance: &InstanceId,
        id: &CertificateId,
        password: Option<&Password>,
    ) -> Result<CertificateMaterial, SourceError> {
        self.as_ref().load(instance, id, password)
    }

    fn folder(&self) -> Option<&Path> {
        self.as_ref().folder()
    }
}

/// Why a source has no material to give.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing is kept under this id for this instance.
    #[error("there is no certificate {0} for this instance")]
    NotFound(CertificateId),
    /// A link leads out of the instance's own folder, or is absolute.
    #[error("a link to certificate {0} leads out of the folder of its instance, or is absolute")]
    Outside(CertificateId),
    /// What is there is no regular file.
    #[error("certificate {0} is not a regular file")]
    NotAFile(CertificateId),
    /// The file is larger than it may be.
    #[error("the file of certificate {id} is larger than {limit} bytes")]
    TooLarge {
        /// Which certificate.
        id: CertificateId,
        /// The most bytes that a file may have.
        limit: u64,
    },
    /// Reading failed.
    #[error("certificate {id} could not be read")]
    Io {
        /// Which certificate.
        id: CertificateId,
        /// What the system said.
        source: io::Error,
    },
    /// It was read, and it is not a chain with its key.
    #[error("certificate {id} is not a chain with its private key")]
    Material {
        /// Which certificate.
        id: CertificateId,
        /// What is wrong with it.
        source: MaterialError,
    },
}
