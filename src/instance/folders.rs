//! The folders of which the system is asked to tell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::looks::Change;
use crate::causes::with_causes;
use crate::id::InstanceId;

/// The folder of all instances, which is watched by itself, and each instance's folder in it, which is
/// watched with all that it holds: so one that cannot be watched keeps no other from being watched.
pub(super) struct Folders {
    watcher: RecommendedWatcher,
    root: PathBuf,
    watched: BTreeMap<PathBuf, Place>,
    /// Those of which a log has said that they cannot be watched.
    refused: BTreeSet<PathBuf>,
    /// Whether the system may have stopped to tell of any of them.
    in_doubt: bool,
}

impl Folders {
    pub(super) fn new(watcher: RecommendedWatcher, root: PathBuf) -> Self {
        let (watched, refused) = (BTreeMap::new(), BTreeSet::new());
        Self { watcher, root, watched, refused, in_doubt: false }
    }

    /// Watches what is there and is not watched. What cannot be is logged once, and tried again here.
    pub(super) fn survey(&mut self) {
        if std::mem::take(&mut self.in_doubt) {
            for folder in std::mem::take(&mut self.watched).into_keys() {
                self.leave(&folder);
            }
        }
        let root = self.root.clone();
        // Before what it holds is read, so that what comes later is told.
        self.watch(&root);
        let there: BTreeSet<_> = match fs::read_dir(&root) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => return,
        };
        let is_gone = |folder: &&PathBuf| **folder != root && !there.contains(*folder);
        let gone: Vec<_> = self.watched.keys().filter(is_gone).cloned().collect();
        gone.iter().for_each(|folder| self.leave(folder));
        self.refused.retain(|folder| *folder == root || there.contains(folder));
        for path in there {
            if self.is_of_instance(&path) {
                self.watch(&path);
            }
        }
    }

    /// Takes in that one of them may have come, or gone, or be another one.
    pub(super) fn tell(&mut self, change: Change, path: &Path) {
        let is_of_instance = self.is_of_instance(path);
        if !is_of_instance && path != self.root {
            return;
        }
        match change {
            // With it the watch has ended, also of the one that has taken its place meanwhile.
            Change::Made | Change::Gone => self.leave(path),
            Change::Other => {}
        }
        if is_of_instance {
            self.watch(path);
        }
    }

    /// Takes in that anything may have come or gone.
    pub(super) fn tell_anything(&mut self) {
        self.in_doubt = true;
    }

    /// Whether a path is that of an instance's folder.
    fn is_of_instance(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        path.parent() == Some(&self.root)
            && name.is_some_and(|name| name.parse::<InstanceId>().is_ok())
    }

    fn watch(&mut self, folder: &Path) {
        let (place, mode) = if folder == self.root {
            (Place::behind(folder), RecursiveMode::NonRecursive)
        } else {
            (Place::of(folder), RecursiveMode::Recursive)
        };
        let watched = self.watched.get(folder);
        if watched.is_some() && place.as_ref().is_ok_and(|place| place.as_ref() == watched) {
            return;
        }
        // The watch of what was there before would go on under the same name.
        self.leave(folder);
        let watched = match place {
            Ok(None) => return,
            Ok(Some(place)) => self.watcher.watch(folder, mode).map(|()| place),
            Err(error) => Err(notify::Error::io(error)),
        };
        match watched {
            Ok(place) => {
                self.refused.remove(folder);
                self.watched.insert(folder.to_owned(), place);
            }
            Err(error) => {
                if self.refused.insert(folder.to_owned()) {
                    let reason = with_causes(&error);
                    tracing::warn!(folder = %folder.display(), %reason, "not watched");
                }
            }
        }
    }

    fn leave(&mut self, folder: &Path) {
        let _was_not_watched = self.watcher.unwatch(folder);
        self.watched.remove(folder);
    }
}

/// What tells a folder from another one in its place.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
    /// The number of one that is gone is given to the next.
    created: Option<SystemTime>,
}

impl Place {
    /// Of a folder; `None` where there is none, or a link to one.
    fn of(folder: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(folder) {
            Ok(metadata) => Ok(metadata.is_dir().then(|| Self::from(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Of a folder to which a link may lead.
    fn behind(path: &Path) -> io::Result<Option<Self>> {
        fs::metadata(path).map(|metadata| Some(Self::from(&metadata)))
    }
}

impl From<&fs::Metadata> for Place {
    fn from(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            #[cfg(unix)]
            device: metadata.dev(),
            #[cfg(unix)]
            inode: metadata.ino(),
            created: metadata.created().ok(),
        }
    }
}
