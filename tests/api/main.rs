//! What mqtls promises, one file per promise, through its public names only.
#![cfg(test)]

mod support;
mod trust;
