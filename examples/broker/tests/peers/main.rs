//! The broker against programs that nobody here wrote: `openssl s_client`, `openssl ca`,
//! `mosquitto_pub` and `mosquitto_sub`, and devices on mbedTLS and wolfSSL.
//!
//! Where one of them is missing its test says so and passes, unless `MQTLS_PEERS=1` is set: then
//! it fails.
#![cfg(test)]

mod authority;
mod cuts;
mod embedded;
mod events;
mod handshakes;
mod harness;
mod instances;
mod messages;
mod revocations;
mod sessions;
mod subscriber;
