//! What an instance is created from.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::id::{AccountId, InstanceId, Region};
use crate::name::HostName;
use crate::sni::SniPolicy;
use crate::trust::{ClientAuth, Provisioning, Resumption, TrustSettings};

/// What an [`Instance`](super::Instance) is created from: its id, and what differs from the
/// defaults.
#[derive(Clone, Debug)]
#[must_use]
pub struct InstanceSpec {
    pub(super) id: InstanceId,
    pub(super) region: Option<Region>,
    pub(super) owner: Option<AccountId>,
    pub(super) edition: Edition,
    pub(super) client_auth: ClientAuth,
    pub(super) resumption: Resumption,
    pub(super) shared: Option<Box<[HostName]>>,
    pub(super) sni_policy: SniPolicy,
    pub(super) trust: TrustSettings,
    pub(super) max_names: Option<usize>,
    pub(super) handshakes_per_second: Option<NonZeroU32>,
}

impl InstanceSpec {
    /// An instance with this id that requires every client to show a certificate, and whose clients
    /// may resume their sessions.
    pub fn new(id: InstanceId) -> Self {
        Self {
            id,
            region: None,
            owner: None,
            edition: Edition::default(),
            client_auth: ClientAuth::default(),
            resumption: Resumption::default(),
            shared: None,
            sni_policy: SniPolicy::default(),
            trust: TrustSettings::default(),
            max_names: None,
            handshakes_per_second: None,
        }
    }

    /// Where it is. Callers that are an account reach it only from there, and not at all where
    /// this is not said; see [`Caller::account`](crate::Caller::account).
    pub fn region(self, region: Region) -> Self {
        Self { region: Some(region), ..self }
    }

    /// Whose it is. No other account reaches it, and none at all where this is not said; see
    /// [`Caller::account`](crate::Caller::account).
    pub fn owner(self, owner: AccountId) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// What was bought. It is kept for the broker to ask: nothing here depends on it.
    pub fn edition(self, edition: Edition) -> Self {
        Self { edition, ..self }
    }

    /// Whether clients must, may or cannot show a certificate.
    pub fn client_auth(self, client_auth: ClientAuth) -> Self {
        Self { client_auth, ..self }
    }

    /// Whether and how clients may resume their sessions.
    pub fn resumption(self, resumption: Resumption) -> Self {
        Self { resumption, ..self }
    }

    /// Lets clients reach the instance through [`Acceptor::shared`](crate::Acceptor::shared), by each
    /// name that its `SniConfig` covers and by these `endpoints`, which are its own from its creation
    /// to its removal. Asked for an endpoint that no entry covers, it answers with its default
    /// certificate.
    ///
    /// No name leads to two instances: a name, or a wildcard with a name that it covers, belongs to
    /// whoever claimed it first, and an endpoint that is taken keeps the instance from being created
    /// ([`CreateError::NameTaken`](super::CreateError::NameTaken)). Instances on listeners of their own, which
    /// do not say this, claim nothing and may have any.
    pub fn shared(self, endpoints: impl IntoIterator<Item = HostName>) -> Self {
        Self { shared: Some(endpoints.into_iter().collect()), ..self }
    }

    /// What clients are shown for whose name there is nothing that fits: unless said otherwise always
    /// something.
    pub fn sni_policy(self, sni_policy: SniPolicy) -> Self {
        Self { sni_policy, ..self }
    }

    /// How many CAs may be registered; one more is refused with `CaNumExceed`. Without this there is no
    /// limit, here as below.
    pub fn max_cas(mut self, max_cas: usize) -> Self {
        self.trust.max_cas = Some(max_cas);
        self
    }

    /// Whether devices that are not on record may come in: unless said otherwise each is recorded when
    /// it has completed its first handshake.
    pub fn provisioning(mut self, provisioning: Provisioning) -> Self {
        self.trust.devices.provisioning = provisioning;
        self
    }

    /// How many devices may be on record, 1,000,000 unless said otherwise. At the limit a new device is
    /// refused, with the alert of an unknown CA, and whoever is on record comes in as before. No record
    /// is given up for another one but those of active devices whose certificates have expired and that
    /// have no connection, by [`sweep`](super::Instance::sweep), once nine tenths of the room are taken.
    ///
    /// [`RegisterDeviceCertificate`](crate::RegisterDeviceCertificate) takes a device that is to be
    /// inactive also beyond the limit: a stolen one must not come in for want of room.
    pub fn max_devices(mut self, max_devices: usize) -> Self {
        self.trust.devices.max_devices = max_devices;
        self
    }

    /// Goes by a revocation list also when its next one should have come: what it does not revoke is
    /// believed, and one that is out of date already may be [loaded](crate::LoadRevocationList).
    /// Otherwise every device below its CA is refused from then on, until a newer one is loaded;
    /// connections that are up stay.
    pub fn accept_stale_revocation_lists(mut self) -> Self {
        self.trust.revocation.accept_stale = true;
        self
    }

    /// Refuses every device on whose path a CA has no revocation list. Intermediates that are not
    /// registered have none, since lists are [loaded](crate::LoadRevocationList) for registered CAs.
    /// Otherwise a CA without a list has revoked nothing.
    pub fn require_revocation_lists(mut self) -> Self {
        self.trust.revocation.required = true;
        self
    }

    /// How many names and wildcards a `SniConfig` may have; one with more is refused with
    /// `ParameterFieldCheckFailed`. A name with two certificates counts once, endpoints do not.
    pub fn max_names(self, max_names: usize) -> Self {
        Self { max_names: Some(max_names), ..self }
    }

    /// How many connections may be up, those included that were ended and that their owner has not
    /// dropped yet. One more is refused: by an [`Acceptor`](crate::Acceptor) before its handshake
    /// where it can tell by then, by the gate otherwise.
    pub fn max_connections(mut self, max_connections: usize) -> Self {
        self.trust.live.max_connections = Some(max_connections);
        self
    }

    /// How many handshakes an [`Acceptor`](crate::Acceptor) takes in a second, on average; as many at
    /// once where none came for a second. One more is refused before anything is computed
    /// ([`Refused::TooManyHandshakes`](crate::Refused::TooManyHandshakes)). Counted is each whole
    /// ClientHello that leads to the instance while it is not full, whatever comes of it. On a listener
    /// that many share this keeps one of them from taking the permits of all.
    pub fn handshakes_per_second(self, handshakes: NonZeroU32) -> Self {
        Self { handshakes_per_second: Some(handshakes), ..self }
    }

    /// Leaves connections up when a CA that let them in, or their device, is deactivated or deleted, and
    /// when a revocation list names a certificate of theirs. They stay for as
    /// long as client and broker like, up to the end of their certificates, of
    /// [`max_lifetime`](Self::max_lifetime), or of the instance. New handshakes and tickets are refused
    /// all the same. The operations say how many they left up.
    pub fn keep_connections(mut self) -> Self {
        self.trust.live.keep = true;
        self
    }

    /// Ends each connection after this time, up to a tenth of it sooner, so that those who came
    /// together do not come back together. In whole seconds (what is shorter than one is nothing), by
    /// the instance's clock, at the next [`sweep`](super::Instance::sweep). Without this a connection
    /// lasts until its certificates expire, and one without a device has no end of its own.
    pub fn max_lifetime(mut self, max_lifetime: Duration) -> Self {
        self.trust.live.max_lifetime = Some(max_lifetime);
        self
    }
}

/// The editions in which a cloud sells instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Edition {
    /// The smallest.
    Standard,
    /// The one between.
    Professional,
    /// The one for which the cloud documents all operations.
    #[default]
    Platinum,
}
