//! What tests of tickets look through: a ticketer of glass, and clients with a memory of their own.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mqtls::{Connection, Resumption, Tickets};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::server::ProducesTickets;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, HandshakeKind, NamedGroup, SignatureScheme};
use rustls_pki_types::ServerName;
use tokio::io::DuplexStream;

use crate::support::{Door, Identity, Log};

/// Comes to the door, goes through, and tells how the handshake went.
pub(crate) async fn come(
    door: &Door,
    client: &ClientConfig,
) -> (HandshakeKind, Connection<DuplexStream>) {
    come_as(door, client, "localhost").await
}

/// The same under another server name.
pub(crate) async fn come_as(
    door: &Door,
    client: &ClientConfig,
    name: &str,
) -> (HandshakeKind, Connection<DuplexStream>) {
    let visit = door.visit(client.clone(), name).await;
    let kind = visit.client.as_ref().unwrap().get_ref().1.handshake_kind().unwrap();
    (kind, visit.admitted().await)
}

/// Why tickets were declined on this thread, since the value was made or last asked.
pub(crate) struct Declines {
    log: Log,
    taken: usize,
}

impl Declines {
    pub(crate) fn watch() -> Self {
        Self { log: Log::start(), taken: 0 }
    }

    pub(crate) fn take(&mut self) -> Vec<String> {
        let logged = self.log.so_far();
        let new = logged.iter().skip(self.taken);
        self.taken = logged.len();
        let declined = new.filter(|logged| logged.text.contains("ticket declined"));
        declined.map(|logged| logged.text.split_once("reason=").unwrap().1.to_owned()).collect()
    }
}

/// Why a ticket is declined that rests on a CA whose record is gone.
pub(crate) const CA_DELETED: &str = "a CA on the device's path was deleted";

/// Why a ticket is declined that names a device's record which is gone, or was never made.
pub(crate) const DEVICE_DELETED: &str = "the device's record was deleted, or never made";

/// Why a ticket is declined that names a device's record which is another than it was.
pub(crate) fn device_changed(device: &Identity) -> String {
    format!("the record of device {} changed", device.serial())
}

/// Keys for tickets that belong to no instance.
pub(crate) fn keys() -> Arc<dyn ProducesTickets> {
    rustls::crypto::aws_lc_rs::Ticketer::new().unwrap()
}

/// Tickets that these keys seal.
pub(crate) fn sealed_by(inner: &Arc<impl ProducesTickets + 'static>) -> Resumption {
    Resumption::On(Tickets::new().sealed_by(Arc::clone(inner) as _))
}

type Change = Box<dyn Fn(Vec<u8>) -> Vec<u8> + Send>;

/// A ticketer that seals nothing: what it is given can be seen, and what it gives back be changed
/// as only somebody could who has the keys.
pub(crate) struct Glass {
    lifetime: u32,
    enabled: AtomicBool,
    sealed: Mutex<Vec<Vec<u8>>>,
    change: Mutex<Option<Change>>,
    opened: AtomicUsize,
}

impl Glass {
    /// Whose tickets last for an hour, as it says.
    pub(crate) fn new() -> Arc<Self> {
        Self::lasting(3600)
    }

    /// Whose tickets last for so many seconds, as it says.
    pub(crate) fn lasting(lifetime: u32) -> Arc<Self> {
        let (sealed, change, opened) = Default::default();
        Arc::new(Self { lifetime, enabled: true.into(), sealed, change, opened })
    }

    /// Says that it is no ticketer any more.
    pub(crate) fn switch_off(&self) {
        self.enabled.store(false, Ordering::SeqCst);
    }

    /// The plain text that was given last.
    pub(crate) fn last(&self) -> Vec<u8> {
        self.sealed.lock().unwrap().last().unwrap().clone()
    }

    /// How many it was given.
    pub(crate) fn issued(&self) -> usize {
        self.sealed.lock().unwrap().len()
    }

    /// How many tickets it was given to open.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// Changes from now on what every ticket says.
    pub(crate) fn change(&self, change: impl Fn(Vec<u8>) -> Vec<u8> + Send + 'static) {
        *self.change.lock().unwrap() = Some(Box::new(change));
    }
}

impl ProducesTickets for Glass {
    fn enabled(&self) -> bool {
        self.enabled.load(Ordering::SeqCst)
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.sealed.lock().unwrap().push(plain.to_vec());
        Some(plain.to_vec())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let change = self.change.lock().unwrap();
        Some(change.as_ref().map_or_else(|| ticket.to_vec(), |change| change(ticket.to_vec())))
    }
}

impl fmt::Debug for Glass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what must not be shown")
    }
}

/// Where a binding says when the full handshake was.
pub(crate) const FULL_AT: Range<usize> = 9..14;

/// A ticket's plain text in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// rustls' own.
    pub(crate) session: Vec<u8>,
    /// Where the device's certificate is missing in it; 0 where it is not.
    pub(crate) gap: u16,
    /// What the session rests on.
    pub(crate) binding: Vec<u8>,
    /// In seconds after the full handshake.
    pub(crate) issued: u32,
}

impl Parts {
    pub(crate) fn of(plain: &[u8]) -> Self {
        let (rest, length) = plain.split_last_chunk().unwrap();
        let (rest, gap) = rest.split_last_chunk().unwrap();
        let (rest, issued) = rest.split_last_chunk().unwrap();
        let (session, binding) =
            rest.split_at(rest.len() - usize::from(u16::from_be_bytes(*length)));
        let (session, binding) = (session.to_vec(), binding.to_vec());
        let (gap, issued) = (u16::from_be_bytes(*gap), u32::from_be_bytes(*issued));
        Self { session, gap, binding, issued }
    }

    /// With the certificate where it is missing, so that it is the session's own and not the record's.
    pub(crate) fn whole(mut self, device: &Identity) -> Self {
        let gap = usize::from(std::mem::take(&mut self.gap));
        assert_ne!(gap, 0, "it is whole");
        self.session.splice(gap..gap, device.end_entity().iter().copied());
        self
    }

    /// With another binding.
    pub(crate) fn bound(self, binding: &[u8]) -> Self {
        Self { binding: binding.to_vec(), ..self }
    }

    pub(crate) fn plain(&self) -> Vec<u8> {
        let Self { session, gap, binding, issued } = self;
        let length = u16::try_from(binding.len()).unwrap();
        let (issued, gap, length) = (issued.to_be_bytes(), gap.to_be_bytes(), length.to_be_bytes());
        [session, binding, &issued[..], &gap, &length].concat()
    }
}

/// A ticketer whose keys can be exchanged, and whose tickets change on their way back.
#[derive(Debug)]
pub(crate) struct Wire {
    keys: Mutex<Arc<dyn ProducesTickets>>,
    change: Mutex<fn(&mut Vec<u8>)>,
}

impl Wire {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { keys: Mutex::new(keys()), change: Mutex::new(|_| {}) })
    }

    pub(crate) fn exchange_keys(&self) {
        *self.keys.lock().unwrap() = keys();
    }

    pub(crate) fn change(&self, change: fn(&mut Vec<u8>)) {
        *self.change.lock().unwrap() = change;
    }
}

impl ProducesTickets for Wire {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.keys.lock().unwrap().lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.lock().unwrap().encrypt(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let mut ticket = ticket.to_vec();
        self.change.lock().unwrap()(&mut ticket);
        self.keys.lock().unwrap().decrypt(&ticket)
    }
}

/// Makes a client offer what it got under one name under every name. Names no group for its first
/// key share either.
pub(crate) fn careless_of_names(client: &mut ClientConfig) {
    let store = AnyName(ClientSessionMemoryCache::new(8));
    client.resumption = rustls::client::Resumption::store(Arc::new(store));
}

#[derive(Debug)]
struct AnyName(ClientSessionMemoryCache);

fn one_name() -> ServerName<'static> {
    ServerName::try_from("one.test").unwrap()
}

impl ClientSessionStore for AnyName {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(one_name(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&one_name())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&one_name());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(one_name(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&one_name())
    }
}

/// Makes a client show its certificate only while the switch is on. A rustls client resumes no
/// session of a client that has another identity; this one has the same.
pub(crate) fn switch_certificate(client: &mut ClientConfig) -> Arc<AtomicBool> {
    let on = Arc::new(AtomicBool::new(true));
    let shown = Arc::clone(&client.client_auth_cert_resolver);
    client.client_auth_cert_resolver = Arc::new(Switched { on: Arc::clone(&on), shown });
    on
}

#[derive(Debug)]
struct Switched {
    on: Arc<AtomicBool>,
    shown: Arc<dyn ResolvesClientCert>,
}

impl ResolvesClientCert for Switched {
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let on = self.on.load(Ordering::SeqCst);
        on.then(|| self.shown.resolve(root_hint_subjects, schemes)).flatten()
    }

    fn has_certs(&self) -> bool {
        true
    }
}
