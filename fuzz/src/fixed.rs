//! What every run has in common, so that an input means the same in each: a clock that stands
//! still, and certificates that were made once.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use mqtls::{CertificateMaterial, CertificateSource, Instance, InstanceSpec, Instances};
use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

/// The provider of every target.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// When everything takes place: 2027-01-01, when the fixtures are valid.
pub fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_798_761_600))
}

/// What tells so.
pub fn clock() -> Arc<dyn TimeProvider> {
    Arc::new(StandingClock)
}

/// One instance, with its set.
pub fn instance(source: impl CertificateSource + 'static) -> (Instances, Arc<Instance>) {
    instance_of(source, InstanceSpec::new("fuzzed".parse().unwrap()))
}

/// The same, created from this.
pub fn instance_of(
    source: impl CertificateSource + 'static,
    spec: InstanceSpec,
) -> (Instances, Arc<Instance>) {
    let instances = Instances::with_clock(provider(), source, clock());
    let instance = instances.create(spec).unwrap();
    (instances, instance)
}

/// A certificate in PEM.
pub const CERTIFICATE: &[u8] = include_bytes!("../seeds/pem/ca_root");

/// A certificate for `a.com` with its P-256 key.
pub fn server() -> CertificateMaterial {
    CertificateMaterial::from_der(vec![server_certificate()], server_key()).unwrap()
}

/// The certificate alone.
pub fn server_certificate() -> CertificateDer<'static> {
    static CERTIFICATE: LazyLock<CertificateDer<'static>> =
        LazyLock::new(|| CertificateDer::from_pem_slice(SERVER).unwrap());
    CERTIFICATE.clone()
}

/// The key alone.
pub fn server_key() -> PrivateKeyDer<'static> {
    static KEY: LazyLock<PrivateKeyDer<'static>> =
        LazyLock::new(|| PrivateKeyDer::from_pem_slice(SERVER).unwrap());
    KEY.clone_key()
}

/// No error is longer than this, however long its input: errors go to logs.
pub fn check_length(error: &dyn std::error::Error) {
    let mut next = Some(error);
    while let Some(error) = next {
        let shown = error.to_string();
        assert!(shown.len() <= MAX_ERROR, "{} bytes: {shown:.200}", shown.len());
        next = error.source();
    }
}

#[derive(Debug)]
struct StandingClock;

impl TimeProvider for StandingClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(now())
    }
}

const SERVER: &[u8] = include_bytes!("../../testdata/key_after_ec_parameters.pem");
const MAX_ERROR: usize = 16 * 1024;
