//! Devices on record beside changes to them: whoever is let in is ended by whatever comes after, and
//! the tables agree.

use std::sync::PoisonError;

use DeviceStatus::{Active as On, Inactive as Off};

use super::super::binding::{Binding, Incarnation};
use super::super::candidate::{Candidate, Offered};
use super::super::devices::{DeviceStatus, Provisioning, RecordedDevice};
use super::super::lifeline::Lifeline;
use super::super::plain_text::PlainText;
use super::super::verdict::{Admitted, Verdict};
use super::*;
use crate::certificate::{RevocationList, SerialNumber};
use crate::timeline::{Barred, Effect};

#[test]
fn whoever_is_admitted_is_ended_by_what_comes_after_and_the_tables_agree() {
    let scripts: [(Option<DeviceStatus>, &[Act]); 20] = [
        (Some(On), &[Act::Set(On)]),
        (Some(On), &[Act::Set(Off)]),
        (Some(On), &[Act::Set(Off), Act::Set(On)]),
        (Some(Off), &[Act::Set(On)]),
        (Some(Off), &[Act::Set(On), Act::Set(Off)]),
        (Some(On), &[Act::Delete]),
        (Some(On), &[Act::Delete, Act::Record(Off)]),
        (Some(On), &[Act::Delete, Act::Record(On)]),
        (Some(On), &[Act::Set(Off), Act::Delete]),
        (Some(Off), &[Act::Delete]),
        (None, &[Act::Delete, Act::Delete]),
        (None, &[Act::Set(Off), Act::Delete]),
        (None, &[Act::Set(Off), Act::Set(On)]),
        (None, &[Act::Record(Off)]),
        (None, &[Act::Record(Off), Act::Set(On)]),
        (None, &[Act::Record(On), Act::Set(Off)]),
        (None, &[Act::DeleteCa]),
        (Some(On), &[Act::DeleteCa, Act::RegisterCa]),
        (None, &[Act::Revoke]),
        (Some(On), &[Act::Revoke, Act::RevokeNobody]),
    ];
    for (at_first, acts) in scripts {
        explore(SCHEDULES, move || {
            Scene::own(&[2, 1]).run(at_first, acts, at_first == Some(On));
        });
    }
}

#[test]
fn a_handshake_that_is_long_under_way_is_kept_out() {
    let scripts: [(Option<DeviceStatus>, &[Act]); 6] = [
        (Some(On), &[Act::Set(Off)]),
        (Some(On), &[Act::Delete]),
        (Some(On), &[Act::Delete, Act::Come]),
        (None, &[Act::Come, Act::Delete, Act::Come]),
        (None, &[Act::DeleteCa]),
        (None, &[Act::Revoke]),
    ];
    for (at_first, acts) in scripts {
        explore(8 * SCHEDULES, move || Scene::own(&[1]).run(at_first, acts, false));
    }
}

#[test]
fn what_becomes_of_a_record_under_another_ca_counts_for_whoever_comes_through_this_one() {
    let scripts: [(Option<DeviceStatus>, &[Act]); 11] = [
        (Some(On), &[Act::Set(Off)]),
        (Some(On), &[Act::Set(Off), Act::Set(On)]),
        (Some(On), &[Act::Set(Off), Act::Set(On), Act::Come]),
        (Some(Off), &[Act::Set(On)]),
        (Some(On), &[Act::Delete]),
        (Some(On), &[Act::Set(Off), Act::Delete]),
        (Some(Off), &[Act::Delete]),
        (None, &[Act::Record(Off)]),
        (None, &[Act::Record(Off), Act::Set(On)]),
        (None, &[Act::Record(On), Act::Set(Off)]),
        (Some(Off), &[Act::DeleteCa]),
    ];
    for (at_first, acts) in scripts {
        for known_here in [false, true] {
            explore(SCHEDULES, move || {
                Scene::through_a_twin(false).run(at_first, acts, known_here);
            });
        }
    }
}

#[test]
fn whoever_comes_in_on_a_record_under_another_ca_goes_with_it() {
    let scripts: [(Option<DeviceStatus>, &[Act]); 6] = [
        (Some(On), &[Act::Set(Off)]),
        (Some(On), &[Act::Set(Off), Act::Set(On)]),
        (Some(On), &[Act::Delete]),
        (Some(On), &[Act::DeleteCa]),
        (None, &[Act::Record(On)]),
        (None, &[Act::Record(On), Act::DeleteCa]),
    ];
    for (at_first, acts) in scripts {
        explore(2 * SCHEDULES, move || {
            Scene::through_a_twin(true).run(at_first, acts, false);
        });
    }
}

#[test]
fn two_first_handshakes_at_a_time_make_one_record_and_both_stand_under_it() {
    explore(20 * SCHEDULES, || {
        let scene = Scene::own(&[]);
        let visits = [(); 2].map(|()| {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.visit(&FLEET.device, &mut None).admitted.unwrap())
        });
        let admitted = visits.map(joined);
        assert_eq!(admitted.iter().filter(|admitted| admitted.is_new).count(), 1);
        let record = scene.record().unwrap();
        assert_eq!((record.connections(), record.live_connections()), (2, 2));
        let change = scene.change(Act::Set(Off)).unwrap();
        assert_eq!(change, Effect { admits: false, ends_attempts: true });
        assert!(admitted.iter().all(|admitted| admitted.membership.lifeline().is_cut()));
        scene.assert_agrees();
    });
}

#[test]
fn whatever_operations_meet_the_tables_agree() {
    let pairs: [(&[Act], &[Act]); 6] = [
        (&[Act::Set(Off), Act::Set(On)], &[Act::Delete]),
        (&[Act::Record(On), Act::Delete], &[Act::Record(Off), Act::Delete]),
        (&[Act::DeleteCa], &[Act::Record(On)]),
        (&[Act::DeleteCa, Act::RegisterCa], &[Act::Delete, Act::Record(Off)]),
        (&[Act::DeleteCa], &[Act::Set(Off), Act::Set(On)]),
        (&[Act::Revoke], &[Act::DeleteCa, Act::RegisterCa]),
    ];
    for (ours, theirs) in pairs {
        explore(SCHEDULES, move || {
            let scene = Scene::own(&[]);
            let other = Arc::clone(&scene);
            let operator = thread::spawn(move || {
                theirs.iter().for_each(|act| _ = other.change(*act));
            });
            let visitor = scene.spawn_visits(2, None);
            ours.iter().for_each(|act| _ = scene.change(*act));
            joined(operator);
            let visits = joined(visitor);
            scene.assert_agrees();
            drop(visits);
            assert_eq!(scene.house.registry.connections(), 0);
        });
    }
}

/// What an operator does about the device, or about the CA under which it is on record.
#[derive(Clone, Copy, Debug)]
enum Act {
    Record(DeviceStatus),
    Set(DeviceStatus),
    Delete,
    /// The device comes in once more, on the operator's own thread.
    Come,
    RegisterCa,
    DeleteCa,
    Revoke,
    /// With a later list.
    RevokeNobody,
}

/// A house in which the record of a device under one CA is changed while it comes in.
struct Scene {
    house: Arc<House>,
    /// Whether it comes in through that CA, and not through its twin.
    is_own: bool,
    /// Whether it comes in on a record that was made beforehand only.
    registered_only: bool,
    /// How often it comes in, on as many threads.
    visits: &'static [usize],
    barred: std::sync::Mutex<Barred>,
    /// Who was admitted so far, and when.
    up: std::sync::Mutex<Vec<(u64, Arc<Lifeline>)>>,
}

impl std::ops::Deref for Scene {
    type Target = House;

    fn deref(&self) -> &House {
        &self.house
    }
}

/// How a device's attempt to come in went.
struct Visit {
    attempt: Attempt,
    admitted: Option<Admitted>,
}

/// What a device comes back with, and when the full handshake began that it goes back to.
struct Ticket {
    plain: Vec<u8>,
    captured: u64,
}

impl Scene {
    /// A device that comes through the CA whose record is changed.
    fn own(visits: &'static [usize]) -> Arc<Self> {
        let house = House::new();
        house.take(&FLEET.root, Register(Active));
        let (is_own, registered_only, (barred, up)) = (true, false, Default::default());
        Arc::new(Self { house, is_own, registered_only, visits, barred, up })
    }

    /// A device that comes through the CA's renewed twin.
    fn through_a_twin(registered_only: bool) -> Arc<Self> {
        let mut settings = TrustSettings::default();
        if registered_only {
            settings.devices.provisioning = Provisioning::RegisteredOnly;
        }
        let house = House::with(settings);
        house.take(&FLEET.root, Register(Inactive));
        house.take(&TWIN, Register(Active));
        let twin = house.registry.get(&TWIN.serial()).unwrap();
        house.registry.register_device(&twin, &OTHER.chain, On, now()).unwrap();
        let (is_own, visits, (barred, up)) = (false, &[2, 1][..], Default::default());
        Arc::new(Self { house, is_own, registered_only, visits, barred, up })
    }

    /// Takes these steps while the device comes in, with a ticket where it was there before, and holds
    /// every answer against what is right.
    fn run(
        self: &Arc<Self>,
        at_first: Option<DeviceStatus>,
        acts: &'static [Act],
        was_there: bool,
    ) {
        let bystander = self.visit(&OTHER, &mut None);
        let mut ticket = None;
        let earlier = was_there.then(|| self.visit(&FLEET.device, &mut ticket));
        if let Some(status) = at_first {
            self.change(Act::Record(status)).or_else(|| self.change(Act::Set(status)));
        }
        let admits_at_first = match at_first {
            Some(status) => status == On,
            None => !self.registered_only,
        };
        let mut timeline = Timeline::new(admits_at_first);
        // Before the first status it was another story.
        let mut visits: Vec<_> = earlier.into_iter().filter(|_| at_first != Some(Off)).collect();
        let spawn = |times: &usize| self.spawn_visits(*times, ticket.take());
        let coming: Vec<_> = self.visits.iter().map(spawn).collect();
        for act in acts {
            if let Act::Come = act {
                visits.push(self.visit(&FLEET.device, &mut None));
                continue;
            }
            let called = self.ticks.tick();
            let Some(effect) = self.change(*act) else { continue };
            let returned = self.ticks.tick();
            timeline.note(called, returned, effect);
            let up = self.up.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut before = up.iter().filter(|(since, _)| *since < called);
            assert!(
                before.all(|(_, lifeline)| lifeline.is_cut()),
                "stays up: {at_first:?} {acts:?}"
            );
        }
        visits.extend(coming.into_iter().flat_map(joined));
        let context = (at_first, acts);
        for Visit { attempt, admitted } in &visits {
            timeline.assert_right(attempt, &context);
            let Some(admitted) = admitted else { continue };
            let over = admitted.membership.lifeline().is_cut();
            let told = |what| format!("{what}: {attempt:?} {timeline:#?} {context:?}");
            assert!(over || !timeline.must_be_over(attempt), "{}", told("stays up"));
            assert!(
                !over || timeline.may_be_over(attempt, u64::MAX),
                "{}",
                told("ended for nothing")
            );
        }
        // Of two records one is barred before the other, until the call returns.
        if self.is_own {
            timeline.assert_met_in_order(visits.iter().map(|visit| &visit.attempt), &context);
        }
        timeline.assert_right(&self.visit(&FLEET.device, &mut None).attempt, &"afterwards");
        let spared = bystander.admitted.as_ref().unwrap().membership.lifeline().ended().is_none();
        let with_all = self.is_own && acts.iter().any(|act| matches!(act, Act::DeleteCa));
        assert_eq!(spared, !with_all, "{context:?}");
        self.assert_agrees();
        drop((visits, bystander));
        assert_eq!(self.house.registry.connections(), 0);
    }

    fn spawn_visits(
        self: &Arc<Self>,
        times: usize,
        mut ticket: Option<Ticket>,
    ) -> JoinHandle<Vec<Visit>> {
        let scene = Arc::clone(self);
        thread::spawn(move || (0..times).map(|_| scene.visit(&FLEET.device, &mut ticket)).collect())
    }

    /// A whole handshake, resumed where the ticket is still good. It leaves another ticket.
    fn visit(&self, device: &Identity, ticket: &mut Option<Ticket>) -> Visit {
        let (end_entity, intermediates) = device.chain.split_first().unwrap();
        let began = self.ticks.tick();
        let moment = Moment::now();
        let captured = self.ticks.tick();
        let recalled = ticket.take().and_then(|ticket| self.recall(ticket));
        let (finding, captured) = match recalled {
            Some((candidate, captured)) => {
                let plain = candidate.seal(&session(end_entity)).unwrap();
                *ticket = Some(Ticket { plain, captured });
                (candidate.verdict(Some(end_entity)).map(Option::unwrap), captured)
            }
            None => {
                let verifier = &self.house.verifier;
                let finding = verifier.examine(end_entity, intermediates, now(), moment);
                *ticket = finding
                    .as_ref()
                    .ok()
                    .map(|verdict| Ticket { plain: sealed(verdict, end_entity), captured });
                (finding, captured)
            }
        };
        let judged = self.ticks.tick();
        let admitted = finding.and_then(|verdict| verdict.admit(&self.registry, now())).ok();
        let ended = self.ticks.tick();
        if let Some(admitted) = admitted.as_ref().filter(|_| device.chain == FLEET.device.chain) {
            let lifeline = Arc::clone(admitted.membership.lifeline());
            self.up.lock().unwrap_or_else(PoisonError::into_inner).push((ended, lifeline));
        }
        let is_admitted = admitted.is_some();
        Visit {
            attempt: Attempt { began, captured, judged, ended, admitted: is_admitted },
            admitted,
        }
    }

    fn recall(&self, Ticket { plain, captured }: Ticket) -> Option<(Candidate, u64)> {
        let offered = |_: &Binding<'_>| Ok(Offered { now: now(), after: 0 });
        let recalled = Candidate::recall(&plain, offered, &self.registry);
        recalled.ok().map(|(_, candidate)| (candidate, captured))
    }

    /// Takes one step, and tells what it changed for the device.
    fn change(&self, act: Act) -> Option<Effect> {
        let (ca, device) = (FLEET.root.serial(), FLEET.device.serial());
        let authority = self.registry.get(&ca);
        let with_barred = |change: &dyn Fn(&mut Barred) -> Option<Effect>| {
            change(&mut self.barred.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let without_record = || Some(Effect { admits: false, ends_attempts: false });
        match act {
            Act::Record(status) => {
                let chain = &FLEET.device.chain;
                let recorded = self.registry.register_device(&authority?, chain, status, now());
                recorded.ok()?;
                let effect = with_barred(&|barred| barred.set(self.is_own, status == Off));
                let lets_in = Effect { admits: true, ends_attempts: false };
                if self.registered_only { effect.or(Some(lets_in)) } else { effect }
            }
            Act::Set(status) => {
                let change =
                    self.registry.set_device_status(authority.as_ref()?, &device, status)?;
                let effect = with_barred(&|barred| barred.set(self.is_own, status == Off));
                effect.filter(|_| change.changed)
            }
            Act::Delete => {
                self.registry.delete_device(authority.as_ref()?, &device, Some(now()))?;
                let effect = with_barred(&|barred| barred.delete(self.is_own));
                if self.registered_only { without_record() } else { effect }
            }
            Act::DeleteCa => {
                self.registry.delete(&ca, Some(now()))?;
                let effect = with_barred(&|barred| barred.delete(self.is_own));
                if self.is_own || self.registered_only { without_record() } else { effect }
            }
            Act::RegisterCa => {
                self.take(&FLEET.root, Register(Active));
                Some(Effect { admits: true, ends_attempts: true })
            }
            Act::Revoke | Act::RevokeNobody => {
                let list = &LISTS[usize::from(matches!(act, Act::RevokeNobody))];
                self.registry.load_revocations(&ca, list, now())?.ok()?;
                Some(Effect { admits: matches!(act, Act::RevokeNobody), ends_attempts: false })
            }
            Act::Come => None,
        }
    }

    fn record(&self) -> Option<Arc<RecordedDevice>> {
        self.registry.device(&FLEET.root.serial(), &FLEET.device.serial())
    }

    fn assert_agrees(&self) {
        let authorities = self.registry.list(None, 10).authorities;
        self.registry.devices().assert_agrees(&authorities);
    }
}

static TWIN: LazyLock<TestCa> = LazyLock::new(|| FLEET.root.twin(|_| {}));
static OTHER: LazyLock<Identity> = LazyLock::new(|| FLEET.root.device("other"));
/// One with the device, and a later one with nobody.
static LISTS: LazyLock<[RevocationList; 2]> = LazyLock::new(|| {
    let list = |number, revoked: &[SerialNumber]| {
        RevocationList::from_der(&FLEET.root.list(number, revoked, |_| {})).unwrap()
    };
    [list(1, &[FLEET.device.serial()]), list(2, &[])]
});

/// How many orders of steps are tried of each script, twice.
const SCHEDULES: usize = 60;

/// What rustls would have sealed in a ticket of whoever showed this.
fn session(end_entity: &[u8]) -> Vec<u8> {
    [b"session ", end_entity].concat()
}

/// What a ticket says that is issued in a full handshake.
fn sealed(verdict: &Verdict, end_entity: &[u8]) -> Vec<u8> {
    let (incarnation, device) = (Incarnation([0; 8]), Some(verdict.bind()));
    let binding = Binding { incarnation, full_at: NOW, device };
    let session = session(end_entity);
    PlainText::write(&session, Some(end_entity), 0, |octets| binding.write(octets)).unwrap()
}
