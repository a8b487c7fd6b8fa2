//! What does a reader notice while tables are replaced, and what do tables and registries weigh?
//!
//! **Timed** is every single lookup, `SniResolver::choose` as in the bench `lookup`, while a second
//! thread publishes tables one right after the other, as no operator does: two maps in turn, built
//! beforehand, each publication with its index by id and the sweep of what it replaced. **The
//! baseline** is the same thread on the same resolver while that thread sleeps. Blocks of either
//! alternate; before each, every name is asked once.
//!
//! What counts here is the 99.9th percentile over all lookups of a side, printed with the number of
//! them. A lookup is timed by two readings of the clock, which are in every figure.
//!
//! **Weighed** is what stays allocated: of a table of 100,000 names on 10 certificates, with its
//! index and without the certificates, and of a registry of 100,000 CAs, with their certificates.
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use fleet::Fleet;
use mqtls::sni::SniPublisher;
use names::{Certificates, Client, Names};
use side_by_side::{Bar, Contenders, SideBySide, Terms, each, measures};
use support::provider;
use writer::Writer;

mod fleet;
mod names;
mod side_by_side;
#[expect(clippy::panic, clippy::indexing_slicing, reason = "written for tests")]
#[path = "../tests/api/support.rs"]
mod support;
mod writer;

fn main() -> ExitCode {
    let mut benches = SideBySide::from_args("swap");
    for size in [1_000, 100_000] {
        let (storm, quiet) = (Rc::<RefCell<Lookups>>::default(), Rc::<RefCell<Lookups>>::default());
        let terms = Terms::blocks(LOOKUPS, Bar::None);
        benches.compare(size, terms, || contenders(size, [&storm, &quiet].map(Rc::clone)));
        if measures() && storm.borrow().count > 0 {
            benches.tell(format!("swap/{size}: while tables are replaced {}", storm.borrow()));
            benches.tell(format!("swap/{size}: while they are not        {}", quiet.borrow()));
        }
    }
    benches.tell(weigh_names());
    benches.tell(weigh_cas());
    benches.finish()
}

fn contenders(
    size: usize,
    [storm, quiet]: [Rc<RefCell<Lookups>>; 2],
) -> Contenders<impl FnMut(u64) -> Duration, impl FnMut(u64) -> Duration> {
    let (names, sets) = (Names::of(size), Certificates::new().sets(size));
    let maps = [names.map(&sets, 0), names.map(&sets, 1)];
    let writer = Writer::of(maps, Duration::ZERO);
    let client = Rc::new(RefCell::new(Client::new(writer.resolver(), names.asked())));
    let quiet_client = Rc::clone(&client);
    Contenders {
        mqtls: each(move || {
            let (client, storm) = (&mut *client.borrow_mut(), &mut *storm.borrow_mut());
            client.warm_up();
            writer.during(|| storm.time(client))
        }),
        baseline: each(move || {
            let client = &mut quiet_client.borrow_mut();
            client.warm_up();
            quiet.borrow_mut().time(client)
        }),
    }
}

/// How many lookups took how long.
struct Lookups {
    /// By nanoseconds, the last one for all that took longer.
    took: Vec<u64>,
    count: u64,
}

impl Default for Lookups {
    fn default() -> Self {
        Self { took: vec![0; LONGEST + 1], count: 0 }
    }
}

impl Lookups {
    /// Times a block, each of its lookups by itself.
    fn time(&mut self, client: &mut Client) -> Duration {
        let start = Instant::now();
        for _ in 0..LOOKUPS {
            let asked = Instant::now();
            drop(std::hint::black_box(client.ask()));
            let took = usize::try_from(asked.elapsed().as_nanos()).unwrap();
            *self.took.get_mut(took.min(LONGEST)).unwrap() += 1;
        }
        self.count += LOOKUPS;
        start.elapsed()
    }

    /// In nanoseconds: at least so many of a thousand took at most so long.
    fn within(&self, permille: u64) -> usize {
        let mut left = self.count * permille / 1_000;
        let reached = self.took.iter().position(|count| {
            left = left.saturating_sub(*count);
            left == 0
        });
        reached.unwrap()
    }
}

impl std::fmt::Display for Lookups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [half, most, nearly_all] = [500, 990, 999].map(|permille| self.within(permille));
        write!(f, "p99.9 {nearly_all} ns, p99 {most} ns, p50 {half} ns of {} lookups", self.count)
    }
}

fn weigh_names() -> String {
    let names = Names::of(WEIGHED);
    let sets = Certificates::new().sets(10);
    let mut publisher = SniPublisher::new(&provider());
    let weight = measure(|| drop(publisher.publish(names.map(&sets, 0))));
    let texts = names.exact.iter().chain(names.wildcard.iter().map(|(pattern, _)| pattern));
    let text = texts.map(String::len).sum::<usize>() / WEIGHED;
    let bytes = weight.bytes_current / i64::try_from(WEIGHED).unwrap();
    format!("swap/weight: {bytes} bytes a name, whose text has {text}")
}

fn weigh_cas() -> String {
    let mut fleet = None;
    let weight = measure(|| fleet = Some(Fleet::of(WEIGHED)));
    let der = fleet.map(|fleet| fleet.ca.der.len()).unwrap();
    let bytes = weight.bytes_current / i64::try_from(WEIGHED).unwrap();
    format!("swap/weight: {bytes} bytes a CA, whose certificate has {der}")
}

const LOOKUPS: u64 = 500_000;
/// 100 microseconds.
const LONGEST: usize = 100_000;
const WEIGHED: usize = 100_000;
