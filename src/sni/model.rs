//! Many orders of steps of changes to the table beside handshakes and sweeps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SignatureScheme, SupportedCipherSuite};
use shuttle::thread;

use super::certificate_set::CertificateSet;
use super::map::SniMap;
use super::renewed::Renewed;
use super::resolver::{SniPublisher, SniResolver};
use super::table::SniTable;
use crate::certificate::{CertificateMaterial, ServerCertificate};
use crate::primitives::{Mutex, explore};
use crate::support::{TestCa, provider};

#[test]
fn a_reader_sees_whole_tables_in_their_order_and_frees_none_and_the_sweep_frees_all() {
    LazyLock::force(&TOWN);
    explore(200, || {
        let ([first, second], third) = ([0, 1].map(|at| TOWN.map(at)), TOWN.certificate(2));
        let mut publisher = SniPublisher::new(&provider());
        let first = Watched::of(&publisher.publish(first));
        let published = Arc::new(AtomicU64::new(1));
        let readers = [2, 1].map(|times| {
            let resolver = Arc::clone(publisher.resolver());
            let published = Arc::clone(&published);
            thread::spawn(move || (0..times).for_each(|_| read(&resolver, &published)))
        });
        let publisher = Arc::new(Mutex::new(publisher));
        let sweeper = {
            let publisher = Arc::clone(&publisher);
            // As `Instance::sweep` does: without waiting.
            thread::spawn(move || {
                for _ in 0..2 {
                    let _under_way = publisher.try_lock().map(|mut publisher| publisher.sweep());
                }
            })
        };
        let [second, third] = [Change::Map(second), Change::Renewal(third)].map(|change| {
            let table = change.publish(&mut publisher.lock().unwrap());
            published.store(table.generation(), Ordering::SeqCst);
            Watched::of(&table)
        });
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        sweeper.join().unwrap();
        assert!(publisher.lock().unwrap().sweep().is_empty());
        assert!(first.is_gone() && second.is_gone());
        assert!(third.table.upgrade().is_some() && third.key.upgrade().is_some());
    });
}

/// Both ways in which a table takes the place of another.
enum Change {
    Map(SniMap<CertificateSet>),
    /// This certificate for every id.
    Renewal(Arc<ServerCertificate>),
}

impl Change {
    fn publish(self, publisher: &mut SniPublisher) -> Arc<SniTable> {
        match self {
            Self::Map(map) => publisher.publish(map),
            Self::Renewal(certificate) => {
                let mut renewed = Renewed::default();
                for served in publisher.resolver().table().unwrap().configured() {
                    renewed.put(served, Arc::clone(&certificate));
                }
                let next = publisher.next_renewed(renewed, None).unwrap();
                publisher.replace_by(next)
            }
        }
    }
}

/// What handshakes do: with a pinned table, and with a key alone.
fn read(resolver: &SniResolver, published: &AtomicU64) {
    let known = published.load(Ordering::SeqCst);
    let table = resolver.table().unwrap();
    assert!(table.generation() >= known, "older than what was published before");
    let shown = |name| {
        let set = table.map().lookup(Some(name)).value;
        Arc::clone(set.certificates().next().unwrap().1)
    };
    assert!(Arc::ptr_eq(&shown("a.com"), &shown("x.b.com")), "one table, two configurations");
    let key = Arc::clone(shown("a.com").certified_key());
    thread::yield_now();
    assert!(resolver.table().unwrap().generation() >= table.generation(), "back in time");
    let_go(table);
    thread::yield_now();
    let_go(key);
    let offer = &TOWN.offer;
    let key = resolver.choose(Some("a.com"), &offer.0, &offer.1).unwrap();
    thread::yield_now();
    let_go(key);
}

/// Lets go of it, and nobody but the sweep may be the last one to do so. No other thread takes a
/// step in between: the counters of an `Arc` are not scheduled.
fn let_go<T>(held: Arc<T>) {
    let watched = Arc::downgrade(&held);
    drop(held);
    assert!(watched.upgrade().is_some(), "freed by a handshake");
}

struct Watched {
    table: Weak<SniTable>,
    certificate: Weak<ServerCertificate>,
    key: Weak<CertifiedKey>,
}

impl Watched {
    fn of(table: &Arc<SniTable>) -> Self {
        let (_, certificate) = table.map().default_value().certificates().next().unwrap();
        Self {
            table: Arc::downgrade(table),
            certificate: Arc::downgrade(certificate),
            key: Arc::downgrade(certificate.certified_key()),
        }
    }

    fn is_gone(&self) -> bool {
        self.table.upgrade().is_none()
            && self.certificate.upgrade().is_none()
            && self.key.upgrade().is_none()
    }
}

/// The keys of three configurations, and a client that can use all of them.
struct Town {
    keys: [CertificateMaterial; 3],
    offer: (Vec<SignatureScheme>, Vec<CipherSuite>),
}

impl Town {
    /// One certificate for every name, made anew.
    fn map(&self, at: usize) -> SniMap<CertificateSet> {
        let set = CertificateSet::new(format!("E{at}").parse().unwrap(), self.certificate(at));
        let names = ["a.com", "*.b.com"].map(|name| (name.parse().unwrap(), set.clone()));
        SniMap::new(set, names.into())
    }

    fn certificate(&self, at: usize) -> Arc<ServerCertificate> {
        Arc::new(ServerCertificate::new(&self.keys[at], &provider()).unwrap())
    }
}

static TOWN: LazyLock<Town> = LazyLock::new(|| {
    let ca = TestCa::root("CA");
    let schemes = provider().signature_verification_algorithms.supported_schemes();
    let suites = provider().cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
    Town { keys: [(); 3].map(|()| ca.server(&["a.com"]).material()), offer: (schemes, suites) }
});
