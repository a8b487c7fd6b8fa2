//! What one connection may do, as `mqtt5` asks for it.

use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use mqtt5::broker::storage::{DynamicStorage, StorageBackend};
use mqtt5::broker::{AuthProvider, AuthResult};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;

use super::client_ids::{Claim, ClientIds};
use super::farewell::LastWords;
use super::identity::Identity;
use super::topics::TopicRules;

/// The answers for one connection; each connection has its own, made from its verified device.
///
/// User name and password in CONNECT are not looked at: the handshake has said who this is.
pub(super) struct Access {
    device: Identity,
    rules: TopicRules,
    client_ids: Arc<ClientIds>,
    sessions: Arc<DynamicStorage>,
    last_words: Arc<LastWords>,
    claim: OnceLock<Claim>,
}

impl Access {
    /// What this device may do on this connection.
    pub(super) fn new(
        device: Identity,
        client_ids: Arc<ClientIds>,
        sessions: Arc<DynamicStorage>,
        last_words: Arc<LastWords>,
    ) -> Self {
        let rules = TopicRules::of(&device);
        Self { device, rules, client_ids, sessions, last_words, claim: OnceLock::new() }
    }

    /// Decides about the client identifier, the one thing in CONNECT that needs deciding.
    ///
    /// First the claim, then the stored session: a claim ends only after its session is stored,
    /// so there is no moment in which neither names the owner.
    async fn admit(&self, client_id: &str) -> mqtt5::Result<AuthResult> {
        let refused = || {
            tracing::debug!(device = %self.device, ?client_id, "client id is another device's");
            Ok(AuthResult::fail(ReasonCode::ClientIdentifierNotValid))
        };
        let Some(claim) = self.client_ids.claim(client_id, &self.device) else {
            return refused();
        };
        let stored = self.sessions.get_session(client_id).await?;
        if stored.is_some_and(|session| session.user_id.as_deref() != Some(self.device.as_str())) {
            return refused();
        }
        match self.claim.set(claim) {
            Ok(()) => Ok(AuthResult::success_with_user(self.device.as_str())),
            // One CONNECT is all that a connection has.
            Err(_) => Ok(AuthResult::fail(ReasonCode::ProtocolError)),
        }
    }
}

impl AuthProvider for Access {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        _: SocketAddr,
    ) -> Answer<'a, mqtt5::Result<AuthResult>> {
        Box::pin(async {
            self.last_words.note(connect)?;
            self.admit(&connect.client_id).await
        })
    }

    fn authorize_publish<'a>(
        &'a self,
        _: &str,
        _: Option<&'a str>,
        topic: &'a str,
    ) -> Answer<'a, bool> {
        Box::pin(ready(self.rules.may_publish(topic)))
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _: &str,
        _: Option<&'a str>,
        filter: &'a str,
    ) -> Answer<'a, bool> {
        Box::pin(ready(self.rules.may_subscribe(filter)))
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[cfg(test)]
mod tests {
    use mqtt5::ConnectOptions;
    use mqtt5::broker::MemoryBackend;
    use mqtt5::broker::storage::ClientSession;

    use super::*;

    struct Broker {
        client_ids: Arc<ClientIds>,
        sessions: Arc<DynamicStorage>,
    }

    impl Broker {
        fn new() -> Self {
            let sessions = Arc::new(DynamicStorage::Memory(MemoryBackend::new()));
            Self { client_ids: Arc::default(), sessions }
        }

        fn access(&self, name: &str) -> Access {
            let device = Identity::new("01", Some(name), "ab");
            let sessions = Arc::clone(&self.sessions);
            Access::new(device, Arc::clone(&self.client_ids), sessions, Arc::default())
        }
    }

    async fn connect(access: &Access, client_id: &str, user: Option<&str>) -> AuthResult {
        let mut connect = ConnectPacket::new(ConnectOptions::new(client_id).protocol_options);
        connect.username = user.map(ToOwned::to_owned);
        connect.password = user.map(|_| b"secret".to_vec());
        access.authenticate(&connect, ([127, 0, 0, 1], 1).into()).await.unwrap()
    }

    #[tokio::test]
    async fn the_user_is_the_verified_device_whatever_connect_says() {
        let broker = Broker::new();
        let access = broker.access("device-1");
        let result = connect(&access, "device-2", Some("01/device-2")).await;
        assert!(result.authenticated);
        assert_eq!(result.user_id.as_deref(), Some("01/device-1"));
        let topic = "devices/01/device-2/up";
        assert!(!access.authorize_publish("device-2", Some("01/device-2"), topic).await);
        assert!(!access.authorize_subscribe("device-2", Some("01/device-2"), topic).await);
    }

    #[tokio::test]
    async fn a_client_id_in_use_is_refused_to_another_device() {
        let broker = Broker::new();
        let holder = broker.access("device-1");
        assert!(connect(&holder, "sensor", None).await.authenticated);
        let other = connect(&broker.access("device-2"), "sensor", None).await;
        assert_eq!(other.reason_code, ReasonCode::ClientIdentifierNotValid);
        assert!(!other.authenticated);
        assert!(connect(&broker.access("device-1"), "sensor", None).await.authenticated);
        drop(holder);
        assert!(connect(&broker.access("device-2"), "sensor", None).await.authenticated);
    }

    #[tokio::test]
    async fn a_session_that_waits_is_refused_to_another_device() {
        let broker = Broker::new();
        let mut session = ClientSession::new("sensor", true, Some(600));
        session.user_id = Some("01/device-1".to_owned());
        broker.sessions.store_session(session).await.unwrap();
        let other = connect(&broker.access("device-2"), "sensor", None).await;
        assert_eq!(other.reason_code, ReasonCode::ClientIdentifierNotValid);
        assert!(connect(&broker.access("device-1"), "sensor", None).await.authenticated);
    }
}
