//! The MQTT service behind the front door: sessions, routing, and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mqtls::Connection;
use mqtt5::broker::BrokerConfig;
use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::resource_monitor::{ResourceLimits, ResourceMonitor};
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::storage::{DynamicStorage, MemoryBackend, QueueLimits, StorageBackend};
use mqtt5::broker::sys_topics::BrokerStats;
use mqtt5::broker::transport::BrokerTransport;
use tokio::net::TcpStream;
use tokio::sync::broadcast;

use super::access::Access;
use super::client_ids::ClientIds;
use super::farewell::Farewell;
use super::identity::Identity;
use super::stream::PeerStream;

/// The MQTT service of one instance, shared by all of its connections. Sessions and retained messages
/// live in memory.
///
/// `mqtt5`'s own listeners stay out of it, its TLS in particular: they would decide about devices
/// by other rules. Its `$SYS` topics are off since no device may read them.
pub(crate) struct Service {
    config: BrokerConfig,
    router: Arc<MessageRouter>,
    sessions: Arc<DynamicStorage>,
    client_ids: Arc<ClientIds>,
    stats: Arc<BrokerStats>,
    resources: Arc<ResourceMonitor>,
}

impl Service {
    /// An empty service.
    pub(super) fn new() -> Self {
        let sessions = Arc::new(DynamicStorage::Memory(MemoryBackend::with_queue_limits(QUEUE)));
        let router = MessageRouter::with_storage(Arc::clone(&sessions))
            .with_fallback_queue_limits(QUEUE)
            .with_retained_limits(MAX_RETAINED, MAX_PACKET);
        Self {
            config: config(),
            router: Arc::new(router),
            sessions,
            client_ids: Arc::default(),
            stats: Arc::default(),
            resources: Arc::new(ResourceMonitor::new(limits())),
        }
    }

    /// Speaks MQTT with one verified device until either side ends it, or the connection is over,
    /// or `shutdown` says so: then the client is told (MQTT 5) and its session kept as usual.
    ///
    /// # Errors
    /// How the connection ended, where it did not end with a DISCONNECT.
    pub(crate) async fn serve(
        &self,
        connection: Connection<TcpStream>,
        peer: SocketAddr,
        device: Identity,
        shutdown: broadcast::Receiver<()>,
    ) -> mqtt5::Result<()> {
        // `mqtt5` flushes nothing, and a farewell is said only behind what was flushed.
        let connection = connection.flush_each_write();
        let client_ids = Arc::clone(&self.client_ids);
        let last_words = Arc::default();
        let farewell = Farewell::new(connection.handle(), Arc::clone(&last_words));
        let access = Access::new(device, client_ids, Arc::clone(&self.sessions), last_words);
        // `mqtt5` has one place for who hears of its clients, and tells nothing there by which to
        // know one connection from another. So each connection has a configuration of its own.
        let config = self.config.clone().with_event_handler(Arc::new(farewell));
        let ended = ClientHandler::new(
            BrokerTransport::WebSocket(Box::new(PeerStream::new(connection, peer))),
            peer,
            Arc::new(config),
            Arc::clone(&self.router),
            Arc::new(access),
            Some(Arc::clone(&self.sessions)),
            Arc::clone(&self.stats),
            Arc::clone(&self.resources),
            shutdown,
        )
        .run()
        .await;
        match ended {
            Err(error) if error.is_normal_disconnect() => Ok(()),
            other => other,
        }
    }

    /// Removes what has expired: sessions, queued messages, rate windows.
    pub(super) async fn clean_up(&self) {
        if let Err(error) = self.sessions.cleanup_expired().await {
            tracing::warn!(%error, "expired MQTT sessions were not removed");
        }
        self.router.sweep_sessions().await;
        self.resources.cleanup_expired_windows().await;
    }
}

/// Limits for everything that a client asks for; `mqtt5`'s own defaults leave most of it open.
fn config() -> BrokerConfig {
    BrokerConfig {
        bind_addresses: Vec::new(),
        session_expiry_interval: SESSION_EXPIRY,
        max_packet_size: MAX_PACKET,
        topic_alias_maximum: 16,
        shared_subscription_available: false,
        max_subscriptions_per_client: 100,
        max_retained_messages: MAX_RETAINED,
        max_retained_message_size: MAX_PACKET,
        client_channel_capacity: 1_000,
        server_receive_maximum: Some(64),
        sys_topics_enabled: false,
        ..BrokerConfig::default()
    }
}

/// Limits for each client by itself. How many there may be the front door has decided.
fn limits() -> ResourceLimits {
    ResourceLimits { rate_limit_window: Duration::from_secs(1), ..ResourceLimits::default() }
}

const MAX_PACKET: usize = 256 * 1024;
const MAX_RETAINED: usize = 1_000;
const QUEUE: QueueLimits = QueueLimits { max_messages: 1_000, max_bytes: 4 * 1024 * 1024 };
const SESSION_EXPIRY: Duration = Duration::from_secs(60 * 60);
/// How often [`Service::clean_up`] is of use.
pub(super) const HOUSEKEEPING: Duration = Duration::from_secs(60);
