//! What callers can tell about the order of things, and which answers are right then.
//!
//! The models of concurrency inside the crate include this file too.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

/// A clock that counts: what happened before has a smaller number.
#[derive(Debug, Default)]
pub(crate) struct Ticks(AtomicU64);

impl Ticks {
    pub(crate) fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// The changes by which a device came to be admitted or refused, made one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    admits_at_first: bool,
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    called: u64,
    returned: u64,
    admits: bool,
    /// Whether it ends what began before it, also where it changes the answer back. Deleting a
    /// record does not by itself, and what happened to that record before is forgotten.
    ends_attempts: bool,
}

impl Timeline {
    pub(crate) fn new(admits: bool) -> Self {
        Self { admits_at_first: admits, changes: vec![] }
    }

    /// Makes a change after which the device is admitted, or not.
    pub(crate) fn change<R>(
        &mut self,
        ticks: &Ticks,
        admits: bool,
        ends_attempts: bool,
        make: impl FnOnce() -> R,
    ) -> R {
        let called = ticks.tick();
        let made = make();
        self.note(called, ticks.tick(), Effect { admits, ends_attempts });
        made
    }

    /// Notes a change that was made already, with the ticks before and behind it.
    pub(crate) fn note(&mut self, called: u64, returned: u64, effect: Effect) {
        let Effect { admits, ends_attempts } = effect;
        self.changes.push(Change { called, returned, admits, ends_attempts });
    }

    /// Holds the answer to an attempt against what is right.
    pub(crate) fn assert_right(&self, attempt: &Attempt, context: &dyn Debug) {
        let Attempt { began, captured, judged, ended, admitted } = *attempt;
        let wrong = |why| panic!("{why}: {attempt:?} {self:#?} {context:?}");
        if admitted && !self.may_admit(judged, ended) {
            wrong("admitted after a change had returned that forbids it");
        }
        if admitted && self.was_ended(captured, judged, ended) {
            wrong("admitted although a change came between its beginning and the judgement");
        }
        match self.while_nothing_changed(began, ended) {
            Some(true) if !admitted => wrong("refused while nothing changed"),
            Some(false) if admitted => wrong("admitted while nothing changed"),
            _ => {}
        }
    }

    /// Of attempts that met no more than one change: once one of them is answered from behind it,
    /// none that comes later is answered from before it.
    pub(crate) fn assert_met_in_order<'a>(
        &self,
        attempts: impl Iterator<Item = &'a Attempt> + Clone,
        context: &dyn Debug,
    ) {
        let mut admitted_before = self.admits_at_first;
        for (at, change) in self.changes.iter().enumerate() {
            let from = at.checked_sub(1).map_or(0, |before| self.changes[before].returned);
            let to = self.changes.get(at + 1).map_or(u64::MAX, |next| next.called);
            if change.admits != admitted_before {
                let near = attempts.clone().filter(|it| from <= it.began && it.ended <= to);
                change.assert_met_in_order(near, context);
            }
            admitted_before = change.admits;
        }
    }

    /// Whether one who was admitted must be over when all changes have been made.
    #[allow(dead_code, reason = "asked by the models only")]
    pub(crate) fn must_be_over(&self, attempt: &Attempt) -> bool {
        let Attempt { captured, judged, ended, .. } = *attempt;
        let by = |(at, change): (usize, &Change)| {
            let next = self.changes.get(at + 1).map_or(u64::MAX, |next| next.called);
            !change.admits && judged < change.returned && ended < next
        };
        self.came_between(ended, u64::MAX)
            || self.was_ended(captured, u64::MAX, ended)
            || self.changes.iter().enumerate().any(by)
    }

    /// Whether all of some change lies between two ticks.
    pub(crate) fn came_between(&self, since: u64, at: u64) -> bool {
        self.changes.iter().any(|change| since < change.called && change.returned < at)
    }

    /// Whether a change may have ended one who was admitted, before some tick.
    pub(crate) fn may_be_over(&self, attempt: &Attempt, at: u64) -> bool {
        self.changes.iter().any(|change| change.returned > attempt.began && change.called < at)
    }

    /// Whether a change came between, and its record is still there to tell.
    fn was_ended(&self, captured: u64, judged: u64, ended: u64) -> bool {
        let up_to_now = self.changes.iter().rev().skip_while(|change| change.called > ended);
        let mut on_record = up_to_now.take_while(|change| change.ends_attempts);
        on_record.any(|change| captured < change.called && change.returned < judged)
    }

    /// Whether there may have been an instant in a span at which the device is admitted.
    fn may_admit(&self, from: u64, to: u64) -> bool {
        self.before(from)
            || self
                .changes
                .iter()
                .any(|change| change.admits && change.returned >= from && change.called <= to)
    }

    /// The answer throughout a span; `None` where a change fell into it.
    fn while_nothing_changed(&self, from: u64, to: u64) -> Option<bool> {
        let outside = |change: &Change| change.returned < from || change.called > to;
        self.changes.iter().all(outside).then(|| self.before(from))
    }

    fn before(&self, from: u64) -> bool {
        let past = self.changes.iter().rev().find(|change| change.returned < from);
        past.map_or(self.admits_at_first, |change| change.admits)
    }
}

/// How a device stands after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) admits: bool,
    /// Whether it ends what began before it, also where it changes the answer back.
    pub(crate) ends_attempts: bool,
}

/// Whether the records of a device bar it: the one under the CA through which it comes, and the one
/// under another CA. What changes nothing for the device has no effect, and must disturb nobody.
#[derive(Debug, Default)]
pub(crate) struct Barred {
    own: bool,
    elsewhere: bool,
}

impl Barred {
    /// A record got a status that it had not.
    pub(crate) fn set(&mut self, is_own: bool, inactive: bool) -> Option<Effect> {
        let before = self.is_barred();
        *self.place(is_own) = inactive;
        let admits = !self.is_barred();
        (before == admits).then_some(Effect { admits, ends_attempts: true })
    }

    /// A record was forgotten, and whether it was inactive with it. What came in on it is over.
    pub(crate) fn delete(&mut self, is_own: bool) -> Option<Effect> {
        let before = self.is_barred();
        let was_inactive = std::mem::take(self.place(is_own));
        let ends_attempts = is_own && !was_inactive;
        let effect = Effect { admits: true, ends_attempts };
        (!self.is_barred() && (before || ends_attempts)).then_some(effect)
    }

    pub(crate) fn is_barred(&self) -> bool {
        self.own || self.elsewhere
    }

    fn place(&mut self, is_own: bool) -> &mut bool {
        if is_own { &mut self.own } else { &mut self.elsewhere }
    }
}

impl Change {
    fn assert_met_in_order<'a>(
        &self,
        attempts: impl Iterator<Item = &'a Attempt> + Clone,
        context: &dyn Debug,
    ) {
        let met = attempts.clone().filter(|attempt| attempt.admitted == self.admits);
        let Some(first) = met.min_by_key(|attempt| attempt.ended) else {
            return;
        };
        // What refuses counts up to the last judgement, what admits from the beginning.
        let is_later = |attempt: &Attempt| match self.admits {
            true => attempt.began > first.ended,
            false => attempt.judged > first.ended,
        };
        let unmet = attempts.filter(|it| it.admitted != self.admits);
        for attempt in unmet {
            assert!(!is_later(attempt), "{self:?} {first:?} {attempt:?} {context:?}");
        }
    }
}

/// A device's attempt to come in, as seen from outside.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// Before its handshake began.
    pub(crate) began: u64,
    /// After its handshake began: changes that are called later are changes meanwhile.
    pub(crate) captured: u64,
    /// Before the last word about it was asked for: the gate, where it can be seen.
    pub(crate) judged: u64,
    /// After the answer.
    pub(crate) ended: u64,
    pub(crate) admitted: bool,
}
