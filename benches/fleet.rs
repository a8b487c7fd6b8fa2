//! A door with CAs by the thousand, for the benches that ask what their number costs.
//!
//! One CA of a fleet is real and issues the devices that come. The others are there to be passed
//! over: each has a name (or not), a serial number, a key identifier and a key of its own, and a
//! certificate of the usual size, but nobody has its private key, so that 100,000 of them are made
//! in seconds. Its public key has the form of a point on P-256 and need not be one, and its
//! signature is none: that of a CA which another one signed is never checked. No device of a bench
//! leads to such a CA.

#![allow(dead_code, reason = "each bench that includes this file uses a part of it")]

use std::sync::atomic::{AtomicU64, Ordering};

use mqtls::{CaCertificate, CaStatus, Resumption};
use rcgen::{Issuer, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};

use crate::support::{Door, TestCa, ca_params};

/// A door with registered CAs, all active.
pub(crate) struct Fleet {
    pub(crate) door: Door,
    /// The one among them whose devices come.
    pub(crate) ca: TestCa,
}

impl Fleet {
    /// CAs that all have a subject of their own.
    pub(crate) fn of(size: usize) -> Self {
        Self::with(size, |number| format!("fleet CA {number}"))
    }

    /// CAs that all have the same subject.
    pub(crate) fn of_one_subject(size: usize) -> Self {
        Self::with(size, |_| "fleet CA".to_owned())
    }

    /// The real CA is neither the first nor the last.
    fn with(size: usize, name: impl Fn(usize) -> String) -> Self {
        // What they are compared with issues no tickets either.
        let door = Door::open_as(|spec| spec.resumption(Resumption::Off));
        let ca = TestCa::root(&name(0));
        let half = size / 2;
        for number in 1..=half {
            door.register_certificate(passed_over(&name(number)), CaStatus::Active).unwrap();
        }
        door.register(&ca, CaStatus::Active).unwrap();
        for number in half + 1..size {
            door.register_certificate(passed_over(&name(number)), CaStatus::Active).unwrap();
        }
        assert_eq!(door.instance.trust().len(), size);
        Self { door, ca }
    }
}

/// The certificate of a CA whose private key nobody has.
pub(crate) fn passed_over(name: &str) -> CaCertificate {
    let signer = Issuer::new(ca_params("issuer of CAs"), NoKey::next());
    let certificate = ca_params(name).signed_by(&NoKey::next(), &signer).unwrap();
    CaCertificate::from_der(certificate.der()).unwrap()
}

/// A public key without a private one.
struct NoKey([u8; 65]);

impl NoKey {
    /// One that there has not been yet in this run.
    fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let octets = number.iter().cycle();
        // "0x04" for an uncompressed point (SEC 1 section 2.3.3), then both coordinates.
        let mut octets = [4].into_iter().chain(octets.copied());
        Self(std::array::from_fn(|_| octets.next().unwrap()))
    }
}

impl PublicKeyData for NoKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for NoKey {
    /// As long as most signatures.
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(vec![0; 71])
    }
}
