//! A second thread that publishes tables, and only while it is let.

use std::array::IntoIter;
use std::collections::VecDeque;
use std::iter::Cycle;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use mqtls::sni::{CertificateSet, SniMap, SniPublisher, SniResolver, SniTable};

use crate::support::provider;

/// Who lets the thread publish. It ends with this value.
pub(crate) struct Writer {
    /// Without a buffer: what is sent has been taken.
    signals: SyncSender<()>,
    resolver: Arc<SniResolver>,
}

impl Writer {
    /// Publishes one of the maps at once, and from then on both in turn.
    pub(crate) fn of(maps: [SniMap<CertificateSet>; 2], pace: Pace) -> Self {
        let publisher = SniPublisher::new(&provider());
        let resolver = Arc::clone(publisher.resolver());
        let (signals, taken) = sync_channel(0);
        let maps = maps.into_iter().cycle();
        let (prebuilt, kept) = (VecDeque::new(), vec![]);
        let mut publications = Publications { publisher, maps, pace, prebuilt, kept };
        publications.publish();
        std::thread::spawn(move || publications.run(&taken));
        Self { signals, resolver }
    }

    /// What it publishes to.
    pub(crate) fn resolver(&self) -> &Arc<SniResolver> {
        &self.resolver
    }

    /// Lets it publish while `work` runs, after it has built what it builds before and `warm_up`
    /// has run.
    pub(crate) fn during<T, R>(
        &self,
        reader: &mut T,
        warm_up: impl FnOnce(&mut T),
        work: impl FnOnce(&mut T) -> R,
    ) -> R {
        for _begun_and_done in 0..2 {
            self.signals.send(()).unwrap();
        }
        warm_up(reader);
        self.signals.send(()).unwrap();
        let result = work(reader);
        self.signals.send(()).unwrap();
        result
    }
}

/// How often it publishes.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// From one table to the next; half of it before the first.
    pub(crate) pause: Duration,
    /// How many maps are built before it may publish, and the tables freed after. Once there are
    /// none left, and where this is 0, both happen meanwhile.
    pub(crate) prebuilt: usize,
}

struct Publications {
    publisher: SniPublisher,
    maps: Cycle<IntoIter<SniMap<CertificateSet>, 2>>,
    pace: Pace,
    prebuilt: VecDeque<SniMap<CertificateSet>>,
    kept: Vec<Arc<SniTable>>,
}

impl Publications {
    fn run(mut self, signals: &Receiver<()>) {
        while signals.recv().is_ok() {
            self.kept.clear();
            let missing = self.pace.prebuilt - self.prebuilt.len();
            self.prebuilt.extend(self.maps.by_ref().take(missing));
            let (_built, _go) = (signals.recv(), signals.recv());
            let mut pause = self.pace.pause / 2;
            while signals.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                self.publish();
                pause = self.pace.pause;
            }
        }
    }

    fn publish(&mut self) {
        let map = self.prebuilt.pop_front().or_else(|| self.maps.next()).unwrap();
        let table = self.publisher.publish(map);
        if self.pace.prebuilt > 0 {
            self.kept.push(table);
        }
    }
}
