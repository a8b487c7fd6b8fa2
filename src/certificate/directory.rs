//! Certificates in files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::material::{CertificateMaterial, Password};
use super::source::{CertificateSource, SourceError};
use crate::id::{CertificateId, InstanceId};

/// A [`CertificateSource`] that reads `<root>/<instance>/<certificate id>.pem`: the chain, end
/// entity first, and its private key in one PEM file.
///
/// Files are read anew at every load. Symbolic links are followed, but the file behind them must
/// be a regular one of at most 1 MiB that lies under `<root>/<instance>`: one instance's folder
/// cannot point into another's.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Opens the folder that holds one folder per instance.
    ///
    /// # Errors
    ///
    /// When it is not there, cannot be read, or is not a folder.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, DirectoryError> {
        let given = root.as_ref();
        let failed = |source| DirectoryError { root: given.to_owned(), source };
        let root = given.canonicalize().map_err(failed)?;
        if !fs::metadata(&root).map_err(failed)?.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self { root })
    }
}

impl CertificateSource for Directory {
    fn load(
        &self,
        instance: &InstanceId,
        id: &CertificateId,
        password: Option<&Password>,
    ) -> Result<CertificateMaterial, SourceError> {
        let folder = self.root.join(instance.as_str());
        let text = read(&folder, id)?;
        CertificateMaterial::from_pem(&text, password)
            .map_err(|source| SourceError::Material { id: id.clone(), source })
    }
}

/// Why a folder cannot serve as a [`Directory`].
#[derive(Debug, thiserror::Error)]
#[error("the certificate folder {root:?} cannot be opened")]
pub struct DirectoryError {
    /// The folder that was named.
    pub root: PathBuf,
    source: io::Error,
}

fn read(folder: &Path, id: &CertificateId) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => SourceError::NotFound(id.clone()),
        _ => SourceError::Io { id: id.clone(), source },
    };
    let path = folder.join(format!("{id}.pem")).canonicalize().map_err(failed)?;
    if !path.starts_with(folder) {
        return Err(SourceError::Outside(id.clone()));
    }
    // Looked at before opening, since opening a named pipe would wait for its other end, and
    // again on the open file, which can no longer be exchanged.
    if !fs::metadata(&path).map_err(failed)?.is_file() {
        return Err(SourceError::NotAFile(id.clone()));
    }
    let file = File::open(&path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(SourceError::NotAFile(id.clone()));
    }
    // Room for all of it at once, so that growing leaves no copy of a key behind.
    let room = usize::try_from(metadata.len().min(MAX_FILE)).unwrap_or(0) + 1;
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    let length = file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(failed)?;
    if length as u64 > MAX_FILE {
        return Err(SourceError::TooLarge { id: id.clone(), limit: MAX_FILE });
    }
    Ok(text)
}

const MAX_FILE: u64 = 1 << 20;
