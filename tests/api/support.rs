//! The one certificate factory, a door to knock at, and clients that knock.
//!
//! Benches include this file too, so not everything in it is used by everyone.
#![allow(dead_code, reason = "each binary that includes this file uses a part of it")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::{Debug, Write};
use std::marker::PhantomData;
use std::ops::DerefMut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Once};
use std::time::Duration;

use mqtls::{
    Acceptor, CaCertificate, CaStatus, Caller, CertificateMaterial, ClientAuth, Connection,
    Instance, InstanceSpec, Instances, Memory, Refused, RegisterCa, SerialNumber, SetSniConfig,
    control, trust,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData,
    RevokedCertParams, RsaKeySize, SignatureAlgorithm,
};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, ConnectionCommon, DigitallySignedStruct,
    Error, ServerConfig, ServerConnection, SideData, SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::field::Field;
use tracing::{Event, Level, Metadata, Subscriber, span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context as LayerContext, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// The provider of every test that does not say otherwise: the one of the feature `ring` where that
/// is on.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        #[cfg(feature = "ring")]
        let provider = rustls::crypto::ring::default_provider();
        #[cfg(not(feature = "ring"))]
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}

/// Both protocol versions, for tests that hold on each.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// A certificate authority that issues what a test needs.
#[derive(Clone)]
pub(crate) struct TestCa {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) params: CertificateParams,
    pub(crate) key: Arc<KeyPair>,
}

impl TestCa {
    /// A self-signed root with this common name.
    pub(crate) fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    /// A self-signed root, its parameters changed by `change` before it is signed.
    pub(crate) fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::self_signed(Arc::new(KeyPair::generate().unwrap()), name, change)
    }

    /// A self-signed root over a key that exists.
    pub(crate) fn self_signed(
        key: Arc<KeyPair>,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut params = ca_params(name);
        change(&mut params);
        let der = params.self_signed(key.as_ref()).unwrap().der().clone();
        Self { der, params, key }
    }

    /// A sub-CA of this one.
    pub(crate) fn child(&self, name: &str) -> Self {
        self.child_with(name, |_| {})
    }

    /// A sub-CA of this one, its parameters changed by `change` before it is signed.
    pub(crate) fn child_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        self.sign(Arc::new(KeyPair::generate().unwrap()), name, change)
    }

    /// A CA certificate by this CA over a key that exists: a sub-CA, or a cross-signed root.
    pub(crate) fn sign(
        &self,
        key: Arc<KeyPair>,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut params = ca_params(name);
        change(&mut params);
        let der = params.signed_by(key.as_ref(), &self.issuer()).unwrap().der().clone();
        Self { der, params, key }
    }

    /// A CA certificate by this CA over a key in the encoding that `key` has.
    pub(crate) fn sign_encoded(&self, key: &EncodedKey, name: &str) -> CertificateDer<'static> {
        ca_params(name).signed_by(key, &self.issuer()).unwrap().der().clone()
    }

    /// The same without a word about the key that signed it.
    pub(crate) fn sign_encoded_plainly(
        &self,
        key: &EncodedKey,
        name: &str,
    ) -> CertificateDer<'static> {
        let mut params = ca_params(name);
        params.use_authority_key_identifier_extension = false;
        params.signed_by(key, &self.issuer()).unwrap().der().clone()
    }

    /// A device's certificate.
    pub(crate) fn device(&self, name: &str) -> Identity {
        self.device_with(name, |_| {})
    }

    /// A device's certificate, its parameters changed by `change` before it is signed.
    pub(crate) fn device_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        self.device_over(Arc::new(KeyPair::generate().unwrap()), name, change)
    }

    /// A device's certificate over a key that exists.
    pub(crate) fn device_over(
        &self,
        key: Arc<KeyPair>,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        self.issue(&params, key)
    }

    /// A server's certificate for these names, with a P-256 key.
    pub(crate) fn server(&self, names: &[&str]) -> Identity {
        self.server_over(KeyPair::generate().unwrap(), names, |_| {})
    }

    /// A server's certificate over a key of the test's choice.
    pub(crate) fn server_over(
        &self,
        key: KeyPair,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        self.issue(&params, Arc::new(key))
    }

    /// A second certificate for this CA's name and key, as a renewal makes it, its parameters
    /// changed by `change` before it is signed.
    pub(crate) fn twin(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = self.params.clone();
        params.serial_number = Some(unused_serial());
        change(&mut params);
        let der = params.self_signed(self.key.as_ref()).unwrap().der().clone();
        Self { der, params, key: Arc::clone(&self.key) }
    }

    /// The DER of a revocation list by this CA, made [`NOW`] for a week, its parameters changed by
    /// `change` before it is signed. The CA's own key usage does not keep it from signing.
    pub(crate) fn list(
        &self,
        number: u64,
        revoked: &[SerialNumber],
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> Vec<u8> {
        let mut params = CertificateRevocationListParams {
            this_update: date(NOW),
            next_update: date(NOW + 7 * 24 * 60 * 60),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(revoked_entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut params);
        let mut issuer = self.params.clone();
        issuer.key_usages.clear();
        let issuer = Issuer::from_params(&issuer, self.key.as_ref());
        params.signed_by(&issuer).unwrap().der().to_vec()
    }

    /// The CA's own certificate with its key, shown as if a device's.
    pub(crate) fn as_device(&self) -> Identity {
        Identity { chain: vec![self.der.clone()], key: Arc::clone(&self.key) }
    }

    /// What an operator registers.
    pub(crate) fn certificate(&self) -> CaCertificate {
        CaCertificate::from_der(&self.der).unwrap()
    }

    /// Under which serial number it is registered.
    pub(crate) fn serial(&self) -> SerialNumber {
        self.certificate().serial().clone()
    }

    pub(crate) fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, self.key.as_ref())
    }

    /// A certificate by this CA with these parameters.
    pub(crate) fn issue(&self, params: &CertificateParams, key: Arc<KeyPair>) -> Identity {
        let certificate = params.signed_by(key.as_ref(), &self.issuer()).unwrap();
        Identity { chain: vec![certificate.der().clone()], key }
    }
}

/// A public key in an encoding that no library would choose.
pub(crate) struct EncodedKey {
    bytes: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl EncodedKey {
    /// An EC key as a compressed point (SEC 1 section 2.3.3).
    pub(crate) fn compressed(key: &KeyPair) -> Self {
        let point = key.der_bytes();
        let (x, y) = point[1..].split_at(point.len() / 2);
        let bytes = [&[2 + (y[y.len() - 1] & 1)], x].concat();
        Self { bytes, algorithm: key.algorithm() }
    }

    /// An EC key of which one bit was changed, so that it is no point on its curve.
    pub(crate) fn off_curve(key: &KeyPair) -> Self {
        let mut bytes = key.der_bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        Self { bytes, algorithm: key.algorithm() }
    }

    /// A whole SubjectPublicKeyInfo in the place of the key.
    pub(crate) fn nested(key: &KeyPair) -> Self {
        Self { bytes: key.subject_public_key_info(), algorithm: key.algorithm() }
    }
}

impl PublicKeyData for EncodedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// What a CA's certificate says unless a test changes it.
pub(crate) fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// An entry of a revocation list, without a reason.
pub(crate) fn revoked_entry(serial: &SerialNumber) -> RevokedCertParams {
    let text = serial.to_string();
    let octets = text.as_bytes().chunks(2).map(|digits| std::str::from_utf8(digits).unwrap());
    let octets: Vec<u8> = octets.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect();
    RevokedCertParams {
        serial_number: octets.into(),
        revocation_time: date(NOW),
        reason_code: None,
        invalidity_date: None,
    }
}

/// A serial number that no other certificate of the run has: rcgen draws its own from the key.
fn unused_serial() -> rcgen::SerialNumber {
    static LAST: AtomicU64 = AtomicU64::new(0);
    rcgen::SerialNumber::from(LAST.fetch_add(1, Ordering::Relaxed) + 1)
}

/// A date for a certificate, in seconds since 1970.
pub(crate) fn date(seconds: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds.try_into().unwrap()).unwrap()
}

/// A chain, end entity first, and the key of its end entity.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: Arc<KeyPair>,
}

impl Identity {
    /// The same with these CAs' certificates sent along.
    pub(crate) fn with_chain(mut self, cas: &[&TestCa]) -> Self {
        self.chain.extend(cas.iter().map(|ca| ca.der.clone()));
        self
    }

    pub(crate) fn end_entity(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// The serial number of its end entity.
    pub(crate) fn serial(&self) -> SerialNumber {
        let (_, certificate) = X509Certificate::from_der(self.end_entity()).unwrap();
        SerialNumber::from_der_content(certificate.raw_serial()).unwrap()
    }

    pub(crate) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }

    /// What a certificate source hands out.
    pub(crate) fn material(&self) -> CertificateMaterial {
        CertificateMaterial::from_der(self.chain.clone(), self.key_der()).unwrap()
    }

    /// Chain and key in one PEM text, as the directory source reads it.
    pub(crate) fn pem(&self) -> String {
        let certificates = self.chain.iter().map(|der| pem("CERTIFICATE", der));
        certificates.collect::<String>() + &self.key.serialize_pem()
    }
}

/// The PEM text of one section.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

/// A key of the given kind; RSA keys are slow to make, so there is one for the whole run.
pub(crate) fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

/// The run's one RSA-2048 key.
pub(crate) fn rsa_key() -> KeyPair {
    static RSA: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048);
        key.unwrap().serialize_der()
    });
    KeyPair::try_from(RSA.as_slice()).unwrap()
}

/// The run's one RSA-4096 key.
pub(crate) fn large_rsa_key() -> Arc<KeyPair> {
    static RSA: LazyLock<Arc<KeyPair>> = LazyLock::new(|| {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA384, RsaKeySize::_4096);
        Arc::new(key.unwrap())
    });
    Arc::clone(&RSA)
}

/// A clock that the test holds, in seconds since 1970.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn at(seconds: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seconds)))
    }

    pub(crate) fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl TimeProvider for TestClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = Duration::from_secs(self.0.load(Ordering::SeqCst));
        Some(UnixTime::since_unix_epoch(seconds))
    }
}

/// Numbers at random, the same ones for the same seed (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// One of `0..sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.0;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let sides = u64::try_from(sides).unwrap();
        usize::try_from((drawn ^ (drawn >> 31)) % sides).unwrap()
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.roll(all.len())]
    }
}

/// When tests take place unless they say otherwise: 2026-01-01.
pub(crate) const NOW: u64 = 1_767_225_600;

/// One instance with a certificate source in memory and an acceptor before it.
pub(crate) struct Door {
    pub(crate) instances: Instances,
    pub(crate) instance: Arc<Instance>,
    pub(crate) source: Arc<Memory>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) acceptor: Acceptor,
    /// Issued the door's default certificate; what clients trust.
    pub(crate) server_ca: TestCa,
}

impl Door {
    /// A door that shows `default` for every name and requires client certificates.
    pub(crate) fn open() -> Self {
        Self::open_with(ClientAuth::Required)
    }

    pub(crate) fn open_with(client_auth: ClientAuth) -> Self {
        Self::open_as(|spec| spec.client_auth(client_auth))
    }

    /// A door to an instance that is created in the test's own way.
    pub(crate) fn open_as(change: impl FnOnce(InstanceSpec) -> InstanceSpec) -> Self {
        Self::unconfigured_as(change, provider()).with_default_certificate()
    }

    /// A door before its first `SetSniConfig`.
    pub(crate) fn unconfigured(client_auth: ClientAuth, provider: Arc<CryptoProvider>) -> Self {
        Self::unconfigured_as(|spec| spec.client_auth(client_auth), provider)
    }

    /// The same to an instance that is created in the test's own way.
    pub(crate) fn unconfigured_as(
        change: impl FnOnce(InstanceSpec) -> InstanceSpec,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let source = Arc::new(Memory::new());
        let clock = TestClock::at(NOW);
        let instances =
            Instances::with_clock(provider, Arc::clone(&source), Arc::clone(&clock) as _);
        let spec = change(InstanceSpec::new("mqtt-test".parse().unwrap()));
        let instance = instances.create(spec).unwrap();
        let acceptor = Acceptor::new(&instance);
        let server_ca = TestCa::root("server CA");
        Self { instances, instance, source, clock, acceptor, server_ca }
    }

    /// The door of another instance of the same set, with a default certificate of its own.
    pub(crate) fn beside(&self, id: &str) -> Self {
        let client_auth = self.instance.client_auth();
        self.beside_as(id, |spec| spec.client_auth(client_auth))
    }

    /// The same to an instance that is created in the test's own way.
    pub(crate) fn beside_as(
        &self,
        id: &str,
        change: impl FnOnce(InstanceSpec) -> InstanceSpec,
    ) -> Self {
        let spec = change(InstanceSpec::new(id.parse().unwrap()));
        let instance = self.instances.create(spec).unwrap();
        let door = Self {
            instances: self.instances.clone(),
            source: Arc::clone(&self.source),
            clock: Arc::clone(&self.clock),
            acceptor: Acceptor::new(&instance),
            server_ca: self.server_ca.clone(),
            instance,
        };
        door.with_default_certificate()
    }

    /// The same after its first `SetSniConfig`.
    pub(crate) fn with_default_certificate(self) -> Self {
        self.put("default", &self.server_ca.server(&["localhost"]));
        self.set_sni("default", "").unwrap();
        self
    }

    /// Keeps a certificate in the source.
    pub(crate) fn put(&self, id: &str, identity: &Identity) {
        let instance = self.instance.id().clone();
        self.source.insert(instance, id.parse().unwrap(), identity.material());
    }

    pub(crate) fn set_sni(
        &self,
        default: &str,
        config: &str,
    ) -> Result<control::SetSniConfigResponse, mqtls::OperationError> {
        SetSniConfig {
            mqtt_instance_id: self.instance.id().clone(),
            default_certificate: default.parse().unwrap(),
            sni_config: config.parse().unwrap(),
        }
        .apply(&self.instances, &Caller::local())
    }

    pub(crate) fn register(
        &self,
        ca: &TestCa,
        status: CaStatus,
    ) -> Result<control::RegisterCaResponse, mqtls::OperationError> {
        self.register_certificate(ca.certificate(), status)
    }

    pub(crate) fn register_certificate(
        &self,
        certificate: CaCertificate,
        status: CaStatus,
    ) -> Result<control::RegisterCaResponse, mqtls::OperationError> {
        RegisterCa {
            mqtt_instance_id: self.instance.id().clone(),
            name: "fleet".into(),
            status,
            certificate,
        }
        .apply(&self.instances, &Caller::local())
    }

    pub(crate) fn activate(&self, ca: &TestCa) -> control::ActiveCaCertificateResponse {
        let mqtt_instance_id = self.instance.id().clone();
        let operation = mqtls::ActiveCaCertificate { mqtt_instance_id, sn: ca.serial() };
        operation.apply(&self.instances, &Caller::local()).unwrap()
    }

    pub(crate) fn deactivate(&self, ca: &TestCa) -> control::InactivateCaCertificateResponse {
        let mqtt_instance_id = self.instance.id().clone();
        let operation = mqtls::InactivateCaCertificate { mqtt_instance_id, sn: ca.serial() };
        operation.apply(&self.instances, &Caller::local()).unwrap()
    }

    pub(crate) fn delete(&self, ca: &TestCa) -> control::DeleteCaCertificateResponse {
        let mqtt_instance_id = self.instance.id().clone();
        let operation = mqtls::DeleteCaCertificate { mqtt_instance_id, sn: ca.serial() };
        operation.apply(&self.instances, &Caller::local()).unwrap()
    }

    pub(crate) fn activate_device(
        &self,
        ca: &TestCa,
        device: &Identity,
    ) -> control::ActiveDeviceCertificateResponse {
        let mqtt_instance_id = self.instance.id().clone();
        let (ca_sn, device_sn) = (ca.serial(), device.serial());
        let operation = mqtls::ActiveDeviceCertificate { mqtt_instance_id, ca_sn, device_sn };
        operation.apply(&self.instances, &Caller::local()).unwrap()
    }

    pub(crate) fn deactivate_device(
        &self,
        ca: &TestCa,
        device: &Identity,
    ) -> control::InactivateDeviceCertificateResponse {
        let mqtt_instance_id = self.instance.id().clone();
        let (ca_sn, device_sn) = (ca.serial(), device.serial());
        let operation = mqtls::InactivateDeviceCertificate { mqtt_instance_id, ca_sn, device_sn };
        operation.apply(&self.instances, &Caller::local()).unwrap()
    }

    pub(crate) fn delete_device(
        &self,
        ca: &TestCa,
        device: &Identity,
    ) -> control::DeleteDeviceCertificateResponse {
        let mqtt_instance_id = self.instance.id().clone();
        let (ca_sn, device_sn) = (ca.serial(), device.serial());
        let operation = mqtls::DeleteDeviceCertificate { mqtt_instance_id, ca_sn, device_sn };
        operation.apply(&self.instances, &Caller::local()).unwrap()
    }

    /// Whether the instance's verifier believes a chain, without a handshake: for chains that are
    /// too long for one, and for many.
    pub(crate) fn believes(&self, device: &Identity) -> bool {
        let (end_entity, intermediates) = device.chain.split_first().unwrap();
        let now = self.clock.current_time().unwrap();
        self.instance.verifier().verify_client_cert(end_entity, intermediates, now).is_ok()
    }

    /// Knocks with a device certificate on one TLS version and tells how it went on both sides.
    pub(crate) async fn knock(
        &self,
        identity: Option<&Identity>,
        version: &'static SupportedProtocolVersion,
    ) -> Visit {
        self.visit(client(identity, version), "localhost").await
    }

    /// Knocks with a client configuration of the test's choice.
    pub(crate) async fn visit(&self, config: ClientConfig, server_name: &str) -> Visit {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let admitted = Notify::new();
        let (server, client) = tokio::join!(
            accept(&self.acceptor, far, &admitted),
            connect(config, server_name, near, &admitted)
        );
        Visit { server, client }
    }
}

/// The server's side of a handshake.
async fn accept(
    acceptor: &Acceptor,
    io: DuplexStream,
    admitted: &Notify,
) -> Result<Connection<DuplexStream>, Refused> {
    let result = acceptor.accept(io).await;
    if result.is_ok() {
        admitted.notify_one();
    }
    result
}

/// The client's side of a handshake: an established stream, or the alert that the client read;
/// `None` for a close without one. A TLS 1.3 client believes in the handshake before the server has
/// judged it, so it reads until it knows.
async fn connect(
    config: ClientConfig,
    server_name: &str,
    io: DuplexStream,
    admitted: &Notify,
) -> Result<TlsStream<DuplexStream>, Option<AlertDescription>> {
    let server_name = ServerName::try_from(server_name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(server_name, io).await.map_err(alert_in)?;
    let mut byte = [0];
    tokio::select! {
        () = admitted.notified() => Ok(stream),
        read = stream.read(&mut byte) => match read {
            Ok(0) => Err(None),
            Ok(_) => panic!("a refused client read application data"),
            Err(error) => Err(alert_in(error)),
        },
    }
}

/// A handshake with the test in the middle of the wire: what the server sends goes through, what
/// the client sends waits until the test lets it on.
pub(crate) struct HeldHandshake {
    server: JoinHandle<Result<Connection<DuplexStream>, Refused>>,
    client: JoinHandle<Result<TlsStream<DuplexStream>, Option<AlertDescription>>>,
    from_client: ReadHalf<DuplexStream>,
    to_server: WriteHalf<DuplexStream>,
}

impl HeldHandshake {
    /// Begins; nothing has reached the server yet.
    pub(crate) fn begin(door: &Door, config: ClientConfig) -> Self {
        Self::begin_as(door, config, "localhost")
    }

    /// The same under another server name.
    pub(crate) fn begin_as(door: &Door, config: ClientConfig, name: &'static str) -> Self {
        let (near, client_side) = tokio::io::duplex(64 * 1024);
        let (server_side, far) = tokio::io::duplex(64 * 1024);
        let (from_client, to_client) = tokio::io::split(client_side);
        let (from_server, to_server) = tokio::io::split(server_side);
        tokio::spawn(carry(from_server, to_client));
        let acceptor = door.acceptor.clone();
        let admitted = Arc::new(Notify::new());
        let told = Arc::clone(&admitted);
        Self {
            server: tokio::spawn(async move { accept(&acceptor, far, &admitted).await }),
            client: tokio::spawn(async move { connect(config, name, near, &told).await }),
            from_client,
            to_server,
        }
    }

    /// Begins and lets the ClientHello through; what comes back are the records with which the
    /// client answers the server's flight, its certificate among them. They have not been sent on.
    pub(crate) async fn up_to_the_certificate(
        door: &Door,
        config: ClientConfig,
    ) -> (Self, VecDeque<Vec<u8>>) {
        Self::up_to_the_answer(door, config, "localhost").await
    }

    /// The same under another server name.
    pub(crate) async fn up_to_the_answer(
        door: &Door,
        config: ClientConfig,
        name: &'static str,
    ) -> (Self, VecDeque<Vec<u8>>) {
        let mut held = Self::begin_as(door, config, name);
        let hello = held.flight().await;
        held.pass(hello).await;
        let answer = held.flight().await;
        (held, answer)
    }

    /// The records that the client sends until it waits for the server.
    pub(crate) async fn flight(&mut self) -> VecDeque<Vec<u8>> {
        let mut bytes = vec![0; 64 * 1024];
        let length = self.from_client.read(&mut bytes).await.unwrap();
        let mut rest = &bytes[..length];
        let mut records = VecDeque::new();
        while let [_, _, _, high, low, ..] = *rest {
            let (record, behind) = rest.split_at(5 + usize::from(u16::from_be_bytes([high, low])));
            records.push_back(record.to_vec());
            rest = behind;
        }
        records
    }

    /// Lets these records through, one by one.
    pub(crate) async fn pass(&mut self, records: impl IntoIterator<Item = Vec<u8>>) {
        for record in records {
            self.to_server.write_all(&record).await.unwrap();
            tokio::task::yield_now().await;
        }
    }

    /// Lets these records through at once, and then the rest. The server may have refused already.
    pub(crate) async fn release_with(
        mut self,
        records: impl IntoIterator<Item = Vec<u8>>,
    ) -> Visit {
        let bytes: Vec<u8> = records.into_iter().flatten().collect();
        let _refused = self.to_server.write_all(&bytes).await;
        self.release().await
    }

    /// Lets everything through from now on, and tells how it went.
    pub(crate) async fn release(self) -> Visit {
        tokio::spawn(carry(self.from_client, self.to_server));
        let (server, client) = tokio::join!(self.server, self.client);
        Visit { server: server.unwrap(), client: client.unwrap() }
    }
}

async fn carry(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) {
    // Either side may be gone: that is what the other one is to see.
    let _ended = tokio::io::copy(&mut from, &mut to).await;
    let _ended = to.shutdown().await;
}

/// How a handshake went, on both sides.
pub(crate) struct Visit {
    pub(crate) server: Result<Connection<DuplexStream>, Refused>,
    /// As [`connect`] tells it.
    pub(crate) client: Result<TlsStream<DuplexStream>, Option<AlertDescription>>,
}

impl Visit {
    /// The connection of an admitted device, after a byte went each way.
    pub(crate) async fn admitted(self) -> Connection<DuplexStream> {
        let mut server = self.server.unwrap();
        let mut client = self.client.unwrap();
        client.write_all(b"?").await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'?');
        server.write_all(b"!").await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'!');
        server
    }

    /// Why the device was not believed, after asserting that the client read `unknown_ca`.
    pub(crate) fn not_believed(self) -> trust::Refusal {
        assert_eq!(self.client.unwrap_err(), Some(AlertDescription::UnknownCA));
        match self.server.unwrap_err() {
            Refused::Device(refusal) => refusal,
            other => panic!("refused for another reason: {other:?}"),
        }
    }

    /// Why the device was turned away at the gate, after asserting that the client, for whom the
    /// handshake had gone well, saw the connection close before any byte.
    pub(crate) fn turned_away_at_the_gate(self) -> trust::Refusal {
        assert_eq!(self.client.unwrap_err(), None);
        match self.server.unwrap_err() {
            Refused::Device(refusal) => refusal,
            other => panic!("refused for another reason: {other:?}"),
        }
    }

    /// The certificate that the client was shown.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        let stream = self.client.as_ref().unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

fn alert_in(error: std::io::Error) -> Option<AlertDescription> {
    match error.downcast::<Error>() {
        Ok(Error::AlertReceived(alert)) => Some(alert),
        Ok(other) => panic!("the client refused by itself: {other}"),
        Err(_closed) => None,
    }
}

/// A client that takes any server certificate, so that a test sees which one it is shown.
pub(crate) fn client(
    identity: Option<&Identity>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    client_of(provider(), identity, version)
}

/// A client that can do what `provider` can.
pub(crate) fn client_of(
    provider: Arc<CryptoProvider>,
    identity: Option<&Identity>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    client_speaking(&[version], provider, identity)
}

/// A client that can do what `provider` can, on any of these versions.
pub(crate) fn client_speaking(
    versions: &[&'static SupportedProtocolVersion],
    provider: Arc<CryptoProvider>,
    identity: Option<&Identity>,
) -> ClientConfig {
    let verifier = TakesAnyServer(provider.clone());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    if let Some(identity) = identity {
        show(&mut config, identity.chain.clone(), identity.key_der());
    }
    config
}

/// A provider that takes these signature schemes and no others.
pub(crate) fn with_schemes(
    provider: Arc<CryptoProvider>,
    schemes: &[SignatureScheme],
) -> Arc<CryptoProvider> {
    let mut trimmed = CryptoProvider::clone(&provider);
    let algorithms = &mut trimmed.signature_verification_algorithms;
    let mapping = algorithms.mapping.iter().filter(|(scheme, _)| schemes.contains(scheme));
    algorithms.mapping = mapping.copied().collect::<Vec<_>>().leak();
    Arc::new(trimmed)
}

/// On TLS 1.3 Certificate, CertificateVerify and Finished would else travel in one record.
pub(crate) fn in_small_records(mut config: ClientConfig) -> ClientConfig {
    config.max_fragment_size = Some(64);
    config
}

/// A client that shows a chain and signs with a key that is not the chain's.
pub(crate) fn thief(
    stolen: &Identity,
    own: &Identity,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut config = client(None, version);
    show(&mut config, stolen.chain.clone(), own.key_der());
    config
}

/// Unlike rustls' own builder this looks at nothing: what is wrong with a chain or its key is for
/// the server to find.
fn show(
    config: &mut ClientConfig,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) {
    let key = config.crypto_provider().key_provider.load_private_key(key).unwrap();
    config.client_auth_cert_resolver = Arc::new(Always(Arc::new(CertifiedKey::new(chain, key))));
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct TakesAnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What this thread's code logs while the value lives, whatever the level.
///
/// One subscriber serves the whole run: with one for each thread, `tracing` caches for all threads
/// what the first of them wants to hear.
pub(crate) struct Log(PhantomData<*const ()>);

/// One event, one span, or fields that a span got later.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) level: Level,
    /// The fields, each as a subscriber is given it to write down.
    pub(crate) text: String,
}

impl Log {
    pub(crate) fn start() -> Self {
        listen_to_the_log();
        LOGGED.with_borrow_mut(|logged| *logged = Some(Vec::new()));
        Self(PhantomData)
    }

    pub(crate) fn so_far(&self) -> Vec<Logged> {
        LOGGED.with_borrow(|logged| logged.clone().unwrap())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        LOGGED.with_borrow_mut(Option::take);
    }
}

thread_local! {
    static LOGGED: RefCell<Option<Vec<Logged>>> = const { RefCell::new(None) };
}

struct Recorder;

impl Recorder {
    fn record(metadata: &Metadata<'_>, visit: impl FnOnce(&mut Fields)) {
        LOGGED.with_borrow_mut(|logged| {
            if let Some(logged) = logged {
                let mut fields = Fields(metadata.name().to_owned());
                visit(&mut fields);
                logged.push(Logged { level: *metadata.level(), text: fields.0 });
            }
        });
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &span::Id, _: LayerContext<'_, S>) {
        Self::record(attributes.metadata(), |fields| attributes.record(fields));
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: LayerContext<'_, S>) {
        Self::record(context.metadata(id).unwrap(), |fields| values.record(fields));
    }

    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        Self::record(event.metadata(), |fields| event.record(fields));
    }
}

/// Writes texts escaped and all else as it writes itself, as `tracing_subscriber::fmt` did before
/// it came to escape by itself.
struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

/// A TLS record with this body.
pub(crate) fn record(kind: u8, version: u16, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind];
    record.extend(version.to_be_bytes());
    record.extend(with_length(body));
    record
}

/// A ClientHello by hand, of TLS 1.2 at most: for names and versions that no library would send.
/// `server_name` is the body of that extension.
pub(crate) fn hello_by_hand(version: u16, server_name: Option<&[u8]>) -> Vec<u8> {
    const SUITES: [u16; 2] = [0xc02b, 0xc02f];
    let mut extensions = vec![];
    let mut extend = |kind: u16, body: &[u8]| {
        extensions.extend(kind.to_be_bytes());
        extensions.extend(with_length(body));
    };
    if let Some(body) = server_name {
        extend(0, body);
    }
    extend(10, &with_length(&[0x00, 0x1d, 0x00, 0x17]));
    extend(11, &[1, 0]);
    extend(13, &with_length(&[0x04, 0x03, 0x08, 0x04, 0x04, 0x01]));
    extend(23, &[]);

    let mut body = version.to_be_bytes().to_vec();
    body.extend([0x5a; 32]);
    body.push(0);
    body.extend(with_length(&SUITES.map(u16::to_be_bytes).concat()));
    body.extend([1, 0]);
    body.extend(with_length(&extensions));
    let mut message = vec![1, 0];
    message.extend(with_length(&body));
    message
}

/// The body of a `server_name` extension with these host names.
pub(crate) fn host_names(names: &[&[u8]]) -> Vec<u8> {
    let entries = names.iter().flat_map(|name| [vec![0], with_length(name)].concat());
    with_length(&entries.collect::<Vec<u8>>())
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    [&length.to_be_bytes(), body].concat()
}

impl Door {
    /// Everything that the server says to a client that sends these bytes and no more.
    pub(crate) async fn answer_to(&self, bytes: &[u8]) -> (Refused, Vec<u8>) {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let mut answer = Vec::new();
        let client = async {
            near.write_all(bytes).await.unwrap();
            near.shutdown().await.unwrap();
            near.read_to_end(&mut answer).await.unwrap();
        };
        let (server, ()) = tokio::join!(self.acceptor.accept(far), client);
        (server.unwrap_err(), answer)
    }
}

/// A client whose every step the test takes, and that asks for `localhost`.
pub(crate) struct Peer(pub(crate) ClientConnection);

impl Peer {
    pub(crate) fn of(config: ClientConfig) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        Self(ClientConnection::new(Arc::new(config), name).unwrap())
    }

    /// What it has to say now.
    pub(crate) fn flight(&mut self) -> Vec<u8> {
        let mut flight = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut flight).unwrap();
        }
        flight
    }

    /// Hears what has come, at least one byte.
    pub(crate) async fn read_some(&mut self, near: &mut DuplexStream) {
        let mut heard = vec![0; 64 * 1024];
        let length = near.read(&mut heard).await.unwrap();
        assert_ne!(length, 0, "the server closed");
        let mut heard = &heard[..length];
        while !heard.is_empty() {
            self.0.read_tls(&mut heard).unwrap();
            self.0.process_new_packets().unwrap();
        }
    }

    /// Takes all further steps of the handshake.
    pub(crate) async fn go_on(&mut self, near: &mut DuplexStream) {
        loop {
            near.write_all(&self.flight()).await.unwrap();
            if !self.0.is_handshaking() {
                break;
            }
            self.read_some(near).await;
        }
    }
}

/// A handshake without a stream: each side says what it has to say, in turn.
pub(crate) struct PlainHandshake {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
}

impl PlainHandshake {
    pub(crate) fn between(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> Self {
        Self::between_as(server, client, "localhost")
    }

    /// The same with a client that asks for this name.
    pub(crate) fn between_as(
        server: Arc<ServerConfig>,
        client: Arc<ClientConfig>,
        name: &'static str,
    ) -> Self {
        let name = ServerName::try_from(name).unwrap();
        let client = ClientConnection::new(client, name).unwrap();
        Self { client, server: ServerConnection::new(server).unwrap() }
    }

    /// All of it. Fails where either side refuses.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        while self.client.is_handshaking() || self.server.is_handshaking() {
            say(&mut self.client, &mut self.server)?;
            say(&mut self.server, &mut self.client)?;
        }
        Ok(())
    }
}

fn say<A: SideData, B: SideData>(
    from: &mut impl DerefMut<Target = ConnectionCommon<A>>,
    to: &mut impl DerefMut<Target = ConnectionCommon<B>>,
) -> Result<(), Error> {
    let mut words = vec![];
    while from.wants_write() {
        from.write_tls(&mut words).unwrap();
    }
    let mut words = words.as_slice();
    while !words.is_empty() {
        to.read_tls(&mut words).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

/// The signature checks that each device certificate cost which was examined on this thread, as the
/// log at `trace` tells.
pub(crate) struct Examinations(());

impl Examinations {
    /// Watches from now on.
    pub(crate) fn watch() -> Self {
        listen_to_the_log();
        let this = Self(());
        this.take();
        this
    }

    /// What was seen since the last call.
    pub(crate) fn take(&self) -> Vec<u64> {
        REASONS.take();
        SIGNATURE_CHECKS.take()
    }

    /// Why chains were refused since the last call of either.
    pub(crate) fn take_reasons(&self) -> Vec<String> {
        SIGNATURE_CHECKS.take();
        REASONS.take()
    }

    /// Waits for the next one.
    pub(crate) async fn next(&self) {
        for _ in 0..1000 {
            if !self.take().is_empty() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("no device certificate is examined");
    }
}

thread_local! {
    static SIGNATURE_CHECKS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    static REASONS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// For the whole process: with a subscriber per thread, a thread without one can switch the event
/// off for all others.
fn listen_to_the_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Recorder).with(SignatureChecks);
        tracing::subscriber::set_global_default(subscriber).unwrap();
        tracing::callsite::rebuild_interest_cache();
    });
}

struct SignatureChecks;

impl<S: Subscriber> Layer<S> for SignatureChecks {
    fn on_event(&self, event: &Event<'_>, _context: LayerContext<'_, S>) {
        event.record(&mut Self);
    }
}

impl tracing::field::Visit for SignatureChecks {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "signature_checks" {
            SIGNATURE_CHECKS.with_borrow_mut(|checks| checks.push(value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "refusal" {
            REASONS.with_borrow_mut(|reasons| reasons.push(format!("{value:?}")));
        }
    }
}
