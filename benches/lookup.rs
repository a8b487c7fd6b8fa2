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
//! each with an `Arc` and a chain of its own. Both are asked the same names in the same shuffled
//! order: 70 % stand in the table, 20 % are covered by a wildcard, 10 % by the default alone. The
//! size of 1,000,000 takes 1.8 GB and is there under `MQTLS_BENCH_MILLION=1`.
//!
//! **`policies`** is the same where the instance has every policy: it refuses who asks for no name, for
//! one that only the default covers, and who can use no certificate, and withholds what has expired.
//!
//! **`disturbed`** asks whether a reader notices a writer. Both sides are the same thread and the
//! same resolver, whichever table is in force: mqtls' blocks of lookups are those in which a second
//! thread publishes ten times a second, the baseline's those in which it sleeps. It alternates two
//! maps with the same names and other certificates, which were built beforehand. Before each block
//! every name is asked once, so that what a table cost to fetch is paid in the block in which it
//! came. A block is long beside that, so it is an iteration here and is timed as a whole; what the
//! summary names is one lookup.
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use std::cell::RefCell;
use std::ffi::OsStr;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtls::sni::SniPublisher;
use mqtls::{OnExpiry, OnMiss, SniPolicy};
use names::{Certificates, Client, Names};
use rustls::pki_types::UnixTime;
use rustls::sign::CertifiedKey;
use side_by_side::{Bar, Contenders, SideBySide, Terms, each, whole};
use support::provider;
use writer::Writer;

mod names;
mod side_by_side;
#[expect(clippy::panic, clippy::indexing_slicing, reason = "written for tests")]
#[path = "../tests/api/support.rs"]
mod support;
mod writer;

fn main() -> ExitCode {
    let mut benches = SideBySide::from_args("lookup");
    let million = std::env::var_os("MQTLS_BENCH_MILLION").as_deref() == Some(OsStr::new("1"));
    let sizes = [1_000, 100_000, 1_000_000];
    for size in sizes.into_iter().take(if million { 3 } else { 2 }) {
        benches.compare(size, TERMS, || beside_a_static_map(size, SniPolicy::default()));
    }
    for size in sizes.into_iter().take(if million { 3 } else { 2 }) {
        let id = format!("{size}-policies");
        benches.compare(id, TERMS, || beside_a_static_map(size, every_policy()));
    }
    let blocks = [(1_000, 4_000_000), (100_000, 1_000_000), (1_000_000, 3_000_000)];
    for (size, lookups) in blocks.into_iter().take(if million { 3 } else { 2 }) {
        let terms = Terms::blocks(lookups, Bar::Ratio(1.05));
        benches.compare(format!("{size}-disturbed"), terms, || beside_itself(size, lookups));
    }
    benches.finish()
}

fn every_policy() -> SniPolicy {
    SniPolicy::default()
        .no_server_name(OnMiss::Refuse)
        .unknown_name(OnMiss::Refuse)
        .no_usable_certificate(OnMiss::Refuse)
        .expired(OnExpiry::ServeDefault)
}

fn beside_a_static_map(
    size: usize,
    policy: SniPolicy,
) -> Contenders<impl FnMut(u64) -> Duration, impl FnMut(u64) -> Duration> {
    let (names, certificates) = (Names::of(size), Certificates::new());
    let mut publisher = SniPublisher::with_policy(&provider(), policy);
    let map = names.map(&certificates.sets(size), 0);
    let _table = publisher.publish_at(map, UnixTime::now());
    let exact = names.exact.iter().chain(names.wildcard.iter().map(|(_, name)| name));
    let static_map: StaticMap = exact.map(|name| (name.clone(), certificates.bare())).collect();
    let asked = names.asked();
    let mut client = Client::new(publisher.resolver(), asked);
    let mut names = asked.iter().cycle();
    Contenders {
        mqtls: whole(move || client.ask()),
        baseline: whole(move || static_map.get(*names.next()?).cloned()),
    }
}

fn beside_itself(
    size: usize,
    lookups: u64,
) -> Contenders<impl FnMut(u64) -> Duration, impl FnMut(u64) -> Duration> {
    let (names, sets) = (Names::of(size), Certificates::new().sets(size));
    let maps = [names.map(&sets, 0), names.map(&sets, 1)];
    let writer = Writer::of(maps, Duration::from_millis(100));
    let client = Rc::new(RefCell::new(Client::new(writer.resolver(), names.asked())));
    let quiet_client = Rc::clone(&client);
    Contenders {
        mqtls: each(move || {
            let client = &mut *client.borrow_mut();
            client.warm_up();
            writer.during(|| ask(client, lookups))
        }),
        baseline: each(move || {
            let client = &mut *quiet_client.borrow_mut();
            client.warm_up();
            ask(client, lookups)
        }),
    }
}

/// So many lookups, timed as a whole.
fn ask(client: &mut Client, lookups: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..lookups {
        drop(std::hint::black_box(client.ask()));
    }
    start.elapsed()
}

#[expect(clippy::disallowed_types, reason = "what rustls' own resolver has")]
type StaticMap = std::collections::HashMap<String, Arc<CertifiedKey>>;

/// Slices of about a tenth of a millisecond.
const TERMS: Terms = Terms::new(1_000, Bar::Ratio(1.5));
