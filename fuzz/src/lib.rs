//! What each fuzz target does with its input: plain functions over the library's public names, so
//! that `cargo test` runs the kept inputs through them, too.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "the library's tests include this file as a module")]
#![allow(missing_docs, reason = "each module says what it is")]

pub mod client_chain;
pub mod der;
pub mod name_pattern;
pub mod pem;
pub mod revocation_list;
pub mod serial;
pub mod sni_config;
pub mod ticket;

mod fixed;
