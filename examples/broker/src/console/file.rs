//! Files that an operator names.

use std::fs::File;
use std::io::{self, Read as _};

use mqtls::DeviceCertificate;
use mqtls::certificate::DeviceCertificateError;
use thiserror::Error;

/// Reads a device's certificate with its intermediates.
pub(super) fn device_certificate(path: &str) -> Result<DeviceCertificate, FileError> {
    let pem = read(path)?;
    DeviceCertificate::from_pem(&pem)
        .map_err(|why| FileError::NoDevice { path: path.to_owned(), why })
}

/// Reads no more than is of any use, whatever the path leads to.
fn read(path: &str) -> Result<Vec<u8>, FileError> {
    let mut content = Vec::new();
    let mut read = || File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut content);
    match read() {
        Ok(length) if u64::try_from(length).is_ok_and(|length| length <= MAX_FILE) => Ok(content),
        Ok(_) => Err(FileError::TooLarge { path: path.to_owned() }),
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
    /// It is longer than any file that an operation takes.
    #[error("{path:?} is longer than {MAX_FILE} bytes")]
    TooLarge {
        /// As typed.
        path: String,
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
}

/// More than a chain of certificates takes that a handshake would look at.
const MAX_FILE: u64 = 1024 * 1024;
