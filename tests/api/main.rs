//! What mqtls promises, one file per promise, through its public names only.
#![cfg(test)]

mod certificates;
mod client_auth;
mod control;
mod device;
mod flood;
mod gate;
mod listener;
mod lookup_allocates_nothing;
mod own_loop;
mod path;
mod path_limits;
mod path_status;
mod registration;
mod registry;
mod resumption;
mod sni_choice;
mod sni_config;
mod stress;
mod support;
mod sweep;
mod timeline;
mod trust;
