//! Looking for renewed certificates in the folder from which they come.

use std::fmt;
use std::io;
use std::path::{self, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use notify::event::{ModifyKind, RenameMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, Watcher};

use super::folders::Folders;
use super::instances::Instances;
use super::lookers::Lookers;
use super::looks::{Change, Looks};
use crate::causes::with_causes;

/// Watches the folder of a set's certificates for as long as it lives; made by
/// [`Instances::watch`]. Dropping it waits for renewals that are under way.
#[must_use = "the folder is watched for as long as this is held"]
pub struct Watch {
    to_thread: SyncSender<Told>,
    threads: Vec<JoinHandle<()>>,
}

impl Instances {
    /// Watches the folder from which certificates come, and has each instance serve what is renewed
    /// there, as [`reload`](Self::reload) does: a moment after the last of several changes. It reads
    /// the certificates whose files have changed, and all of an instance where a file in its folder
    /// has to which a link may lead. Each minute it looks at all, for file systems that do not tell,
    /// and for what lies outside of an instance's folder: no link is followed to be watched.
    ///
    /// A file that is half written, or one of a pair without the other, is not a failure at once: it
    /// is looked at again for five seconds. What is wrong then is logged, counted
    /// ([`Instance::failed_renewals`](super::Instance::failed_renewals)) and told
    /// ([`Event::CertificateNotRenewed`](super::Event::CertificateNotRenewed)), and what was served
    /// still is.
    ///
    /// Each instance's folder is watched by itself. One that cannot be, or in part, is logged and keeps
    /// no other from being watched: what changes there is found each minute.
    ///
    /// A panic of the source ends that look and is logged.
    ///
    /// Looks at up to four instances at once, so that one whose certificates are slow to load holds up
    /// no other.
    ///
    /// Runs on threads of its own. It holds the set: drop the [`Watch`] to end it.
    ///
    /// # Errors
    ///
    /// When the source has no folder ([`CertificateSource::folder`]), and when the system tells
    /// nobody of changes, or has no thread. Not when the folder is not there, or cannot be read.
    ///
    /// [`CertificateSource::folder`]: crate::CertificateSource::folder
    pub fn watch(&self) -> Result<Watch, WatchError> {
        let root = self.source().folder().ok_or(WatchError::NoFolder)?;
        // As the system tells of what it holds.
        let root = path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let (to_thread, told) = sync_channel(ROOM);
        let lost = Arc::default();
        let teller = Teller { to_thread: to_thread.clone(), lost: Arc::clone(&lost) };
        let mut folders = Folders::new(watcher(teller)?, root.clone());
        folders.survey();
        let looks = Looks::new(root, Instant::now());
        let wake = to_thread.clone();
        let wake = move || {
            // Where there is no room it has something to take, and asks what is done behind that.
            let _no_room_or_gone = wake.try_send(Told::Looked);
        };
        let (lookers, mut threads) = Lookers::begin(self, wake).map_err(WatchError::Thread)?;
        let attendant = Attendant { instances: self.clone(), folders, looks, lookers, lost };
        let thread = Builder::new().name("mqtls-watch".to_owned());
        let thread = thread.spawn(move || attendant.attend(&told)).map_err(WatchError::Thread)?;
        threads.push(thread);
        Ok(Watch { to_thread, threads })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _gone_already = self.to_thread.send(Told::Stop);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// Why the folder of certificates is not watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The certificates come from no folder: call [`Instances::reload`] when they are renewed.
    #[error("the certificate source has no folder that could be watched")]
    NoFolder,
    /// The system tells nobody of changes in folders, or not one more.
    #[error("the system tells of no changes in folders")]
    Notify(#[source] notify::Error),
    /// There is no thread for it.
    #[error("there is no thread to watch the certificate folder")]
    Thread(#[source] io::Error),
}

/// What the thread is told.
enum Told {
    Changed(Change, Vec<PathBuf>),
    /// The system has lost count.
    Anything,
    /// A look is done.
    Looked,
    Stop,
}

/// Tells the thread, which may be busy: what there is no room for is one "anything".
struct Teller {
    to_thread: SyncSender<Told>,
    lost: Arc<AtomicBool>,
}

impl Teller {
    /// Never waits: the thread itself waits at times for the one that calls this.
    fn tell(&self, told: Told) {
        if self.to_thread.try_send(told).is_err() {
            self.lost.store(true, Ordering::SeqCst);
            // Where there is room now, the thread may have looked at the flag before. Where there is
            // still none it has something to take, and looks at the flag after that.
            let _no_room_or_gone = self.to_thread.try_send(Told::Anything);
        }
    }
}

fn watcher(teller: Teller) -> Result<RecommendedWatcher, WatchError> {
    let tell = move |event: notify::Result<Event>| {
        let told = match event {
            Ok(event) if event.need_rescan() => Told::Anything,
            Ok(event) => match change(event.kind) {
                Some(change) => Told::Changed(change, event.paths),
                None => return,
            },
            Err(error) => {
                tracing::warn!(reason = %with_causes(&error), "changes in folders are lost");
                Told::Anything
            }
        };
        teller.tell(told);
    };
    // A link would let whoever writes into one instance's folder have any other one watched under a
    // name in his own, or the whole file system.
    let config = Config::default().with_follow_symlinks(false);
    RecommendedWatcher::new(tell, config).map_err(WatchError::Notify)
}

/// What has become of the paths of an event; `None` where nothing has.
fn change(event: EventKind) -> Option<Change> {
    match event {
        // Reading is what a renewal does itself.
        EventKind::Access(_) => None,
        // Told once more after the two names were told by themselves.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => None,
        EventKind::Create(_) => Some(Change::Made),
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
            Some(Change::Gone)
        }
        EventKind::Modify(_) | EventKind::Any | EventKind::Other => Some(Change::Other),
    }
}

/// What the thread does.
struct Attendant {
    instances: Instances,
    folders: Folders,
    looks: Looks,
    lookers: Lookers,
    /// Whether there was no room for something that was told.
    lost: Arc<AtomicBool>,
}

impl Attendant {
    fn attend(mut self, told: &Receiver<Told>) {
        loop {
            let first = match told.recv_timeout(self.looks.rest(Instant::now())) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // What is due is looked for behind many changes, not behind each of them.
            for told in first.into_iter().chain(told.try_iter().take(AT_A_TIME)) {
                match told {
                    Told::Changed(change, paths) => self.take_in(change, &paths),
                    Told::Anything => self.take_in_anything(),
                    Told::Looked => {}
                    Told::Stop => return,
                }
            }
            while let Some((look, failed)) = self.lookers.take_looked() {
                self.looks.looked(&look, &failed, Instant::now());
            }
            if self.lost.swap(false, Ordering::SeqCst) {
                self.take_in_anything();
            }
            let all = || {
                // Before the looks, so that nothing changes unseen between the two.
                self.folders.survey();
                self.instances.all().iter().map(|it| it.id().clone()).collect()
            };
            for look in self.looks.take_due(Instant::now(), all) {
                self.lookers.put(look);
            }
            self.lookers.proceed();
        }
    }

    fn take_in(&mut self, change: Change, paths: &[PathBuf]) {
        let now = Instant::now();
        let serves = |instance: &_, id: &_| self.instances.serve(instance, id);
        for path in paths {
            self.folders.tell(change, path);
            self.looks.tell(change, path, now, serves);
        }
    }

    fn take_in_anything(&mut self) {
        self.folders.tell_anything();
        self.looks.tell_anything(Instant::now());
    }
}

/// So much is kept of what is told.
const ROOM: usize = 1024;
/// How many changes are taken in before what is due is looked at.
const AT_A_TIME: usize = 1000;

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind, DataChange, MetadataKind, RemoveKind};

    use super::*;

    #[test]
    fn a_storm_of_changes_takes_no_more_room_than_there_is_and_loses_nothing() {
        let (to_thread, told) = sync_channel(ROOM);
        let teller = Teller { to_thread, lost: Arc::default() };
        let tell = |times: usize| {
            (0..times).for_each(|_| teller.tell(Told::Changed(Change::Other, vec![])));
        };
        tell(ROOM);
        assert!(!teller.lost.load(Ordering::SeqCst));
        tell(10 * ROOM);
        assert!(teller.lost.swap(false, Ordering::SeqCst));
        assert_eq!(told.try_iter().count(), ROOM);
        tell(1);
        assert!(!teller.lost.load(Ordering::SeqCst));
    }

    #[test]
    fn an_event_says_what_has_become_of_its_paths() {
        let name = |mode| EventKind::Modify(ModifyKind::Name(mode));
        let cases = [
            (EventKind::Access(AccessKind::Read), None),
            (name(RenameMode::Both), None),
            (EventKind::Create(CreateKind::File), Some(Change::Made)),
            (EventKind::Create(CreateKind::Folder), Some(Change::Made)),
            (EventKind::Remove(RemoveKind::File), Some(Change::Gone)),
            (name(RenameMode::From), Some(Change::Gone)),
            // There may have been something under its new name.
            (name(RenameMode::To), Some(Change::Other)),
            (name(RenameMode::Any), Some(Change::Other)),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), Some(Change::Other)),
            (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), Some(Change::Other)),
            (EventKind::Any, Some(Change::Other)),
            (EventKind::Other, Some(Change::Other)),
        ];
        for (event, expected) in cases {
            assert_eq!(change(event), expected, "{event:?}");
        }
    }
}
