//! What mqtls promises, one file per promise, through its public names only.
#![cfg(test)]

mod accept_loop;
mod certificates;
mod client_auth;
mod control;
mod device;
mod drain;
mod farewell;
mod flood;
mod fuzz_corpora;
mod fuzz_fixtures;
mod gate;
mod line;
mod listener;
mod listener_load;
mod listener_panics;
mod live;
mod live_ends;
mod lookup_allocates_nothing;
mod own_loop;
mod path;
mod path_limits;
mod path_many;
mod path_status;
mod registration;
mod registration_check;
mod registry;
mod removal;
mod resumption;
mod sni_choice;
mod sni_config;
mod stress;
mod support;
mod sweep;
mod timeline;
mod trust;
