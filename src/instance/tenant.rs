//! One MQTT instance.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::{Error, ServerConfig};
use rustls_pki_types::UnixTime;

use super::claims::Claims;
use super::events::{Announcer, Event};
use super::failures::{FailedRenewal, Renewals};
use super::rate::Rate;
use super::shown::{SniCounters, SniStats};
use super::spec::{Edition, InstanceSpec};
use super::stats::Counters;
use crate::id::{AccountId, CertificateId, InstanceId, Region};
use crate::name::{HostName, NamePattern};
use crate::sni::{SniPublisher, SniResolver, StillHeld, Terms};
use crate::trust::{
    BindingTicketer, CaRegistry, ClientAuth, DeviceVerifier, Ended, LiveChange, NoSessions, Sealing,
};

/// One MQTT instance (a tenant): its certificates, its CAs, and the TLS configuration that asks
/// both. Made by [`Instances::create`](super::Instances::create).
///
/// What it hands out are readers. Every change is an operation of [`control`](crate::control), so
/// that authorising and logging have one place.
pub struct Instance {
    id: InstanceId,
    region: Option<Region>,
    owner: Option<AccountId>,
    edition: Edition,
    client_auth: ClientAuth,
    shared: Option<Box<[HostName]>>,
    max_names: Option<usize>,
    rate: Option<Rate>,
    sni: Arc<SniResolver>,
    trust: Arc<CaRegistry>,
    verifier: Arc<DeviceVerifier>,
    /// For others: it never resumes.
    bare_config: Arc<ServerConfig>,
    config: Arc<ServerConfig>,
    config_with_alpn: Arc<ServerConfig>,
    /// Held while the next certificate map is made, so that of two changes one sees the other.
    sni_publisher: Mutex<SniPublisher>,
    renewals: Renewals,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn TimeProvider>,
    counters: Arc<Counters>,
    announcer: Arc<Announcer>,
    /// Of its set, which holds it.
    claims: Weak<Claims>,
    shown: SniCounters,
}

impl Instance {
    pub(super) fn new(
        spec: InstanceSpec,
        sealing: Option<Sealing>,
        provider: Arc<CryptoProvider>,
        clock: Arc<dyn TimeProvider>,
        counters: Arc<Counters>,
        announcer: Arc<Announcer>,
        claims: Weak<Claims>,
    ) -> Result<Self, Error> {
        let algorithms = provider.signature_verification_algorithms;
        let terms = Terms::new(spec.sni_policy, spec.shared.as_deref().unwrap_or_default());
        let sni_publisher = SniPublisher::on_terms(&provider, terms);
        let sni = Arc::clone(sni_publisher.resolver());
        let lineage = sealing.as_ref().map_or(Duration::ZERO, |sealing| sealing.lineage);
        let trust = Arc::new(CaRegistry::new(algorithms, spec.trust, lineage));
        let verifier =
            Arc::new(DeviceVerifier::new(Arc::clone(&trust), spec.client_auth, algorithms));
        let mut config =
            ServerConfig::builder_with_details(Arc::clone(&provider), Arc::clone(&clock))
                .with_safe_default_protocol_versions()?
                .with_client_cert_verifier(Arc::clone(&verifier) as _)
                .with_cert_resolver(Arc::clone(&sni) as _);
        never_resume(&mut config);
        let bare_config = Arc::new(config.clone());
        if let Some(sealing) = sealing {
            config.send_tls13_tickets = sealing.per_handshake;
            config.max_tls13_tickets = sealing.per_handshake;
            config.session_storage = Arc::new(NoSessions::new(Arc::clone(&trust)));
            let (registry, clock) = (Arc::clone(&trust), Arc::clone(&clock));
            let ticketer = BindingTicketer::new(sealing, registry, spec.client_auth, clock);
            config.ticketer = Arc::new(ticketer);
        }
        let mut config_with_alpn = config.clone();
        config_with_alpn.alpn_protocols = ALPN.map(Vec::from).into();
        Ok(Self {
            id: spec.id,
            region: spec.region,
            owner: spec.owner,
            edition: spec.edition,
            client_auth: spec.client_auth,
            shared: spec.shared,
            max_names: spec.max_names,
            rate: spec.handshakes_per_second.map(Rate::per_second),
            sni,
            trust,
            verifier,
            bare_config,
            config: Arc::new(config),
            config_with_alpn: Arc::new(config_with_alpn),
            sni_publisher: Mutex::new(sni_publisher),
            renewals: Renewals::default(),
            provider,
            clock,
            counters,
            announcer,
            claims,
            shown: SniCounters::default(),
        })
    }

    /// Its id.
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// Where it is, where that was said.
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// The account that it belongs to, where that was said.
    pub fn owner(&self) -> Option<&AccountId> {
        self.owner.as_ref()
    }

    /// What was bought.
    pub fn edition(&self) -> Edition {
        self.edition
    }

    /// Whether its clients must, may or cannot show a certificate.
    pub fn client_auth(&self) -> ClientAuth {
        self.client_auth
    }

    /// Whether clients reach it through [`Acceptor::shared`](crate::Acceptor::shared).
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// The names that lead to it on the shared listener whatever its certificates are for.
    pub fn endpoints(&self) -> &[HostName] {
        self.shared.as_deref().unwrap_or_default()
    }

    /// Which certificates it shows: for reading.
    pub fn sni(&self) -> &SniResolver {
        &self.sni
    }

    /// Whether its default certificate is for a name of which no entry knows.
    pub(crate) fn default_answers(&self, pattern: &NamePattern) -> bool {
        let is_endpoint =
            matches!(pattern, NamePattern::Exact(name) if self.endpoints().contains(name));
        is_endpoint || !self.is_shared() && self.sni.terms().serve_unknown_names()
    }

    /// Which CAs it knows: for reading.
    pub fn trust(&self) -> &CaRegistry {
        &self.trust
    }

    /// How many connections are up, anonymous ones among them. One that was ended counts until its
    /// owner drops it.
    pub fn connections(&self) -> usize {
        self.trust.connections()
    }

    pub(super) fn trust_shared(&self) -> Arc<CaRegistry> {
        Arc::clone(&self.trust)
    }

    /// Its certificates behind rustls' `ResolvesServerCert`, for a configuration of your own. Before
    /// the first [`SetSniConfig`](crate::SetSniConfig) clients get `access_denied`, not the
    /// `unrecognized_name` of [`Acceptor`](crate::Acceptor).
    pub fn resolver(&self) -> Arc<SniResolver> {
        Arc::clone(&self.sni)
    }

    /// Its CAs behind rustls' `ClientCertVerifier`, for a configuration of your own.
    ///
    /// rustls asks a verifier once in a full handshake and never again. A configuration that
    /// resumes sessions therefore goes on admitting devices whose CA was deactivated: take
    /// [`server_config`](Self::server_config), or turn resumption off. Tickets that end with their CA
    /// come with [`handshake`](Self::handshake).
    pub fn verifier(&self) -> Arc<DeviceVerifier> {
        Arc::clone(&self.verifier)
    }

    /// A configuration that asks both, never resumes, and takes no early data.
    ///
    /// It is for embedders whose accept loop cannot be [`Acceptor`](crate::Acceptor), and does less:
    /// the gate and the device are yours to ask for with [`admit`](Self::admit), no protocol is
    /// offered in ALPN, nothing is counted, and before the first
    /// [`SetSniConfig`](crate::SetSniConfig) clients get `access_denied` instead of
    /// `unrecognized_name`.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.bare_config)
    }

    /// Does what is due, by the instance's clock. [`Acceptor::next`](crate::Acceptor::next) calls it
    /// each second; an embedder with an accept loop of its own does so itself, also once a drain has
    /// begun. Costs next to nothing where nothing is due.
    ///
    /// Ends the connections whose certificates have expired, and those that were up for as long as
    /// one may be: nothing else does. Where nine tenths of the devices are on record that
    /// [may be](super::InstanceSpec::max_devices), looks at a thousand of them and forgets those that
    /// are active, without a connection, and whose certificates have expired.
    ///
    /// Withholds certificates that have expired, where the [policy](crate::SniPolicy::expired) is not to
    /// show them any more: nothing else does.
    ///
    /// Frees certificates and tables that were replaced and that no handshake uses anymore; a handshake
    /// frees none itself. Each change does this too, and takes
    /// what it can: what it cannot, private keys among it, stays in memory until this is called.
    ///
    /// Returns what is still held; `None` where a change is under way, for which this does not
    /// wait, and which sweeps by itself.
    pub fn sweep(self: &Arc<Self>) -> Option<StillHeld> {
        let now = self.now();
        let due = now.map_or_else(Vec::new, |now| self.trust.end_due(now));
        for (why, count) in due {
            tracing::debug!(instance = %self.id, %why, connections_ended = count, "time is over");
            self.announce(|instance| Event::ConnectionsEnded { instance, why, count });
        }
        let forgotten = now.map_or(0, |now| self.trust.forget_expired_devices(now));
        if forgotten > 0 {
            tracing::debug!(instance = %self.id, devices = forgotten, "expired and forgotten");
        }
        let mut publisher = match self.sni_publisher.try_lock() {
            Ok(publisher) => publisher,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if let Some(now) = now {
            self.withhold_expired(&mut publisher, now);
        }
        Some(publisher.sweep())
    }

    /// How its clients were shown a certificate, or why not, and how often a certificate could not be
    /// renewed.
    pub fn sni_stats(&self) -> SniStats {
        self.shown.snapshot(self.failed_renewals())
    }

    /// Where the names of its set are claimed; `None` where the set is gone.
    pub(super) fn claims(&self) -> Option<Arc<Claims>> {
        self.claims.upgrade()
    }

    pub(super) fn shown(&self) -> &SniCounters {
        &self.shown
    }

    /// The configuration for a client that offers these protocols. rustls demands an overlap once
    /// protocols are configured; MQTT does not, so a client without one gets the other.
    pub(crate) fn config_for<'a>(
        &self,
        offered: Option<impl Iterator<Item = &'a [u8]>>,
    ) -> Arc<ServerConfig> {
        let overlaps = offered.is_some_and(|mut offered| offered.any(|name| ALPN.contains(&name)));
        Arc::clone(if overlaps { &self.config_with_alpn } else { &self.config })
    }

    /// How many names and wildcards its `SniConfig` may have.
    pub(crate) fn max_names(&self) -> Option<usize> {
        self.max_names
    }

    /// Whether one more handshake may begin; then it counts.
    pub(crate) fn takes_handshake(&self) -> bool {
        self.rate.as_ref().is_none_or(Rate::take)
    }

    pub(crate) fn provider(&self) -> &CryptoProvider {
        &self.provider
    }

    /// Tells whoever watches the set of instances.
    pub(crate) fn announce(&self, event: impl FnOnce(InstanceId) -> Event) {
        self.announcer.tell(|| event(self.id.clone()));
    }

    /// The same of connections, where any were ended.
    pub(crate) fn announce_ended(&self, why: Ended, change: LiveChange) {
        let count = change.ended;
        if count > 0 {
            self.announce(|instance| Event::ConnectionsEnded { instance, why, count });
        }
    }

    pub(crate) fn announcer(&self) -> &Announcer {
        &self.announcer
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Why the certificate under this id could not be renewed when its source was last asked; `None`
    /// where it could, or is not served.
    pub fn failed_renewal(&self, id: &CertificateId) -> Option<FailedRenewal> {
        self.renewals.failure(id)
    }

    /// How often a certificate could not be renewed, each attempt counted.
    pub fn failed_renewals(&self) -> u64 {
        self.renewals.count()
    }

    pub(crate) fn renewals(&self) -> &Renewals {
        &self.renewals
    }

    /// The time by the instance's clock; `None` where the clock fails.
    pub(crate) fn now(&self) -> Option<UnixTime> {
        self.clock.current_time()
    }

    pub(crate) fn sni_publisher(&self) -> MutexGuard<'_, SniPublisher> {
        self.sni_publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("id", &self.id)
            .field("client_auth", &self.client_auth)
            .field("sni", &self.sni)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

/// A resumed handshake asks neither verifier nor CertificateVerify. What turns it off: no stored
/// sessions, no tickets sent, and none for a client that asks for some.
fn never_resume(config: &mut ServerConfig) {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
}

/// The protocols that are offered: MQTT's registered name, and the one that devices of a large
/// cloud send on any port but 8883.
const ALPN: [&[u8]; 2] = [b"mqtt", b"x-amzn-mqtt-ca"];
