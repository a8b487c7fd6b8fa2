//! Files that an operator names.

use std::fs::File;
use std::io::{self, Read as _};

use mqtls::certificate::{DeviceCertificateError, RevocationListError};
use mqtls::{DeviceCertificate, RevocationList};
use thiserror::Error;

/// Reads a device's certificate with its intermediates.
pub(super) fn device_certificate(path: &str) -> Result<DeviceCertificate, FileError> {
    let pem = read(path, MAX_CHAIN)?;
    DeviceCertificate::from_pem(&pem)
        .map_err(|why| FileError::NoDevice { path: path.to_owned(), why })
}

/// Reads a CA's revocation list, PEM or DER.
pub(super) fn revocation_list(path: &str) -> Result<RevocationList, FileError> {
    let content = read(path, MAX_LIST)?;
    let is_pem = content.windows(PEM.len()).any(|bytes| bytes == PEM);
    let list = if is_pem { RevocationList::from_pem } else { RevocationList::from_der };
    list(&content).map_err(|why| FileError::NoList { path: path.to_owned(), why })
}

/// Reads no more than is of any use, whatever the path leads to.
fn read(path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut content = Vec::new();
    let mut read = || File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut content);
    match read() {
        Ok(length) if u64::try_from(length).is_ok_and(|length| length <= limit) => Ok(content),
        Ok(_) => Err(FileError::TooLarge { path: path.to_owned(), limit }),
        Err(why) => Err(FileError::Unreadable { path: path.to_owned(), why }),
    }
}

/// Why a file is not what an operation needs.
#[derive(Debug, Error)]
pub(super) enum FileError {
    /// It cannot be read.
    #[error("cannot read {path:?}")]
    Unreadable {
        /// As typed.
        path: String,
        /// What the system says.
        #[source]
        why: io::Error,
    },
    /// It is longer than any file that the operation takes.
    #[error("{path:?} is longer than {limit} bytes")]
    TooLarge {
        /// As typed.
        path: String,
        /// How long it may be.
        limit: u64,
    },
    /// It holds no device's certificate that could be registered.
    #[error("{path:?} holds no device's certificate")]
    NoDevice {
        /// As typed.
        path: String,
        /// What it holds instead.
        #[source]
        why: DeviceCertificateError,
    },
    /// It holds no revocation list that could be loaded.
    #[error("{path:?} holds no revocation list")]
    NoList {
        /// As typed.
        path: String,
        /// What it holds instead.
        #[source]
        why: RevocationListError,
    },
}

/// What a PEM text has and DER has not, unless somebody put it there: then it is refused.
const PEM: &[u8] = b"-----BEGIN";

/// More than a chain of certificates takes that a handshake would look at.
const MAX_CHAIN: u64 = 1024 * 1024;

/// More than the longest list takes that the library reads, which has 64 MiB in DER.
const MAX_LIST: u64 = 96 * 1024 * 1024;
