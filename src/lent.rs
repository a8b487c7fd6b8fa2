//! What is lent to the code that a thread calls, where no argument leads there.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::thread::LocalKey;

/// Where something is lent to whatever runs on a thread.
pub(crate) type Place<T> = LocalKey<Cell<Option<T>>>;

/// Lends `value` while `step` runs, and takes it back, also from a step that panics. What was lent
/// there before is lent again then.
pub(crate) fn lend<T, R>(
    place: &'static Place<T>,
    value: &mut Option<T>,
    step: impl FnOnce() -> R,
) -> R {
    let _taken_back = Lent::new(place, value);
    step()
}

/// Lends `value` in each poll of a future.
pub(crate) async fn lend_to<T, F: Future>(
    place: &'static Place<T>,
    mut value: Option<T>,
    future: F,
) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| lend(place, &mut value, || future.as_mut().poll(context))).await
}

/// Asks for what is lent. `None` where nothing is, also to whoever asks while it is looked at; what
/// a look panics over is gone.
pub(crate) fn borrow<T, R>(place: &'static Place<T>, look: impl FnOnce(&mut T) -> R) -> Option<R> {
    let look = |place: &Cell<Option<T>>| {
        let mut lent = place.take()?;
        let seen = look(&mut lent);
        place.set(Some(lent));
        Some(seen)
    };
    // A thread that is ending may have no places any more.
    place.try_with(look).ok().flatten()
}

struct Lent<'a, T: 'static> {
    place: &'static Place<T>,
    owner: &'a mut Option<T>,
}

impl<'a, T> Lent<'a, T> {
    fn new(place: &'static Place<T>, owner: &'a mut Option<T>) -> Self {
        let mut lent = Self { place, owner };
        lent.swap();
        lent
    }

    fn swap(&mut self) {
        let owner = &mut *self.owner;
        let swap = |place: &Cell<Option<T>>| *owner = place.replace(owner.take());
        let _no_places_any_more = self.place.try_with(swap);
    }
}

impl<T> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        self.swap();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use tokio::task::yield_now;

    use super::*;

    thread_local! {
        static PLACE: Cell<Option<u32>> = const { Cell::new(None) };
    }

    fn count() -> Option<u32> {
        borrow(&PLACE, |number| {
            *number += 1;
            *number
        })
    }

    #[test]
    fn what_is_lent_is_there_in_the_step_and_changed_behind_it() {
        let mut value = Some(1);
        assert_eq!(count(), None);
        assert_eq!(lend(&PLACE, &mut value, || (count(), count())), (Some(2), Some(3)));
        assert_eq!(count(), None);
        assert_eq!(value, Some(3));
        assert_eq!(lend(&PLACE, &mut None, count), None);
    }

    #[test]
    fn a_step_within_a_step_has_its_own() {
        let (mut outer, mut inner) = (Some(10), Some(20));
        let seen = lend(&PLACE, &mut outer, || {
            let before = count();
            let nothing = lend(&PLACE, &mut None, count);
            (before, lend(&PLACE, &mut inner, count), nothing, count())
        });
        assert_eq!(seen, (Some(11), Some(21), None, Some(12)));
        assert_eq!((outer, inner), (Some(12), Some(21)));
    }

    #[test]
    fn a_step_that_panics_gives_it_back() {
        let mut value = Some(1);
        let step = || {
            count();
            std::panic::resume_unwind(Box::new(()));
        };
        catch_unwind(AssertUnwindSafe(|| lend(&PLACE, &mut value, step))).unwrap_err();
        assert_eq!((value, count()), (Some(2), None));
    }

    #[test]
    fn who_asks_while_it_is_looked_at_finds_nothing() {
        let mut value = Some(1);
        let nested = || borrow(&PLACE, |_| count());
        assert_eq!(lend(&PLACE, &mut value, || (nested(), count())), (Some(None), Some(2)));
        let panicking = || borrow(&PLACE, |_| std::panic::resume_unwind(Box::new(())));
        let step = || catch_unwind(AssertUnwindSafe(panicking)).unwrap_err();
        lend(&PLACE, &mut value, step);
        assert_eq!(value, None);
    }

    #[test]
    fn futures_that_take_turns_have_each_their_own() {
        let counting = || async {
            count();
            yield_now().await;
            count()
        };
        let both = async {
            let one = lend_to(&PLACE, Some(10), counting());
            let other = lend_to(&PLACE, Some(20), counting());
            tokio::join!(one, other, async { assert_eq!(count(), None) })
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (one, other, ()) = runtime.block_on(both);
        assert_eq!((one, other, count()), (Some(12), Some(22), None));
    }
}
