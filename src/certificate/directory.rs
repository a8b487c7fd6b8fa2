//! Certificates in files.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cap_fs_ext::{DirExt, OpenOptionsSyncExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions};
use zeroize::Zeroizing;

use super::material::CertificateMaterial;
use super::password::Password;
use super::source::{CertificateSource, SourceError};
use crate::id::{CertificateId, InstanceId};

/// A [`CertificateSource`] that reads `<root>/<instance>/<certificate id>.pem`: the chain, end
/// entity first, and its private key in one PEM file.
///
/// Files are read anew at every load. Symbolic links are followed where they are relative and do not
/// leave `<root>/<instance>` on their way; the file behind them must be a regular one of at most
/// 1 MiB. Whoever writes into one instance's folder cannot point it into another's, not even by
/// exchanging what is there while it is read.
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

    fn find(&self, instance: &InstanceId, id: &CertificateId) -> io::Result<File> {
        let root = Dir::open_ambient_dir(&self.root, ambient_authority())?;
        let name = instance.as_str();
        // The folder itself is not a link: sharing one between instances is not done by accident.
        let folder = root.open_dir_nofollow(name).map_err(|error| {
            let is_link = root.symlink_metadata(name).is_ok_and(|data| data.is_symlink());
            if is_link { io::ErrorKind::PermissionDenied.into() } else { error }
        })?;
        // A named pipe would wait for its other end otherwise.
        let mut options = OpenOptions::new();
        options.read(true).nonblock(true);
        folder.open_with(format!("{id}.pem"), &options)
    }

    fn read(
        &self,
        instance: &InstanceId,
        id: &CertificateId,
    ) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => SourceError::NotFound(id.clone()),
            // Not the system's, but said of a link that leads away.
            io::ErrorKind::PermissionDenied if source.raw_os_error().is_none() => {
                SourceError::Outside(id.clone())
            }
            _ => SourceError::Io { id: id.clone(), source },
        };
        let file = self.find(instance, id).map_err(failed)?;
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
}

impl CertificateSource for Directory {
    fn load(
        &self,
        instance: &InstanceId,
        id: &CertificateId,
        password: Option<&Password>,
    ) -> Result<CertificateMaterial, SourceError> {
        let text = self.read(instance, id)?;
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

const MAX_FILE: u64 = 1 << 20;
