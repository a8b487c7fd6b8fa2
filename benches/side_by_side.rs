//! Times two contenders in short alternating slices, so that a noisy machine shifts both.
//!
//! Every `iter_custom` call runs its iterations for *both* contenders, slice by slice, and returns
//! the time of the one whose id it is: criterion's estimates for `<bench>/mqtls/<case>` and
//! `<bench>/baseline/<case>` are each honest, but were made one after the other. The ratio is
//! therefore not theirs. It is taken from pairs of slices timed one right after the other: the
//! median of a round's pairs, and of those the median over all rounds. Beside it stands the same
//! figure of control rounds in which mqtls runs against itself: how far that is from 1 is how far
//! the ratio may be off. What it cannot show is how the tables happened to lie in memory, which
//! differs from one run of the program to the next.

use std::fmt::Display;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};

/// The questions of one bench file, with the ratios that answer them.
pub(crate) struct SideBySide {
    criterion: Criterion,
    bench: &'static str,
    summary: Vec<String>,
}

impl SideBySide {
    /// Takes criterion's options from the command line.
    pub(crate) fn from_args(bench: &'static str) -> Self {
        let criterion = Criterion::default()
            .warm_up_time(Duration::from_secs(1))
            .measurement_time(Duration::from_secs(5))
            .configure_from_args();
        Self { criterion, bench, summary: vec![] }
    }

    /// Compares what `prepare` makes, in slices of `slice` iterations; nothing is prepared for a
    /// case that the command line filters out. A slice should take long beside the clock's 25 ns
    /// and short beside the scheduler's milliseconds.
    pub(crate) fn compare<A, B>(
        &mut self,
        case: impl Display,
        slice: u64,
        prepare: impl Fn() -> Contenders<A, B>,
    ) where
        A: FnMut(u64) -> Duration,
        B: FnMut(u64) -> Duration,
    {
        let mut prepared = None;
        let mut group = self.criterion.benchmark_group(self.bench);
        for side in [Side::Mqtls, Side::Baseline] {
            group.bench_function(BenchmarkId::new(side.name(), &case), |bencher| {
                let contest = prepared.get_or_insert_with(|| Match::new(prepare(), slice));
                bencher.iter_custom(|iterations| contest.run(iterations).of(side));
            });
        }
        group.finish();
        let ratios = prepared.and_then(|contest| contest.ratios(self.bench, &case));
        self.summary.extend(ratios);
    }

    /// Prints the ratio of every case.
    pub(crate) fn finish(self) {
        self.criterion.final_summary();
        for line in self.summary {
            println!("{line}");
        }
    }
}

/// Two ways to do the same thing. Each runs so many iterations and tells how long they took; what
/// it does not count, as a client's part of a handshake, is in no figure.
pub(crate) struct Contenders<A, B> {
    pub(crate) mqtls: A,
    pub(crate) baseline: B,
}

/// Counts all of the time that `call` takes, what it returns dropped within.
#[allow(dead_code, reason = "a bench whose calls time themselves does without")]
pub(crate) fn whole<R>(mut call: impl FnMut() -> R) -> impl FnMut(u64) -> Duration {
    move |iterations| {
        let start = Instant::now();
        for _ in 0..iterations {
            drop(std::hint::black_box(call()));
        }
        start.elapsed()
    }
}

#[derive(Clone, Copy)]
enum Side {
    Mqtls,
    Baseline,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Mqtls => "mqtls",
            Self::Baseline => "baseline",
        }
    }
}

/// The time that each of two sides took for equally many iterations.
#[derive(Clone, Copy, Default)]
struct Times {
    mqtls: Duration,
    /// The baseline's, or in a control round that of mqtls once more.
    other: Duration,
}

impl Times {
    fn of(self, side: Side) -> Duration {
        match side {
            Side::Mqtls => self.mqtls,
            Side::Baseline => self.other,
        }
    }

    fn both(self) -> Duration {
        self.mqtls + self.other
    }

    fn ratio(self) -> f64 {
        self.mqtls.as_secs_f64() / self.other.as_secs_f64()
    }
}

/// Pairs of slices, the two of each timed one right after the other.
#[derive(Default)]
struct Round(Vec<Times>);

impl Round {
    fn total(&self) -> Times {
        self.0.iter().fold(Times::default(), |total, pair| Times {
            mqtls: total.mqtls + pair.mqtls,
            other: total.other + pair.other,
        })
    }

    /// The median of the pairs' ratios: what the scheduler does to one slice spoils one pair.
    fn ratio(self) -> f64 {
        median(self.0.into_iter().map(Times::ratio).collect())
    }
}

/// Two contenders, and the rounds that they have run.
struct Match<A, B> {
    contenders: Contenders<A, B>,
    slice: u64,
    /// Which side goes first: the other one in every other pair of slices, so that neither always
    /// finds the caches as the other left them.
    mqtls_first: bool,
    /// The round under way, and its iterations.
    round: (Round, u64),
    ratios: Vec<f64>,
    controls: Vec<f64>,
}

impl<A, B> Match<A, B>
where
    A: FnMut(u64) -> Duration,
    B: FnMut(u64) -> Duration,
{
    fn new(contenders: Contenders<A, B>, slice: u64) -> Self {
        let (ratios, controls) = (vec![], vec![]);
        Self { contenders, slice, mqtls_first: true, round: Default::default(), ratios, controls }
    }

    /// One call of `iter_custom`: a round, or a part of one where the call is short.
    fn run(&mut self, iterations: u64) -> Times {
        let pairs = self.alternate(iterations, Side::Baseline);
        let times = pairs.total();
        self.round.0.0.extend(pairs.0);
        self.round.1 += iterations;
        if self.round.0.total().both() >= ROUND {
            let (round, iterations) = std::mem::take(&mut self.round);
            self.ratios.push(round.ratio());
            let control = self.alternate(iterations, Side::Mqtls);
            self.controls.push(control.ratio());
        }
        times
    }

    fn alternate(&mut self, iterations: u64, against: Side) -> Round {
        let mut pairs = Round::default();
        let mut left = iterations;
        while left > 0 {
            let slice = left.min(self.slice);
            left -= slice;
            let mut pair = Times::default();
            for mqtls in [self.mqtls_first, !self.mqtls_first] {
                if mqtls {
                    pair.mqtls = (self.contenders.mqtls)(slice);
                } else {
                    pair.other = match against {
                        Side::Baseline => (self.contenders.baseline)(slice),
                        Side::Mqtls => (self.contenders.mqtls)(slice),
                    };
                }
            }
            self.mqtls_first = !self.mqtls_first;
            pairs.0.push(pair);
        }
        pairs
    }

    /// What is printed of this case; nothing after `--test`, which makes no rounds.
    fn ratios(self, bench: &str, case: &impl Display) -> Option<String> {
        let rounds = self.ratios.len();
        if rounds < LEAST_ROUNDS {
            return None;
        }
        let (ratio, control) = (median(self.ratios), median(self.controls));
        Some(format!(
            "{bench}/{case}: mqtls/baseline = {ratio:.3} (A/A control {control:.3}), \
             median of {rounds} rounds"
        ))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(f64::NAN);
    let lower = values.get(middle.wrapping_sub(1)).copied().unwrap_or(upper);
    if values.len() % 2 == 1 { upper } else { f64::midpoint(lower, upper) }
}

/// The time of both sides that makes a round: many slices of each.
const ROUND: Duration = Duration::from_millis(40);
const LEAST_ROUNDS: usize = 5;
