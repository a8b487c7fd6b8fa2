//! Does an operation on one CA cost more where many are registered?
//!
//! **Timed** is an operation's `apply`, as an operator's call comes to it, on an instance with
//! 100,000 CAs. **The baseline** is the same operation on one with 1,000.
//!
//! What an operation does is undone outside of the time, so that no table grows or changes. Each
//! call is about another CA than the one before, all over the registry and always in the same
//! shuffled order: with 100,000 it finds the caches cold, with 1,000 it does not. The CAs that are
//! registered are some thousands with real keys that come and go in turn; a page has 100 records.
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use std::cell::LazyCell;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fleet::Fleet;
use mqtls::control::PageSize;
use mqtls::{
    ActiveCaCertificate, CaCertificate, CaStatus, Caller, DeleteCaCertificate, GetCaCertificate,
    InactivateCaCertificate, InstanceId, Instances, ListCaCertificate, RegisterCa, SerialNumber,
};
use side_by_side::{Bar, Contenders, SideBySide, Terms};
use support::TestCa;

mod fleet;
mod side_by_side;
#[expect(clippy::panic, clippy::indexing_slicing, reason = "written for tests")]
#[path = "../tests/api/support.rs"]
mod support;

fn main() -> ExitCode {
    let mut benches = SideBySide::from_args("registry");
    let large = LazyCell::new(|| Operator::of(LARGE));
    let small = LazyCell::new(|| Operator::of(SMALL));
    let newcomers = LazyCell::new(|| {
        let newcomer = |number| TestCa::root(&format!("newcomer {number}")).certificate();
        (0..NEWCOMERS).map(newcomer).collect::<Vec<_>>()
    });
    benches.compare(format!("register-{LARGE}"), TERMS, || Contenders {
        mqtls: large.registers(&newcomers),
        baseline: small.registers(&newcomers),
    });
    benches.compare(format!("activate-{LARGE}"), TERMS, || Contenders {
        mqtls: large.sets(CaStatus::Active),
        baseline: small.sets(CaStatus::Active),
    });
    benches.compare(format!("deactivate-{LARGE}"), TERMS, || Contenders {
        mqtls: large.sets(CaStatus::Inactive),
        baseline: small.sets(CaStatus::Inactive),
    });
    benches.compare(format!("get-{LARGE}"), TERMS, || Contenders {
        mqtls: large.gets(),
        baseline: small.gets(),
    });
    benches.compare(format!("list-{LARGE}"), TERMS, || Contenders {
        mqtls: large.lists(),
        baseline: small.lists(),
    });
    benches.finish()
}

/// Who applies operations to one instance.
struct Operator {
    instances: Instances,
    id: InstanceId,
    /// Every registered CA, shuffled.
    serials: &'static [SerialNumber],
}

impl Operator {
    fn of(size: usize) -> Self {
        let door = Fleet::of(size).door;
        let mut serials = Vec::with_capacity(size);
        let mut page = door.instance.trust().list(None, size);
        for authority in page.authorities.drain(..) {
            serials.push(authority.certificate().serial().clone());
        }
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        serials.sort_by_cached_key(|serial| hasher.hash_one(serial));
        let id = door.instance.id().clone();
        Self { instances: door.instances, id, serials: serials.leak() }
    }

    /// Registers CAs and deletes them again.
    fn registers(&self, newcomers: &[CaCertificate]) -> impl FnMut(u64) -> Duration + use<> {
        let (instances, id) = (self.instances.clone(), self.id.clone());
        let coming_and_going = newcomers.iter().map(|certificate| {
            let (mqtt_instance_id, sn) = (id.clone(), certificate.serial().clone());
            let registration = RegisterCa {
                mqtt_instance_id: mqtt_instance_id.clone(),
                name: "fleet".to_owned(),
                status: CaStatus::Active,
                certificate: certificate.clone(),
            };
            (registration, DeleteCaCertificate { mqtt_instance_id, sn })
        });
        let newcomers: &'static [_] = coming_and_going.collect::<Vec<_>>().leak();
        let mut newcomers = newcomers.iter().cycle();
        move |iterations| {
            let taken: Vec<_> = newcomers.by_ref().take(iterations.try_into().unwrap()).collect();
            let spent = timed(taken.iter(), |(registration, _)| {
                registration.apply(&instances, &Caller::local()).unwrap()
            });
            for (_, deletion) in taken {
                deletion.apply(&instances, &Caller::local()).unwrap();
            }
            spent
        }
    }

    /// Gives CAs a status that they do not have, and the one that they had again.
    fn sets(&self, status: CaStatus) -> impl FnMut(u64) -> Duration + use<> {
        let set = self.set(status);
        let restore = self.set(match status {
            CaStatus::Active => CaStatus::Inactive,
            CaStatus::Inactive => CaStatus::Active,
        });
        for serial in self.serials {
            restore(serial);
        }
        let mut serials = self.serials.iter().cycle();
        move |iterations| {
            let taken: Vec<_> = serials.by_ref().take(iterations.try_into().unwrap()).collect();
            let spent = timed(taken.iter(), |serial| assert!(set(serial)));
            for serial in taken {
                restore(serial);
            }
            spent
        }
    }

    /// The operation that sets a status; it tells whether that changed anything.
    fn set(&self, status: CaStatus) -> impl Fn(&SerialNumber) -> bool + use<> {
        let (instances, id) = (self.instances.clone(), self.id.clone());
        move |serial| {
            let (mqtt_instance_id, sn) = (id.clone(), serial.clone());
            let (instances, me) = (&instances, &Caller::local());
            match status {
                CaStatus::Active => {
                    let operation = ActiveCaCertificate { mqtt_instance_id, sn };
                    operation.apply(instances, me).unwrap().changed
                }
                CaStatus::Inactive => {
                    let operation = InactivateCaCertificate { mqtt_instance_id, sn };
                    operation.apply(instances, me).unwrap().changed
                }
            }
        }
    }

    fn gets(&self) -> impl FnMut(u64) -> Duration + use<> {
        let (instances, id) = (self.instances.clone(), self.id.clone());
        let mut serials = self.serials.iter().cycle();
        move |iterations| {
            let taken = serials.by_ref().take(iterations.try_into().unwrap());
            timed(taken, |sn| {
                let operation = GetCaCertificate { mqtt_instance_id: id.clone(), sn: sn.clone() };
                operation.apply(&instances, &Caller::local()).unwrap()
            })
        }
    }

    /// Takes one page after the other, from all over the list.
    fn lists(&self) -> impl FnMut(u64) -> Duration + use<> {
        let (instances, mqtt_instance_id) = (self.instances.clone(), self.id.clone());
        let page_size = PageSize::default();
        let mut pages = vec![ListCaCertificate { mqtt_instance_id, after: None, page_size }];
        while let Some(last) = pages.last() {
            let next = last.apply(&instances, &Caller::local()).unwrap().next;
            let Some(after) = next else { break };
            pages.push(ListCaCertificate { after: Some(after), ..last.clone() });
        }
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        pages.sort_by_cached_key(|page| hasher.hash_one(page.after));
        let pages: &'static [_] = pages.leak();
        let mut pages = pages.iter().cycle();
        move |iterations| {
            let taken = pages.by_ref().take(iterations.try_into().unwrap());
            timed(taken, |page| page.apply(&instances, &Caller::local()).unwrap())
        }
    }
}

/// The time that `call` takes over all of these, what it returns dropped within.
fn timed<T, R>(over: impl Iterator<Item = T>, mut call: impl FnMut(T) -> R) -> Duration {
    let start = Instant::now();
    for each in over {
        drop(std::hint::black_box(call(each)));
    }
    start.elapsed()
}

const SMALL: usize = 1_000;
const LARGE: usize = 100_000;
/// Slices from tens of microseconds to a few milliseconds.
const TERMS: Terms = Terms::new(32, Bar::Ratio(2.0));
const NEWCOMERS: usize = 4_096;
