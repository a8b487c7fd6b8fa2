//! What mqtls promises, one file per promise, through its public names only.
#![cfg(test)]

mod client_auth;
mod device;
mod gate;
mod path;
mod path_limits;
mod path_status;
mod registration;
mod registry;
mod resumption;
mod support;
mod trust;
