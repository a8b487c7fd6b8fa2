//! What mqtls promises, one file per promise, through its public names only.

mod support;
mod trust;
