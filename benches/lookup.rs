//! What does it cost to find the certificate for a server name, beside a static map?
//!
//! **Timed** is the call that the adapter behind rustls' `ResolvesServerCert` makes:
//! `SniResolver::choose` loads the table in force, reduces the client's signature schemes and
//! cipher suites to what decides, probes, and clones the `Arc` of the certificate; it is dropped
//! within the time, too. The client is OpenSSL 3.0 with its defaults (20 schemes, 31 suites),
//! which is what mosquitto and most brokers' command lines send.
//!
//! **The baseline** is what rustls' own `ResolvesServerCertUsingSni` does: a `HashMap` of the
//! standard library from `String` to `Arc<CertifiedKey>`, `get` and clone. It looks at no scheme.
//! It knows no wildcards, so it holds the very names that are asked for instead, and answers them
//! like any other; it has no default, so it answers `None` there and clones nothing.
//!
//! Both sides hold as many names as the size says, seven in ten exact and three in ten wildcards,
//! each with an `Arc`, a chain and a loaded key of its own. Both are asked the same names in the same shuffled
//! order: 70 % stand in the table, 20 % are covered by a wildcard, 10 % by the default alone. The
//! names lie in memory in the order in which they are asked for: a ClientHello's is at hand, too.
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use std::collections::BTreeMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use mqtls::ServerCertificate;
use mqtls::sni::{CertificateSet, SniMap, SniPublisher};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SignatureScheme};
use side_by_side::{Contenders, SideBySide, whole};
use support::{Identity, TestCa, provider};

mod side_by_side;
#[expect(clippy::panic, clippy::indexing_slicing, reason = "written for tests")]
#[path = "../tests/api/support.rs"]
mod support;

fn main() {
    let mut benches = SideBySide::from_args("lookup");
    for size in [1_000, 100_000] {
        benches.compare(size, SLICE, || {
            let names = Names::of(size);
            let identity = TestCa::root("server CA").server(&["*.mqtt.example.com"]);
            let publisher = names.published(&identity);
            let static_map = names.static_map(&identity);
            let schemes = SCHEMES.map(SignatureScheme::from);
            let suites = SUITES.map(CipherSuite::from);
            let asked = names.asked();
            let mut names = asked.iter().copied().cycle();
            let mut names_again = asked.iter().copied().cycle();
            Contenders {
                mqtls: whole(move || publisher.resolver().choose(names.next(), &schemes, &suites)),
                baseline: whole(move || static_map.get(names_again.next()?).cloned()),
            }
        });
    }
    benches.finish();
}

/// What the tables hold and what is asked of them.
struct Names {
    exact: Vec<String>,
    /// Each with the one name that is asked under it.
    wildcard: Vec<(String, String)>,
    unknown: Vec<String>,
}

impl Names {
    fn of(size: usize) -> Self {
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

    /// A resolver that serves one certificate for each name.
    fn published(&self, identity: &Identity) -> SniPublisher {
        let provider = provider();
        let material = identity.material();
        let set = |pattern: &str| {
            let certificate = ServerCertificate::new(&material, &provider).unwrap();
            let id = pattern.replace('*', "_").parse().unwrap();
            CertificateSet::new(id, Arc::new(certificate))
        };
        let patterns = self.exact.iter().chain(self.wildcard.iter().map(|(pattern, _)| pattern));
        let entries: BTreeMap<_, _> =
            patterns.map(|pattern| (pattern.parse().unwrap(), set(pattern))).collect();
        let mut publisher = SniPublisher::new(&provider);
        publisher.publish(SniMap::new(set("default"), entries));
        publisher
    }

    /// The same for rustls' own resolver: for each wildcard the name that is asked under it.
    fn static_map(&self, identity: &Identity) -> StaticMap {
        let provider = provider();
        let names = self.exact.iter().chain(self.wildcard.iter().map(|(_, name)| name));
        names
            .map(|name| {
                let (chain, key) = (identity.chain.clone(), identity.key_der());
                let certified = CertifiedKey::from_der(chain, key, &provider).unwrap();
                (name.clone(), Arc::new(certified))
            })
            .collect()
    }

    /// Seven parts exact, two covered by a wildcard, one by the default: shuffled, always alike.
    fn asked(&self) -> &'static [&'static str] {
        let covered = self.wildcard.iter().map(|(_, name)| name).take(2 * self.unknown.len());
        let mut names: Vec<&str> =
            self.exact.iter().chain(covered).chain(&self.unknown).map(String::as_str).collect();
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        names.sort_by_cached_key(|name| hasher.hash_one(name));
        names.join("\n").leak().lines().collect::<Vec<_>>().leak()
    }
}

#[expect(clippy::disallowed_types, reason = "what rustls' own resolver has")]
type StaticMap = std::collections::HashMap<String, Arc<CertifiedKey>>;

/// About a tenth of a millisecond.
const SLICE: u64 = 1_000;

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
