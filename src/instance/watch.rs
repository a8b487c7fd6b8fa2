//! Looking for renewed certificates in the folder from which they come.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::instances::Instances;
use super::renewal::Failing;
use crate::id::InstanceId;

/// Watches the folder of a set's certificates for as long as it lives; made by
/// [`Instances::watch`]. Dropping it waits for a renewal that is under way.
#[must_use = "the folder is watched for as long as this is held"]
pub struct Watch {
    /// Before the thread, so that nothing is told to one that is gone.
    _watcher: RecommendedWatcher,
    to_thread: Sender<Told>,
    thread: Option<JoinHandle<()>>,
}

impl Instances {
    /// Watches the folder from which certificates come, and has each instance serve what is renewed
    /// there, as [`reload`](Self::reload) does: a moment after the last of several changes. Each minute
    /// it looks by itself, for file systems that do not tell.
    ///
    /// A file that is half written, or one of a pair without the other, is not a failure at once: it
    /// is looked at again for five seconds. What is wrong then is logged, counted
    /// ([`Instance::failed_renewals`](super::Instance::failed_renewals)) and told
    /// ([`Event::CertificateNotRenewed`](super::Event::CertificateNotRenewed)), and what was served
    /// still is.
    ///
    /// Runs on a thread of its own. It holds the set: drop the [`Watch`] to end it.
    ///
    /// # Errors
    ///
    /// When the source has no folder ([`CertificateSource::folder`]), and when the system does not
    /// let it be watched.
    ///
    /// [`CertificateSource::folder`]: crate::CertificateSource::folder
    pub fn watch(&self) -> Result<Watch, WatchError> {
        let root = self.source().folder().ok_or(WatchError::NoFolder)?.to_owned();
        let (to_thread, told) = channel();
        let watcher = watch(&root, to_thread.clone())?;
        let house = House { instances: self.clone(), root, due: BTreeMap::new() };
        let thread = Builder::new().name("mqtls-watch".to_owned());
        let thread = thread.spawn(move || house.keep(&told)).map_err(WatchError::Thread)?;
        Ok(Watch { _watcher: watcher, to_thread, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _gone_already = self.to_thread.send(Told::Stop);
        if let Some(thread) = self.thread.take() {
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
    /// The system does not tell of changes there.
    #[error("the certificate folder cannot be watched")]
    Notify(#[source] notify::Error),
    /// There is no thread for it.
    #[error("there is no thread to watch the certificate folder")]
    Thread(#[source] io::Error),
}

/// What the thread is told.
enum Told {
    Changed(Vec<PathBuf>),
    /// The system has lost count.
    Anything,
    Stop,
}

fn watch(root: &Path, to_thread: Sender<Told>) -> Result<RecommendedWatcher, WatchError> {
    let tell = move |event: notify::Result<Event>| {
        let told = match event {
            // Reading is what a renewal does itself.
            Ok(event) if event.kind.is_access() => return,
            Ok(event) if !event.need_rescan() => Told::Changed(event.paths),
            Ok(_) | Err(_) => Told::Anything,
        };
        let _gone = to_thread.send(told);
    };
    let mut watcher = notify::recommended_watcher(tell).map_err(WatchError::Notify)?;
    watcher.watch(root, RecursiveMode::Recursive).map_err(WatchError::Notify)?;
    Ok(watcher)
}

/// What the thread keeps in order.
struct House {
    instances: Instances,
    root: PathBuf,
    due: BTreeMap<InstanceId, Due>,
}

/// When an instance's folder is looked at.
#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    /// When its first change was told.
    since: Instant,
}

impl House {
    fn keep(mut self, told: &Receiver<Told>) {
        let mut next_poll = Instant::now() + POLL;
        loop {
            let next = self.due.values().map(|due| due.at).chain([next_poll]).min();
            let wait = next.map_or(POLL, |next| next.saturating_duration_since(Instant::now()));
            match told.recv_timeout(wait) {
                Ok(Told::Changed(paths)) => paths.iter().for_each(|path| self.expect(path)),
                Ok(Told::Anything) => self.expect_all(),
                Ok(Told::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if now >= next_poll {
                next_poll = now + POLL;
                self.expect_all();
            }
            self.look(now);
        }
    }

    /// Looks at the folder of a path a moment after the last change in it, and not much later than
    /// after the first.
    fn expect(&mut self, path: &Path) {
        let folder = path.strip_prefix(&self.root).ok().and_then(|path| path.components().next());
        match folder.and_then(|folder| folder.as_os_str().to_str()?.parse().ok()) {
            Some(instance) => self.expect_of(instance),
            // Above or beside the folders of instances.
            None => self.expect_all(),
        }
    }

    fn expect_all(&mut self) {
        for instance in self.instances.all() {
            self.expect_of(instance.id().clone());
        }
    }

    fn expect_of(&mut self, instance: InstanceId) {
        let now = Instant::now();
        let due = self.due.entry(instance).or_insert(Due { at: now, since: now });
        due.at = (now + QUIET).min(due.since + LONGEST_WAIT).max(now);
    }

    fn look(&mut self, now: Instant) {
        let due: Vec<_> = self.due.iter().filter(|(_, due)| due.at <= now).collect();
        let due: Vec<_> = due.into_iter().map(|(id, due)| (id.clone(), *due)).collect();
        for (id, Due { since, .. }) in due {
            self.due.remove(&id);
            let Some(instance) = self.instances.get(&id) else { continue };
            let still_patient = now < since + PATIENCE;
            let failing = if still_patient { Failing::ForNow } else { Failing::ForGood };
            let renewal = self.instances.renew(&instance, failing);
            if still_patient && !renewal.failed.is_empty() {
                self.due.insert(id, Due { at: Instant::now() + AGAIN, since });
            }
        }
    }
}

/// How long nothing must have changed.
const QUIET: Duration = Duration::from_millis(200);
/// Since the first of many changes.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How long what is wrong may yet come right.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon it is looked at again.
const AGAIN: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_secs(60);
