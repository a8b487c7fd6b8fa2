//! The primitives as they are.

pub(crate) use std::sync::atomic::AtomicU64;
pub(crate) use std::sync::{Mutex, MutexGuard};
pub(crate) use std::thread::yield_now;

pub(crate) use arc_swap::ArcSwapOption;
pub(crate) use dashmap::DashMap;

/// Declares a `static`. A model has one for each order of steps that it tries.
macro_rules! per_process {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;) => {
        $(#[$meta])*
        static $name: $type = $value;
    };
}

pub(crate) use per_process;
