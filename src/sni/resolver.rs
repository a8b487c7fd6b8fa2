//! The cell that holds the current table, and its face towards rustls.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SignatureScheme};
use rustls_pki_types::UnixTime;

use super::certificate_set::CertificateSet;
use super::explanation::Explanation;
use super::map::SniMap;
use super::offer::{Offer, Suites};
use super::policy::{SniPolicy, Terms};
use super::renewed::Renewed;
use super::retired::{Retired, StillHeld};
use super::select::Selection;
use super::table::{Next, SniTable};
use crate::lent::{borrow, lend, lend_to};
use crate::primitives::ArcSwapOption;

/// The certificates of one instance, behind rustls' `ResolvesServerCert`.
///
/// A reader here; what changes an instance's is [`SetSniConfig`](crate::SetSniConfig), and any
/// other's its [`SniPublisher`]. Before the first change there is no table, and no handshake is
/// answered.
pub struct SniResolver {
    /// `None` until the first configuration: a table always has its default.
    current: ArcSwapOption<SniTable>,
    suites: Suites,
    terms: Arc<Terms>,
    /// Its own in this process.
    number: u64,
}

impl SniResolver {
    /// The table that answers at this moment.
    pub fn table(&self) -> Option<Arc<SniTable>> {
        self.current.load_full()
    }

    /// What a client would be shown that asked for `server_name` with these signature schemes and
    /// cipher suites, of what else there was, and why: the answer of the same function that handshakes
    /// ask. `None` before the first table. On a shared listener it is what a client is shown who is led
    /// to this instance: [`Instances::route`](crate::Instances::route) tells where a name leads, and
    /// [`Route::explain`](crate::instance::Route::explain) why the client is shown what it is shown there.
    pub fn explain(
        &self,
        server_name: Option<&str>,
        schemes: &[SignatureScheme],
        suites: &[CipherSuite],
    ) -> Option<Explanation> {
        let table = self.current.load_full()?;
        Some(Explanation::of(&table, server_name, &self.offer(schemes, suites)))
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What a client can use of these.
    pub(crate) fn offer<'a>(
        &'a self,
        schemes: &'a [SignatureScheme],
        suites: &'a [CipherSuite],
    ) -> Offer<'a> {
        Offer::new(&self.suites, schemes, suites)
    }

    /// The chain and key for a client, from the table that its handshake pinned, or else from the
    /// current one. What the adapter below calls, and the benches.
    pub fn choose(
        &self,
        server_name: Option<&str>,
        schemes: &[SignatureScheme],
        suites: &[CipherSuite],
    ) -> Option<Arc<CertifiedKey>> {
        let offer = Offer::new(&self.suites, schemes, suites);
        let key = |selection: Selection<'_>| Arc::clone(selection.certified_key());
        let from_pinned = borrow(&PINNED, |pinned| {
            // A connection that was made with another's configuration is shown nothing of this one's.
            let its_own = pinned.table.is_of(self.number).then(|| pinned.chosen.clone());
            its_own.and_then(|chosen| {
                chosen.or_else(|| pinned.table.select(server_name, &offer).ok().map(key))
            })
        });
        from_pinned.unwrap_or_else(|| {
            let table = self.current.load();
            table.as_ref()?.select(server_name, &offer).ok().map(key)
        })
    }
}

impl ResolvesServerCert for SniResolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(
            client_hello.server_name(),
            client_hello.signature_schemes(),
            client_hello.cipher_suites(),
        )
    }
}

impl fmt::Debug for SniResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SniResolver").field("table", &self.current.load()).finish_non_exhaustive()
    }
}

/// The only writer of a [`SniResolver`].
///
/// An instance keeps its own to itself. One that belongs to no instance serves whoever builds the
/// maps without an operation: a server whose certificates come from elsewhere, a bench.
pub struct SniPublisher {
    resolver: Arc<SniResolver>,
    retired: Retired,
}

impl SniPublisher {
    /// A resolver that serves nothing yet and signs with what `provider` can, with its writer.
    pub fn new(provider: &CryptoProvider) -> Self {
        Self::with_policy(provider, SniPolicy::default())
    }

    /// The same with a policy.
    pub fn with_policy(provider: &CryptoProvider, policy: SniPolicy) -> Self {
        Self::on_terms(provider, Terms::new(policy, &[]))
    }

    pub(crate) fn on_terms(provider: &CryptoProvider, terms: Terms) -> Self {
        let (suites, terms) = (Suites::of(provider), Arc::new(terms));
        let number = LAST_NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
        let current = ArcSwapOption::empty();
        let resolver = Arc::new(SniResolver { current, suites, terms, number });
        Self { resolver, retired: Retired::default() }
    }

    /// The resolver.
    pub fn resolver(&self) -> &Arc<SniResolver> {
        &self.resolver
    }

    /// Puts a table with `map` in the place of the current one and returns it. A handshake that
    /// starts after this has returned is answered from it. Ends with a [`sweep`](Self::sweep).
    ///
    /// No certificate counts as expired: [`publish_at`](Self::publish_at) knows the time.
    pub fn publish(&mut self, map: SniMap<CertificateSet>) -> Arc<SniTable> {
        let next = self.next(map, None);
        self.replace_by(next)
    }

    /// The same for this time, for a [policy](SniPolicy::expired) of certificates that have expired.
    pub fn publish_at(&mut self, map: SniMap<CertificateSet>, now: UnixTime) -> Arc<SniTable> {
        let next = self.next(map, Some(now));
        self.replace_by(next)
    }

    /// The table with this map, for this time, that is to take the place of the current one.
    pub(crate) fn next(&self, map: SniMap<CertificateSet>, now: Option<UnixTime>) -> Next {
        let SniResolver { current, terms, number, .. } = self.resolver.as_ref();
        let generation = current.load().as_ref().map_or(1, |table| table.generation() + 1);
        let table = SniTable::new(*number, map, generation, terms, now);
        Next { table: Arc::new(table), renewed: None }
    }

    /// The current table for this time, with these certificates in the place of theirs; `None` where
    /// there is none. To be followed by [`replace_by`](Self::replace_by) before anything else is published.
    pub(crate) fn next_renewed(&self, renewed: Renewed, now: Option<UnixTime>) -> Option<Next> {
        let table = Arc::new(self.resolver.current.load().as_ref()?.renewed(&renewed, now));
        Some(Next { table, renewed: Some(renewed) })
    }

    /// Puts the [`next`](Self::next) table in the place of the current one, and returns it.
    pub(crate) fn replace_by(&mut self, next: Next) -> Arc<SniTable> {
        let Next { table, renewed } = next;
        // From here on the replaced table's count says who uses it: a swap counts in whoever loaded
        // it and has not counted itself in.
        if let Some(replaced) = self.resolver.current.swap(Some(Arc::clone(&table))) {
            match renewed {
                None => self.retired.take_over(replaced, &table),
                Some(renewed) => self.retired.take_over_renewed(replaced, &table, &renewed),
            }
            self.sweep();
        }
        table
    }

    /// Frees replaced tables and certificates that no handshake uses anymore; no handshake frees
    /// them itself. Each change does this, so it is of use where changes are rare: call it now and
    /// then. Costs nothing where nothing is left to free.
    pub fn sweep(&mut self) -> StillHeld {
        self.retired.sweep()
    }
}

impl fmt::Debug for SniPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SniPublisher").field("resolver", &self.resolver).finish_non_exhaustive()
    }
}

/// A handshake all of whose questions are answered from one table, however often the client asks
/// (twice after a HelloRetryRequest) and whatever is published meanwhile.
#[derive(Debug)]
pub(crate) struct Pinned(Option<PinnedTable>);

#[derive(Debug)]
struct PinnedTable {
    table: Arc<SniTable>,
    /// What it has for the client, where it was asked already.
    chosen: Option<Arc<CertifiedKey>>,
}

impl Pinned {
    /// A handshake that is answered from `table`, which has this for the client where it was asked
    /// already: a client asks for the same name each time.
    pub(crate) fn to(table: Arc<SniTable>, chosen: Option<Arc<CertifiedKey>>) -> Self {
        Self(Some(PinnedTable { table, chosen }))
    }

    /// Runs the handshake.
    pub(crate) async fn scope<F: Future>(self, handshake: F) -> F::Output {
        lend_to(&PINNED, self.0, handshake).await
    }

    /// Runs one step of it.
    pub(crate) fn step<R>(&mut self, step: impl FnOnce() -> R) -> R {
        lend(&PINNED, &mut self.0, step)
    }
}

/// The number of the last resolver that was made.
static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static PINNED: Cell<Option<PinnedTable>> = const { Cell::new(None) };
}
