//! The foreign primitives on which threads meet, so that a model can put others in their place.
//!
//! Under `cfg(mqtls_model)`, which only the models of concurrency set, `shuttle` decides at each of
//! them which thread goes on, and tries one order of steps after the other. What is modelled is the
//! product itself; it names these here and knows no difference.

#[cfg(mqtls_model)]
#[cfg(test)]
mod explore;
#[cfg(mqtls_model)]
mod scheduled;
#[cfg(not(mqtls_model))]
mod shipped;

#[cfg(mqtls_model)]
#[cfg(test)]
pub(crate) use explore::{explore, explore_fully};
#[cfg(mqtls_model)]
pub(crate) use scheduled::{
    ArcSwapOption, AtomicU64, DashMap, Mutex, MutexGuard, per_process, yield_now,
};
#[cfg(not(mqtls_model))]
pub(crate) use shipped::{
    ArcSwapOption, AtomicU64, DashMap, Mutex, MutexGuard, per_process, yield_now,
};
