//! Files as keys need them: for their owner from the first byte, and on the disk for good.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::{NamedTempFile, TempDir};

/// Who may read a new file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Readers {
    /// Whoever the directory and the umask allow.
    Anyone,
    /// The owner alone.
    Owner,
}

/// Creates a file with this content. An existing one is never written to: its mode would be kept.
pub(super) fn create(path: &Path, content: &str, readers: Readers) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    restrict(&mut options, readers);
    let write = || -> std::io::Result<()> {
        let mut file = options.open(path)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Puts a file that is for the owner alone in the place of another one.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().with_context(|| format!("{} is no file", path.display()))?;
    let write = || -> std::io::Result<()> {
        // A file of this kind is for the owner alone.
        let mut next = NamedTempFile::new_in(folder)?;
        next.write_all(content)?;
        next.as_file().sync_all()?;
        next.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot replace {}", path.display()))
}

/// Creates a directory, for the owner alone.
pub(super) fn create_directory(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Creates a directory of a new name, for the owner alone, that is removed when it is dropped.
pub(super) fn temporary_directory(parent: &Path) -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".mqtls-making-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir_in(parent).with_context(|| format!("cannot write to {}", parent.display()))
}

/// Puts a directory's entries on the disk, so that no power cut leaves names without content.
pub(super) fn sync_directory(path: &Path) -> Result<()> {
    // Only Unix lets a directory be opened as a file.
    if cfg!(unix) {
        File::open(path)
            .and_then(|directory| directory.sync_all())
            .with_context(|| format!("cannot sync {}", path.display()))?;
    }
    Ok(())
}

/// Whether only its owner may read a file; `true` where the platform has no such modes.
pub(super) fn is_private(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o077 == 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        true
    }
}

fn restrict(options: &mut OpenOptions, readers: Readers) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(match readers {
            Readers::Anyone => 0o644,
            Readers::Owner => 0o600,
        });
    }
    #[cfg(not(unix))]
    let _ = (options, readers);
}
