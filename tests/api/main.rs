//! What mqtls promises, one file per promise, through its public names only.
#![cfg(test)]

mod certificates;
mod control;
mod listener;
mod lookup_allocates_nothing;
mod sni_choice;
mod sni_config;
mod support;
mod trust;
