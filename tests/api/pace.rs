//! How much has happened beside random changes: whoever makes these waits for whoever comes.

use std::sync::{Condvar, Mutex};

/// The steps that the threads of devices have taken.
pub(crate) struct Pace {
    threads: usize,
    /// And how many of the threads are through.
    steps: Mutex<(usize, usize)>,
    stepped: Condvar,
}

impl Pace {
    /// Of so many threads.
    pub(crate) fn of(threads: usize) -> Self {
        Self { threads, steps: Mutex::default(), stepped: Condvar::new() }
    }

    pub(crate) fn step(&self) {
        self.steps.lock().unwrap().0 += 1;
        self.stepped.notify_all();
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps.lock().unwrap().0
    }

    /// Waits until some more has happened. False once all threads are through.
    pub(crate) fn wait_for(&self, more: usize) -> bool {
        let steps = self.steps.lock().unwrap();
        let until = steps.0 + more;
        let waits = |steps: &mut (usize, usize)| steps.0 < until && steps.1 < self.threads;
        self.stepped.wait_while(steps, waits).unwrap().1 < self.threads
    }

    /// For a thread to hold while it goes on, well or not.
    pub(crate) fn hold(&self) -> Held<'_> {
        Held(self)
    }
}

/// Tells when it is dropped that a thread is through.
pub(crate) struct Held<'a>(&'a Pace);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.steps.lock().unwrap().1 += 1;
        self.0.stepped.notify_all();
    }
}
