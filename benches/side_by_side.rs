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
//!
//! Each case has a [`Bar`], and the summary says whether it holds. A run fails where a case that it
//! measured has no ratio, not where a bar is missed.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};

mod bar;

pub(crate) use bar::{Bar, Terms};

use bar::Figures;

/// The questions of one bench file, with the ratios that answer them.
pub(crate) struct SideBySide {
    criterion: Criterion,
    bench: &'static str,
    summary: Vec<String>,
    /// Whether a case was run and has no ratio.
    incomplete: bool,
}

impl SideBySide {
    /// Takes criterion's options from the command line.
    pub(crate) fn from_args(bench: &'static str) -> Self {
        let criterion = Criterion::default()
            .warm_up_time(Duration::from_secs(1))
            .measurement_time(Duration::from_secs(5))
            .configure_from_args();
        Self { criterion, bench, summary: vec![], incomplete: false }
    }

    /// Compares what `prepare` makes; nothing is prepared for a case that the command line filters
    /// out.
    pub(crate) fn compare<A, B>(
        &mut self,
        case: impl Display,
        terms: Terms,
        prepare: impl Fn() -> Contenders<A, B>,
    ) where
        A: FnMut(u64) -> Duration,
        B: FnMut(u64) -> Duration,
    {
        let mut prepared = None;
        let mut group = self.criterion.benchmark_group(self.bench);
        if terms.block > 1 {
            // An iteration takes so long that a few of them must do.
            group.sampling_mode(SamplingMode::Flat).sample_size(10);
            group
                .measurement_time(Duration::from_secs(1))
                .throughput(Throughput::Elements(terms.block));
        }
        for side in [Side::Mqtls, Side::Baseline] {
            group.bench_function(BenchmarkId::new(side.name(), &case), |bencher| {
                let contest = prepared.get_or_insert_with(|| Match::new(prepare(), terms));
                bencher.iter_custom(|iterations| contest.run(iterations).of(side));
            });
        }
        group.finish();
        if let Some(contest) = prepared.filter(|_| measures()) {
            let (bench, figures) = (self.bench, contest.figures());
            let line = match figures.are_complete() {
                true => format!("{bench}/{case}: {figures}; {}", figures.held_to(terms.bar)),
                false => format!("{bench}/{case}: NO RATIO, {figures}"),
            };
            self.incomplete |= !figures.are_complete();
            self.summary.push(line);
        }
    }

    /// Adds a line to the summary.
    #[allow(dead_code, reason = "a bench that has nothing but ratios to tell does without")]
    pub(crate) fn tell(&mut self, line: String) {
        self.summary.push(line);
    }

    /// Adds what `run` found to the summary, unless the command line filters the case out.
    #[allow(dead_code, reason = "a bench that has nothing but ratios to tell does without")]
    pub(crate) fn report(&mut self, case: impl Display, run: impl FnOnce() -> String) {
        let case = format!("{}/{case}", self.bench);
        let mut filters =
            std::env::args().skip(1).filter(|given| !given.starts_with('-')).peekable();
        if filters.peek().is_none() || filters.any(|filter| case.contains(&filter)) {
            self.summary.push(format!("{case}: {}", run()));
        }
    }

    /// Prints the ratio of every case, and fails where one has none.
    pub(crate) fn finish(self) -> ExitCode {
        self.criterion.final_summary();
        for line in self.summary {
            println!("{line}");
        }
        if self.incomplete { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// Whether figures are asked for, by the rule that criterion goes by: `cargo bench` says `--bench`,
/// and `--test` has everything run once.
pub(crate) fn measures() -> bool {
    let given = |option: &str| std::env::args().any(|argument| argument == option);
    given("--bench") && !given("--test")
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

/// A slice of what times itself.
#[allow(dead_code, reason = "a bench whose calls are timed as a whole does without")]
pub(crate) fn each(mut call: impl FnMut() -> Duration) -> impl FnMut(u64) -> Duration {
    move |iterations| (0..iterations).map(|_| call()).sum()
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

/// Pairs of slices, the two of each timed one right after the other, with their iterations.
#[derive(Default)]
struct Round(Vec<(Times, u64)>);

impl Round {
    fn total(&self) -> Times {
        self.0.iter().fold(Times::default(), |total, (pair, _)| Times {
            mqtls: total.mqtls + pair.mqtls,
            other: total.other + pair.other,
        })
    }

    /// The median of the pairs' ratios: what the scheduler does to one slice spoils one pair.
    fn ratio(&self) -> f64 {
        median(self.0.iter().map(|(pair, _)| pair.ratio()).collect())
    }

    /// The seconds that one iteration of a side takes, as the median of the slices.
    fn each(&self, side: Side) -> f64 {
        let seconds = |pair: Times, slice: u64| pair.of(side).as_secs_f64() / slice as f64;
        median(self.0.iter().map(|(pair, slice)| seconds(*pair, *slice)).collect())
    }
}

/// Two contenders, and the rounds that they have run.
struct Match<A, B> {
    contenders: Contenders<A, B>,
    terms: Terms,
    /// Which side goes first: the other one in every other pair of slices, so that neither always
    /// finds the caches as the other left them.
    mqtls_first: bool,
    /// The round under way, and its iterations.
    round: (Round, u64),
    ratios: Vec<f64>,
    controls: Vec<f64>,
    /// Seconds for one iteration of each side, by round.
    mqtls: Vec<f64>,
    baseline: Vec<f64>,
}

impl<A, B> Match<A, B>
where
    A: FnMut(u64) -> Duration,
    B: FnMut(u64) -> Duration,
{
    fn new(contenders: Contenders<A, B>, terms: Terms) -> Self {
        Self {
            contenders,
            terms,
            mqtls_first: true,
            round: Default::default(),
            ratios: vec![],
            controls: vec![],
            mqtls: vec![],
            baseline: vec![],
        }
    }

    /// One call of `iter_custom`: a round, or a part of one where the call is short.
    fn run(&mut self, iterations: u64) -> Times {
        let pairs = self.alternate(iterations, Side::Baseline);
        let times = pairs.total();
        self.round.0.0.extend(pairs.0);
        self.round.1 += iterations;
        if self.round.0.total().both() >= ROUND {
            let (round, iterations) = std::mem::take(&mut self.round);
            self.mqtls.push(round.each(Side::Mqtls));
            self.baseline.push(round.each(Side::Baseline));
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
            let slice = left.min(self.terms.slice);
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
            pairs.0.push((pair, slice));
        }
        pairs
    }

    fn figures(self) -> Figures {
        let block = self.terms.block as f64;
        let time =
            |seconds| Duration::try_from_secs_f64(median(seconds) / block).unwrap_or_default();
        Figures {
            rounds: self.ratios.len(),
            ratio: median(self.ratios),
            control: median(self.controls),
            mqtls: time(self.mqtls),
            baseline: time(self.baseline),
        }
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
