//! Accepting connections, and stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mqtls::{Acceptor, Instance};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::mqtt::{Identity, Service};

/// Serves MQTT over TLS on a listener until `stop` is ready.
///
/// Then nothing more is accepted, MQTT 5 clients are told that the server goes, and what is not
/// done within five seconds is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    instance: &Arc<Instance>,
    stop: impl Future<Output = ()>,
) {
    let front = Front { acceptor: Acceptor::new(instance), service: Arc::new(Service::new()) };
    let (shutdown, _) = broadcast::channel(1);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    let mut house = std::pin::pin!(front.service.keep_house());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(front.clone().connection(stream, peer, shutdown.subscribe()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: the next try would fail at once too.
                    tracing::debug!(%error, "accepting failed");
                    sleep(BACK_OFF).await;
                }
            },
            Some(_) = connections.join_next() => {}
            never = &mut house => match never {},
            () = &mut stop => break,
        }
    }
    drop(listener);
    // No receiver is no error: there may be no connection.
    let _ = shutdown.send(());
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, drained).await.is_err() {
        tracing::warn!(left = connections.len(), "connections dropped at shutdown");
    }
}

/// What each connection needs.
#[derive(Clone)]
struct Front {
    acceptor: Acceptor,
    service: Arc<Service>,
}

impl Front {
    /// One connection, from TCP to its end.
    async fn connection(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        mut shutdown: broadcast::Receiver<()>,
    ) {
        if !self.service.has_room_for(peer.ip()).await {
            tracing::debug!(%peer, "no room for another connection");
            return;
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "small packets will be late");
        }
        let accepted = tokio::select! {
            accepted = self.acceptor.accept(stream) => accepted,
            _ = shutdown.recv() => return,
        };
        let connection = match accepted {
            Ok(connection) => connection,
            Err(refused) => {
                tracing::debug!(%peer, %refused, "handshake refused");
                return;
            }
        };
        // The instance demands a certificate, so there is a device; without one there is nobody
        // to speak MQTT with.
        let Some(device) = connection.device() else {
            tracing::debug!(%peer, "connection without a device");
            return;
        };
        let device = Identity::new(
            &device.ca_serial().to_string(),
            device.common_name(),
            &device.sha256().to_string(),
        );
        tracing::debug!(%peer, %device, "device connected");
        match self.service.serve(connection, peer, device.clone(), shutdown).await {
            Ok(()) => tracing::debug!(%peer, %device, "device disconnected"),
            Err(error) => tracing::debug!(%peer, %device, ?error, "connection ended"),
        }
    }
}

/// How long to wait after a failed accept.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How long connections have to end at shutdown.
const DRAIN: Duration = Duration::from_secs(5);
