//! Certificates in files.

use std::fs;
use std::io::{self, Read};
use std::path::{self, Path, PathBuf};

use cap_fs_ext::{DirExt, OpenOptionsSyncExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions};
use zeroize::Zeroizing;

use super::material::CertificateMaterial;
use super::password::Password;
use super::source::{CertificateSource, SourceError};
use crate::id::{CertificateId, InstanceId};

/// A [`CertificateSource`] that reads `<root>/<instance>/<certificate id>.pem`: the chain, end
/// entity first, and its private key in one PEM file. Where there is none, a folder
/// `<root>/<instance>/<certificate id>` with the chain in `tls.crt` and the key in `tls.key`, as
/// Kubernetes mounts a secret of type `kubernetes.io/tls`.
///
/// Files are read anew at every load, and so is where `<root>` leads: it may be a link, which is
/// pointed to another folder. Such a mount exchanges both files of a pair in one step, by a
/// link `..data` to a folder that has them: they are read from one and the same folder then, whatever
/// is exchanged meanwhile. Symbolic links in an instance's folder are followed where they are relative and do not
/// leave `<root>/<instance>` on their way; the file behind them must be a regular one of at most
/// 1 MiB. Whoever writes into one instance's folder cannot point it into another's, not even by
/// exchanging what is there while it is read.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Opens the folder that holds one folder per instance. A relative path is one of the current
    /// directory at this moment.
    ///
    /// # Errors
    ///
    /// When it is not there, cannot be read, or is not a folder.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, DirectoryError> {
        let given = root.as_ref();
        let failed = |source| DirectoryError { root: given.to_owned(), source };
        // Not where it leads now: what a link such as `current` leads to is exchanged as a whole.
        let root = path::absolute(given).map_err(failed)?;
        if !fs::metadata(&root).map_err(failed)?.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self { root })
    }

    /// The folder of an instance.
    fn folder(&self, instance: &InstanceId) -> io::Result<Dir> {
        let root = Dir::open_ambient_dir(&self.root, ambient_authority())?;
        let name = instance.as_str();
        // The folder itself is not a link: sharing one between instances is not done by accident.
        root.open_dir_nofollow(name).map_err(|error| {
            let is_link = root.symlink_metadata(name).is_ok_and(|data| data.is_symlink());
            if is_link { io::ErrorKind::PermissionDenied.into() } else { error }
        })
    }

    /// The text of a certificate: of its one file, or of both files of its pair, one behind the
    /// other.
    fn read(
        &self,
        instance: &InstanceId,
        id: &CertificateId,
    ) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let folder = self.folder(instance).map_err(|error| failed(id, error))?;
        match read_file(&folder, &format!("{id}.pem"), id) {
            Err(SourceError::NotFound(_)) => {}
            read => return read,
        }
        let pair = folder.open_dir(id.as_str()).map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => SourceError::NotFound(id.clone()),
            _ => failed(id, error),
        })?;
        // The link is followed once, for both.
        let pair = match pair.open_dir(DATA) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => pair,
            Err(error) => return Err(failed(id, error)),
        };
        let (chain, key) = (read_file(&pair, CHAIN, id)?, read_file(&pair, KEY, id)?);
        // A file need not end with a line end, nor hold only what is to be read.
        let mut text = Zeroizing::new(Vec::with_capacity(chain.len() + key.len() + 1));
        text.extend_from_slice(&chain);
        text.push(b'\n');
        text.extend_from_slice(&key);
        Ok(text)
    }
}

/// What the system's refusal to open something says of a certificate.
fn failed(id: &CertificateId, source: io::Error) -> SourceError {
    match source.kind() {
        io::ErrorKind::NotFound => SourceError::NotFound(id.clone()),
        // Not the system's, but said of a link that leads away.
        io::ErrorKind::PermissionDenied if source.raw_os_error().is_none() => {
            SourceError::Outside(id.clone())
        }
        _ => SourceError::Io { id: id.clone(), source },
    }
}

fn read_file(
    folder: &Dir,
    name: &str,
    id: &CertificateId,
) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let failed = |error| failed(id, error);
    // A named pipe would wait for its other end otherwise.
    let mut options = OpenOptions::new();
    options.read(true).nonblock(true);
    let file: File = folder.open_with(name, &options).map_err(failed)?;
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

    fn folder(&self) -> Option<&Path> {
        Some(&self.root)
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
/// Of a pair.
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";
/// The link to what a mount holds now.
const DATA: &str = "..data";
