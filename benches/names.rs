//! Names by the thousand, the tables that hold them, and what a client asks for.
#![allow(dead_code, reason = "each bench that includes this file uses a part of it")]

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use mqtls::ServerCertificate;
use mqtls::sni::{CertificateSet, SniMap, SniResolver};
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{CipherSuite, SignatureScheme};

use crate::support::{Identity, TestCa, provider};

/// What a table holds, seven in ten exact and three in ten wildcards, and what is asked of it.
pub(crate) struct Names {
    pub(crate) exact: Vec<String>,
    /// Each with the one name that is asked under it.
    pub(crate) wildcard: Vec<(String, String)>,
    unknown: Vec<String>,
}

impl Names {
    pub(crate) fn of(size: usize) -> Self {
        let numbered = |count: usize, prefix: &str| -> Vec<String> {
            (0..count).map(|n| format!("{prefix}{n:06}.mqtt.example.com")).collect()
        };
        let parents = numbered(size * 3 / 10, "fleet-");
        let with_child = |parent| (format!("*.{parent}"), format!("eu.{parent}"));
        Self {
            exact: numbered(size * 7 / 10, "tenant-"),
            wildcard: parents.into_iter().map(with_child).collect(),
            unknown: numbered(size / 10, "nobody-"),
        }
    }

    /// A table in which the certificates go round: the first name has the one at `first`.
    pub(crate) fn map(&self, sets: &[CertificateSet], first: usize) -> SniMap<CertificateSet> {
        let patterns = self.exact.iter().chain(self.wildcard.iter().map(|(pattern, _)| pattern));
        let mut sets = sets.iter().cycle().skip(first).cloned();
        let default = sets.next().unwrap();
        let entries = patterns.zip(sets).map(|(pattern, set)| (pattern.parse().unwrap(), set));
        SniMap::new(default, entries.collect())
    }

    /// Seven parts exact, two covered by a wildcard, one by the default: shuffled, always alike.
    /// The names lie in memory in the order in which they are asked for: a ClientHello's is at
    /// hand, too.
    pub(crate) fn asked(&self) -> &'static [&'static str] {
        let covered = self.wildcard.iter().map(|(_, name)| name).take(2 * self.unknown.len());
        shuffled(self.exact.iter().chain(covered).chain(&self.unknown).map(String::as_str))
    }
}

/// The names in an order that is none, and always alike, one behind the other in memory.
pub(crate) fn shuffled<'a>(names: impl Iterator<Item = &'a str>) -> &'static [&'static str] {
    let mut names: Vec<&str> = names.collect();
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    names.sort_by_cached_key(|name| hasher.hash_one(name));
    names.join("\n").leak().lines().collect::<Vec<_>>().leak()
}

/// Makes server certificates that differ by nothing but where they lie in memory: each has a chain
/// of its own, and all have one key, which a lookup hands on and does not look at.
pub(crate) struct Certificates {
    identity: Identity,
    key: Arc<dyn SigningKey>,
    provider: CryptoProvider,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let identity = TestCa::root("server CA").server(&["*.mqtt.example.com"]);
        let key = provider().key_provider.load_private_key(identity.key_der()).unwrap();
        let one_key: &'static OneKey = Box::leak(Box::new(OneKey(Arc::clone(&key))));
        let provider = CryptoProvider { key_provider: one_key, ..provider().as_ref().clone() };
        Self { identity, key, provider }
    }

    /// As mqtls holds them, each under an id of its own.
    pub(crate) fn sets(&self, count: usize) -> Vec<CertificateSet> {
        let material = self.identity.material();
        let set = |number: usize| {
            let certificate = ServerCertificate::new(&material, &self.provider).unwrap();
            let id = format!("{number:06}-cn-hangzhou").parse().unwrap();
            CertificateSet::new(id, Arc::new(certificate))
        };
        (0..count).map(set).collect()
    }

    /// As rustls' own resolver holds one.
    pub(crate) fn bare(&self) -> Arc<CertifiedKey> {
        let (chain, key) = (self.identity.chain.clone(), Arc::clone(&self.key));
        Arc::new(CertifiedKey::new(chain, key))
    }
}

/// Loads the same key whatever it is given.
#[derive(Debug)]
struct OneKey(Arc<dyn SigningKey>);

impl KeyProvider for OneKey {
    fn load_private_key(
        &self,
        _der: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Ok(Arc::clone(&self.0))
    }
}

/// A client that asks for one name after the other.
pub(crate) struct Client {
    resolver: Arc<SniResolver>,
    asked: &'static [&'static str],
    at: usize,
    schemes: [SignatureScheme; 20],
    suites: [CipherSuite; 31],
}

impl Client {
    pub(crate) fn new(resolver: &Arc<SniResolver>, asked: &'static [&'static str]) -> Self {
        Self { resolver: Arc::clone(resolver), asked, at: 0, schemes: schemes(), suites: suites() }
    }

    /// One lookup.
    pub(crate) fn ask(&mut self) -> Option<Arc<CertifiedKey>> {
        let name = self.asked.get(self.at).or_else(|| {
            self.at = 0;
            self.asked.first()
        });
        self.at += 1;
        self.resolver.choose(name.copied(), &self.schemes, &self.suites)
    }

    /// Asks for every name once, so that the caches hold what they can.
    pub(crate) fn warm_up(&mut self) {
        for _ in self.asked {
            assert!(self.ask().is_some());
        }
    }
}

pub(crate) fn schemes() -> [SignatureScheme; 20] {
    SCHEMES.map(SignatureScheme::from)
}

pub(crate) fn suites() -> [CipherSuite; 31] {
    SUITES.map(CipherSuite::from)
}

/// What `openssl s_client` 3.0 offers, as captured.
const SCHEMES: [u16; 20] = [
    0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0809, 0x080a, 0x080b, 0x0804, 0x0805, 0x0806, 0x0401,
    0x0501, 0x0601, 0x0303, 0x0301, 0x0302, 0x0402, 0x0502, 0x0602,
];
const SUITES: [u16; 31] = [
    0x1302, 0x1303, 0x1301, 0xc02c, 0xc030, 0x009f, 0xcca9, 0xcca8, 0xccaa, 0xc02b, 0xc02f, 0x009e,
    0xc024, 0xc028, 0x006b, 0xc023, 0xc027, 0x0067, 0xc00a, 0xc014, 0x0039, 0xc009, 0xc013, 0x0033,
    0x009d, 0x009c, 0x003d, 0x003c, 0x0035, 0x002f, 0x00ff,
];
