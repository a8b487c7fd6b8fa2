//! A second thread that publishes tables, and only while it is let.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use mqtls::sni::{CertificateSet, SniMap, SniPublisher, SniResolver};

use crate::support::provider;

/// Who lets the thread publish. It ends with this value.
pub(crate) struct Writer {
    /// Without a buffer: what is sent has been taken.
    signals: SyncSender<()>,
    resolver: Arc<SniResolver>,
}

impl Writer {
    /// Publishes one of the maps at once, and while it is let both in turn, with `pause` from one to
    /// the next and half of it before the first.
    pub(crate) fn of(maps: [SniMap<CertificateSet>; 2], pause: Duration) -> Self {
        let mut publisher = SniPublisher::new(&provider());
        let resolver = Arc::clone(publisher.resolver());
        let (signals, taken) = sync_channel(0);
        let mut maps = maps.into_iter().cycle();
        let mut publish = move || drop(publisher.publish(maps.next().unwrap()));
        publish();
        std::thread::spawn(move || run(&taken, pause, publish));
        Self { signals, resolver }
    }

    /// What it publishes to.
    pub(crate) fn resolver(&self) -> &Arc<SniResolver> {
        &self.resolver
    }

    /// Lets it publish while `work` runs.
    pub(crate) fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        self.signals.send(()).unwrap();
        let result = work();
        self.signals.send(()).unwrap();
        result
    }
}

fn run(signals: &Receiver<()>, pause: Duration, mut publish: impl FnMut()) {
    while signals.recv().is_ok() {
        let mut next = pause / 2;
        while signals.recv_timeout(next) == Err(RecvTimeoutError::Timeout) {
            publish();
            next = pause;
        }
    }
}
