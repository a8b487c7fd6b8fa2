//! What a case is held to.

use std::fmt;
use std::time::Duration;

/// How a case is timed, and what it is held to.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// How many iterations make a slice. It should take long beside the clock's 25 ns and short
    /// beside the scheduler's milliseconds.
    pub(crate) slice: u64,
    /// Of how many equal things an iteration is a block; the summary tells the time of one.
    pub(crate) block: u64,
    pub(crate) bar: Bar,
}

#[allow(dead_code, reason = "each bench that includes this file has terms of its own kind")]
impl Terms {
    pub(crate) const fn new(slice: u64, bar: Bar) -> Self {
        Self { slice, block: 1, bar }
    }

    /// Iterations that take a good part of a second each, and are blocks of many equal things.
    pub(crate) const fn blocks(block: u64, bar: Bar) -> Self {
        Self { slice: 1, block, bar }
    }
}

/// A bar that is missed is printed and ends nothing: a noisy machine misses any.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "each bench that includes this file has bars of its own kind")]
pub(crate) enum Bar {
    /// mqtls takes at most so many times what the baseline takes.
    Ratio(f64),
    /// One iteration of mqtls takes at most so long.
    Time(Duration),
    /// One iteration of mqtls takes at most so much longer than one of the baseline.
    More(Duration),
    /// Shown, and held to nothing.
    None,
}

/// What a case came to.
pub(crate) struct Figures {
    pub(crate) ratio: f64,
    /// The ratio of mqtls to itself: how far it is from 1 is how far the other may be off.
    pub(crate) control: f64,
    /// One iteration of mqtls, or one thing in it, and the same of the baseline.
    pub(crate) mqtls: Duration,
    pub(crate) baseline: Duration,
    pub(crate) rounds: usize,
}

impl Figures {
    /// Whether nothing is missing that a ratio is made of.
    pub(crate) fn are_complete(&self) -> bool {
        self.rounds >= LEAST_ROUNDS && self.ratio.is_finite() && self.control.is_finite()
    }

    /// How they stand to a bar.
    pub(crate) fn held_to(&self, bar: Bar) -> String {
        let held = |holds: bool| if holds { "held" } else { "MISSED" };
        match bar {
            Bar::Ratio(most) => format!("bar {most:.2}: {}", held(self.ratio <= most)),
            Bar::Time(most) => format!("bar {most:?}: {}", held(self.mqtls <= most)),
            Bar::More(most) => {
                let more = self.mqtls.saturating_sub(self.baseline);
                format!("{} more, bar {most:?}: {}", written(more), held(more <= most))
            }
            Bar::None => "no bar".to_owned(),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ratio, control, mqtls, baseline, rounds } = self;
        write!(
            f,
            "mqtls/baseline = {ratio:.3} (A/A control {control:.3}), {} / {}, \
             median of {rounds} rounds",
            written(*mqtls),
            written(*baseline),
        )
    }
}

fn written(time: Duration) -> String {
    let nanoseconds = time.as_secs_f64() * 1e9;
    if nanoseconds < 1e4 {
        format!("{nanoseconds:.0} ns")
    } else {
        format!("{:.1} µs", nanoseconds / 1e3)
    }
}

const LEAST_ROUNDS: usize = 5;
