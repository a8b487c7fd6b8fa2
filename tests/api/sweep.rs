//! What a change replaces lives as long as a handshake uses it, and no handshake frees it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use allocation_counter::measure;
use mqtls::sni::{CertificateSet, SniMap, SniPublisher, SniTable};
use mqtls::{ClientAuth, Instance, ServerCertificate, Sha256};
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    CipherSuite, Error, ServerConfig, SignatureAlgorithm, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};

use crate::support::{Door, HeldHandshake, PlainHandshake, TestCa, VERSIONS, client, provider};

#[tokio::test]
async fn h02_a_held_handshake_finishes_with_its_key_and_leaves_freeing_it_to_the_sweep() {
    for version in VERSIONS {
        let door = door();
        let old = Old::of(&door.instance);
        let (mut held, answer) =
            HeldHandshake::up_to_the_certificate(&door, client(None, version)).await;
        door.set_sni("E2", "").unwrap();
        assert_eq!(left(&door.instance), (1, 1), "a handshake holds the table and the certificate");

        held.pass(answer).await;
        let visit = held.release().await;
        assert_eq!(Sha256::of(&visit.shown()), old.sha256);
        let _connection = visit.admitted().await;
        assert!(old.is_whole(), "the handshake's thread freed something");
        assert_eq!(left(&door.instance), (0, 0), "a connection holds nothing");
        assert!(old.is_gone());
    }
}

/// rustls holds the key for as long as it signs, and nothing else.
#[test]
fn h02_a_plain_rustls_server_signs_with_the_key_it_was_given_and_leaves_freeing_it_to_the_sweep() {
    for version in VERSIONS {
        let mut provider = CryptoProvider::clone(&provider());
        let keys: &InterruptedKeys = Box::leak(Box::new(InterruptedKeys::of(&provider)));
        provider.key_provider = keys;
        let door = door_of(Arc::new(provider));
        let (old, instance) = (Old::of(&door.instance), Arc::clone(&door.instance));
        let mut handshake = plain_handshake(&instance, version);
        let seen = Arc::new(Mutex::new(None));
        let see = Arc::clone(&seen);
        keys.interrupt_with(move || {
            door.set_sni("E2", "").unwrap();
            *see.lock().unwrap() = Some(left(&door.instance));
        });
        handshake.finish().unwrap();
        let shown = Sha256::of(&handshake.client.peer_certificates().unwrap()[0]);
        assert_eq!(shown, old.sha256);
        assert_eq!(*seen.lock().unwrap(), Some((0, 1)), "rustls holds the key, and no table");
        drop(handshake);
        assert!(old.key.upgrade().is_some(), "the handshake's thread freed the key");
        assert_eq!(left(&instance), (0, 0));
        assert!(old.is_gone());
    }
}

#[tokio::test]
async fn h02_the_next_change_frees_what_handshakes_before_it_left() {
    let door = door();
    let old = Old::of(&door.instance);
    let config = client(None, VERSIONS[1]);
    let (mut held, answer) = HeldHandshake::up_to_the_certificate(&door, config).await;
    door.set_sni("E2", "").unwrap();
    let replaced_at_rest = Old::of(&door.instance);
    held.pass(answer).await;
    held.release().await.admitted().await;
    assert!(old.is_whole());
    door.set_sni("E3", "").unwrap();
    assert!(old.is_gone());
    assert!(replaced_at_rest.is_gone(), "what nobody uses goes at once");
    assert_eq!(left(&door.instance), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn h02_an_accept_loop_sweeps_each_second_however_often_connections_come() {
    const MILLISECOND: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);
    for between_connections in [MILLISECOND, Duration::from_secs(3600)] {
        let door = door();
        let (old, acceptor) = (Old::of(&door.instance), door.acceptor.clone());
        let accepting = tokio::spawn(async move {
            let accept = async || {
                tokio::time::sleep(between_connections).await;
                Ok(())
            };
            while acceptor.next(accept).await.is_some() {}
        });
        let config = client(None, VERSIONS[1]);
        let (mut held, answer) = HeldHandshake::up_to_the_certificate(&door, config).await;
        door.set_sni("E2", "").unwrap();
        // The clock stands still while a sweep runs: half a second later none does.
        tokio::time::sleep(2 * SECOND + SECOND / 2).await;
        held.pass(answer).await;
        held.release().await.admitted().await;
        assert!(old.is_whole());
        tokio::time::sleep(SECOND + MILLISECOND).await;
        assert!(old.is_gone());
        accepting.abort();
    }
}

#[tokio::test]
async fn h02_a_certificate_that_the_next_table_serves_is_never_freed() {
    let door = door();
    for next in ["a.com#E1", "b.com#E1;c.com#E2"] {
        let kept = Old::of(&door.instance);
        let config = client(None, VERSIONS[1]);
        let (mut held, answer) = HeldHandshake::up_to_the_certificate(&door, config).await;
        door.set_sni("E1", next).unwrap();
        assert_eq!(left(&door.instance), (1, 0), "it is not retired");
        held.pass(answer).await;
        held.release().await.admitted().await;
        assert_eq!(left(&door.instance), (0, 0));
        assert!(kept.table.upgrade().is_none());
        let current = table(&door.instance);
        let current = current.certificate(&"E1".parse().unwrap()).unwrap();
        assert!(Arc::ptr_eq(current, &kept.certificate.upgrade().unwrap()));
        assert!(Arc::ptr_eq(current.certified_key(), &kept.key.upgrade().unwrap()));
    }
}

#[test]
fn h02_what_comes_back_from_an_earlier_table_is_served_and_not_retired() {
    let [first, second] = maps();
    let mut publisher = SniPublisher::new(&provider());
    let old = Old::new(&publisher.publish(first.clone()));
    let reader = publisher.resolver().table();
    publisher.publish(second.clone());
    publisher.publish(first);
    assert_eq!(publisher.sweep().tables, 1);
    assert_eq!(publisher.sweep().certificates, 1, "the second one, which `second` holds");
    drop((reader, second));
    assert!(publisher.sweep().is_empty());
    assert!(old.certificate.upgrade().is_some() && old.table.upgrade().is_none());
    let [third, _] = maps();
    publisher.publish(third);
    assert!(old.is_gone());
    assert!(publisher.sweep().is_empty());
}

#[test]
fn h02_one_certificate_under_two_ids_is_freed_too() {
    let set = set("one", TestCa::root("CA").server(&[]));
    let certificate = Arc::clone(set.certificates().next().unwrap().1);
    let twice = CertificateSet::new("two".parse().unwrap(), Arc::clone(&certificate));
    let weak = Arc::downgrade(&certificate);
    drop(certificate);
    let mut publisher = SniPublisher::new(&provider());
    publisher.publish(SniMap::new(set, [("a.com".parse().unwrap(), twice)].into()));
    publisher.publish(maps()[0].clone());
    assert!(weak.upgrade().is_none());
    assert!(publisher.sweep().is_empty());
}

#[test]
fn h02_each_of_many_new_certificates_is_freed_with_its_table() {
    let door = door();
    let mut replaced: Vec<Old> = vec![];
    for _ in 0..300 {
        door.put("new", &door.server_ca.server(&["a.com"]));
        door.set_sni("new", "a.com#new;b.com#E1").unwrap();
        assert!(replaced.last().is_none_or(Old::is_gone));
        replaced.push(Old::of(&door.instance));
    }
    let current = replaced.pop().unwrap();
    assert!(current.is_whole() && replaced.iter().all(Old::is_gone));
}

/// The allocator counts per thread: what the writer allocates it must free itself.
#[test]
fn h02_a_hundred_thousand_swaps_under_a_reader_leak_nothing_and_it_frees_nothing() {
    const SWAPS: usize = 100_000;
    let maps = maps();
    let mut publisher = SniPublisher::new(&provider());
    publisher.publish(maps[0].clone());
    let resolver = Arc::clone(publisher.resolver());
    let (schemes, suites) = offer();
    let stop = AtomicBool::new(false);
    let read = || {
        // The first load of a cell makes this thread's own slots.
        drop(resolver.table());
        measure(|| {
            while !stop.load(Ordering::Relaxed) {
                let key = resolver.choose(Some("a.com"), &schemes, &suites);
                let table = resolver.table();
                drop((key, table));
            }
        })
    };
    std::thread::scope(|scope| {
        let _stops_the_reader = StopOnDrop(&stop);
        let reader = scope.spawn(read);
        let mut last = Arc::downgrade(&publisher.publish(maps[1].clone()));
        let written = measure(|| {
            for at in 0..SWAPS {
                last = Arc::downgrade(&publisher.publish(maps[at % 2].clone()));
            }
            stop.store(true, Ordering::Relaxed);
            let read = reader.join().unwrap();
            assert_eq!(
                (read.count_total, read.count_current),
                (0, 0),
                "made and freed by the reader"
            );
            assert_eq!(publisher.sweep().tables, 0);
        });
        assert!(last.upgrade().is_some_and(|table| table.generation() == 100_002));
        let kept = written.bytes_current;
        assert!(kept.abs() < 4096, "{kept} bytes more than before");
        assert!(written.bytes_max < 1024 * 1024, "{} bytes at a time", written.bytes_max);
    });
}

/// Ends the reader's loop also where the writer panics: a scope waits for its thread.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A door that shows E1 for every name, and can show E2 and E3.
fn door() -> Door {
    door_of(provider())
}

fn door_of(provider: Arc<CryptoProvider>) -> Door {
    let door = Door::unconfigured(ClientAuth::Disabled, provider);
    for id in ["E1", "E2", "E3"] {
        door.put(id, &door.server_ca.server(&["a.com", "localhost"]));
    }
    door.set_sni("E1", "").unwrap();
    door
}

fn table(instance: &Instance) -> Arc<SniTable> {
    instance.sni().table().unwrap()
}

/// How many tables and certificates a sweep leaves.
fn left(instance: &Arc<Instance>) -> (usize, usize) {
    let held = instance.sweep().unwrap();
    assert_eq!(held.is_empty(), (held.tables, held.certificates) == (0, 0));
    (held.tables, held.certificates)
}

/// A table with its default certificate, watched without being held.
struct Old {
    table: Weak<SniTable>,
    certificate: Weak<ServerCertificate>,
    key: Weak<CertifiedKey>,
    sha256: Sha256,
}

impl Old {
    fn of(instance: &Instance) -> Self {
        Self::new(&table(instance))
    }

    fn new(table: &Arc<SniTable>) -> Self {
        let (_, certificate) = table.map().default_value().certificates().next().unwrap();
        Self {
            table: Arc::downgrade(table),
            certificate: Arc::downgrade(certificate),
            key: Arc::downgrade(certificate.certified_key()),
            sha256: certificate.sha256(),
        }
    }

    fn is_whole(&self) -> bool {
        self.alive() == [true; 3]
    }

    fn is_gone(&self) -> bool {
        self.alive() == [false; 3]
    }

    fn alive(&self) -> [bool; 3] {
        [
            self.table.upgrade().is_some(),
            self.certificate.upgrade().is_some(),
            self.key.upgrade().is_some(),
        ]
    }
}

/// Two maps to swap, each with a certificate of its own.
fn maps() -> [SniMap<CertificateSet>; 2] {
    let ca = TestCa::root("CA");
    ["one", "two"].map(|id| SniMap::new(set(id, ca.server(&["a.com"])), BTreeMap::new()))
}

fn set(id: &str, identity: crate::support::Identity) -> CertificateSet {
    let certificate = ServerCertificate::new(&identity.material(), &provider()).unwrap();
    CertificateSet::new(id.parse().unwrap(), Arc::new(certificate))
}

fn offer() -> (Vec<SignatureScheme>, Vec<CipherSuite>) {
    let schemes = provider().signature_verification_algorithms.supported_schemes();
    let suites = provider().cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
    (schemes, suites)
}

/// A handshake with a rustls server that knows of an instance its resolver only.
fn plain_handshake(
    instance: &Instance,
    version: &'static SupportedProtocolVersion,
) -> PlainHandshake {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(instance.resolver());
    PlainHandshake::between(Arc::new(config), Arc::new(client(None, version)))
}

/// A provider's keys, the next signature of which is interrupted.
struct InterruptedKeys {
    inner: &'static dyn KeyProvider,
    interruption: Interruption,
}

type Interruption = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

impl InterruptedKeys {
    fn of(provider: &CryptoProvider) -> Self {
        Self { inner: provider.key_provider, interruption: Arc::default() }
    }

    fn interrupt_with(&self, interruption: impl FnOnce() + Send + 'static) {
        *self.interruption.lock().unwrap() = Some(Box::new(interruption));
    }
}

impl fmt::Debug for InterruptedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterruptedKeys").finish_non_exhaustive()
    }
}

impl KeyProvider for InterruptedKeys {
    fn load_private_key(&self, der: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let inner = self.inner.load_private_key(der)?;
        Ok(Arc::new(Interrupted { inner, interruption: Arc::clone(&self.interruption) }))
    }
}

struct Interrupted<T> {
    inner: T,
    interruption: Interruption,
}

impl<T> fmt::Debug for Interrupted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupted").finish_non_exhaustive()
    }
}

impl SigningKey for Interrupted<Arc<dyn SigningKey>> {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let inner = self.inner.choose_scheme(offered)?;
        Some(Box::new(Interrupted { inner, interruption: Arc::clone(&self.interruption) }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.inner.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.inner.algorithm()
    }
}

impl Signer for Interrupted<Box<dyn Signer>> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let interruption = self.interruption.lock().unwrap().take();
        if let Some(interrupt) = interruption {
            interrupt();
        }
        self.inner.sign(message)
    }

    fn scheme(&self) -> SignatureScheme {
        self.inner.scheme()
    }
}
