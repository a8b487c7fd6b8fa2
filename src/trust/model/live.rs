//! Live connections beside changes: whoever is let in is ended by whatever comes after.

use super::super::ended::Ended;
use super::super::lifeline::Lifeline;
use super::super::verdict::Admitted;
use super::*;
use crate::primitives::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

#[test]
fn behind_a_cut_no_poll_writes() {
    explore(2_000, || {
        let lifeline = Arc::new(Lifeline::default());
        let written = Arc::new(AtomicU64::new(0));
        let polling = {
            let (lifeline, written) = (Arc::clone(&lifeline), Arc::clone(&written));
            thread::spawn(move || {
                (0..3).map(|_| polls(&lifeline, &written)).filter(|polled| *polled).count()
            })
        };
        let cuts = [Ended::Expired, Ended::InstanceRemoved].map(|why| {
            let (lifeline, written) = (Arc::clone(&lifeline), Arc::clone(&written));
            thread::spawn(move || {
                let mark = lifeline.cut(&Arc::new(why.clone()));
                lifeline.wait();
                let then = written.load(SeqCst);
                thread::yield_now();
                assert_eq!(written.load(SeqCst), then, "written behind a cut that returned");
                mark.first.then_some(why)
            })
        });
        let firsts: Vec<_> = cuts.into_iter().filter_map(joined).collect();
        assert_eq!(firsts.len(), 1, "one of them ended it");
        assert_eq!(lifeline.ended().as_ref(), firsts.first());
        assert!(joined(polling) as u64 <= written.load(SeqCst));
    });
}

/// Polls as a connection does; tells whether what it came to counts.
fn polls(lifeline: &Lifeline, written: &AtomicU64) -> bool {
    lifeline.begin().is_ok_and(|turn| {
        written.fetch_add(1, SeqCst);
        turn.end().is_ok()
    })
}

#[test]
fn whoever_is_admitted_is_ended_by_what_comes_after() {
    let scripts: [(Option<CaStatus>, &[Step]); 5] = [
        (Some(Active), &[Set(Inactive)]),
        (Some(Active), &[Set(Inactive), Set(Active)]),
        (Some(Inactive), &[Set(Active), Set(Inactive)]),
        (Some(Active), &[Delete, Register(Active)]),
        (None, &[Register(Active), Set(Inactive)]),
    ];
    let fleet = &*FLEET;
    for (at_first, steps) in scripts {
        explore(100, move || Street::new(at_first, &fleet.root).run(steps, &fleet.device));
    }
}

#[test]
fn whoever_comes_through_an_unregistered_key_is_ended_once_it_is_inactive() {
    let scripts: [(Option<CaStatus>, &[Step]); 4] = [
        (None, &[Register(Inactive)]),
        (None, &[Register(Active), Set(Inactive)]),
        (None, &[Register(Inactive), Set(Active)]),
        (Some(Inactive), &[Delete, Register(Inactive)]),
    ];
    let fleet = &*FLEET;
    for (at_first, steps) in scripts {
        explore(100, move || {
            let street = Street::new(Some(Active), &fleet.root);
            let street = Street { ca: &fleet.sub, ..street };
            if let Some(status) = at_first {
                street.house.take(street.ca, Register(status));
            }
            street.run(steps, &fleet.below_sub);
        });
    }
}

#[test]
fn whoever_leaves_late_takes_nobodys_place() {
    let fleet = &*FLEET;
    for through_a_record in [true, false] {
        explore(100, move || {
            let (house, ca, device) = match through_a_record {
                true => (House::new(), &fleet.root, &fleet.device),
                false => (House::new(), &fleet.sub, &fleet.below_sub),
            };
            house.take(&fleet.root, Register(Active));
            let early = house.stay(device).unwrap();
            let serial = ca.serial();
            let taken = match through_a_record {
                true => house.registry.set_status(&serial, Inactive, Some(now())).unwrap().live,
                false => {
                    let certificate = ca.certificate();
                    house.registry.register("sub", certificate, Inactive, now()).unwrap().live
                }
            };
            assert_eq!(taken.ended, 1);
            let again = if through_a_record { Set(Active) } else { Delete };
            house.take(ca, again);
            let leaving = thread::spawn(move || drop(early));
            let coming = [(); 2].map(|()| {
                let house = Arc::clone(&house);
                thread::spawn(move || house.stay(device))
            });
            let late: Vec<_> = coming.into_iter().filter_map(joined).collect();
            assert_eq!(late.len(), 2, "nothing forbids them");
            joined(leaving);
            assert_eq!(house.registry.connections(), 2);
            let root = fleet.root.serial();
            let change = house.registry.set_status(&root, Inactive, Some(now())).unwrap().live;
            assert_eq!(change.ended, 2, "both are still found");
            drop(late);
            assert_eq!(house.registry.connections(), 0);
            assert!(house.registry.get(&root).unwrap().live().is_empty());
        });
    }
}

/// A house, the CA that is changed in it, and who lives there.
struct Street {
    house: Arc<House>,
    ca: &'static TestCa,
}

/// One who was admitted, and when it polled with success: before and behind.
struct Resident {
    captured: u64,
    judged: u64,
    polled: Vec<(u64, u64)>,
    admitted: Admitted,
}

impl Street {
    fn new(at_first: Option<CaStatus>, ca: &'static TestCa) -> Self {
        let house = House::new();
        if let Some(status) = at_first {
            house.take(ca, Register(status));
        }
        Self { house, ca }
    }

    /// Takes `steps` while devices come in and poll.
    fn run(&self, steps: &'static [Step], device: &'static Identity) {
        let devices = [(); 2].map(|()| {
            let house = Arc::clone(&self.house);
            thread::spawn(move || (0..2).map(|_| house.reside(device)).collect::<Vec<_>>())
        });
        let ticks = &self.house.ticks;
        let mut ended = 0;
        let mut ends = vec![];
        for step in steps {
            let called = ticks.tick();
            ended += self.house.count(self.ca, *step);
            if !matches!(step, Set(Active) | Register(Active)) {
                ends.push((called, ticks.tick(), *step));
            }
        }
        let visits: Vec<_> = devices.into_iter().flat_map(joined).collect();
        let refused = visits.iter().filter(|visit| visit.is_none()).count();
        let residents: Vec<_> = visits.into_iter().flatten().collect();
        let over = |resident: &&Resident| resident.admitted.membership.lifeline().ended().is_some();
        // Whoever is met in the gate is counted, too, and then refused there.
        let counted = residents.iter().filter(over).count();
        assert!((counted..=counted + refused).contains(&ended), "{counted} of {ended}: {steps:?}");
        for resident in &residents {
            for (called, returned, step) in &ends {
                let polled = &resident.polled;
                assert!(
                    resident.judged < *called
                        || resident.captured > *called
                        || matches!(step, Delete)
                        || !polled.iter().any(|(began, _)| began > returned),
                    "came between and polls: {steps:?}"
                );
                let after = polled.iter().any(|(began, _)| began > returned);
                let before = resident.judged < *called;
                let stays = matches!(step, Delete) && std::ptr::eq(self.ca, &FLEET.sub);
                assert!(!(before && after) || stays, "polls behind its end: {steps:?}");
            }
            let excuse = ends.iter().any(|(_, returned, _)| *returned > resident.captured);
            assert!(!over(&resident) || excuse, "ended by what came before it: {steps:?}");
        }
        drop(residents);
        assert_eq!(self.house.registry.connections(), 0);
    }
}

impl House {
    /// How many connections a step ended.
    fn count(&self, ca: &TestCa, step: Step) -> usize {
        let serial = ca.serial();
        let live = match step {
            Register(status) => {
                self.registry.register("fleet", ca.certificate(), status, now()).unwrap().live
            }
            Set(status) => self.registry.set_status(&serial, status, Some(now())).unwrap().live,
            Delete => self.registry.delete(&serial, Some(now())).unwrap().live,
        };
        live.ended
    }

    /// Comes in, if it may.
    fn stay(&self, device: &Identity) -> Option<Admitted> {
        let (end_entity, intermediates) = device.chain.split_first().unwrap();
        let finding = self.verifier.examine(end_entity, intermediates, now(), Moment::now());
        thread::yield_now();
        finding.and_then(|verdict| verdict.admit(&self.registry, now())).ok()
    }

    /// Comes in, if it may, and polls.
    fn reside(&self, device: &Identity) -> Option<Resident> {
        let (end_entity, intermediates) = device.chain.split_first().unwrap();
        let moment = Moment::now();
        let captured = self.ticks.tick();
        let finding = self.verifier.examine(end_entity, intermediates, now(), moment);
        let admitted = finding.and_then(|verdict| verdict.admit(&self.registry, now())).ok()?;
        let judged = self.ticks.tick();
        let lifeline = Arc::clone(admitted.membership.lifeline());
        let written = AtomicU64::new(0);
        let mut polled = vec![];
        for _ in 0..2 {
            let began = self.ticks.tick();
            if polls(&lifeline, &written) {
                polled.push((began, self.ticks.tick()));
            }
        }
        Some(Resident { captured, judged, polled, admitted })
    }
}
