//! Accepting connections, and stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mqtls::{Acceptor, Ended};
use tokio::join;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::door::Door;
use crate::mqtt::{Identity, Services};

/// Serves MQTT over TLS on a listener, to all instances behind the door, until `stop` is ready.
///
/// Then nothing more is accepted, handshakes have a second to end, MQTT 5 clients are told that the
/// server goes, and what is not done within five seconds is dropped.
pub(crate) async fn serve(listener: TcpListener, door: &Door, stop: impl Future<Output = ()>) {
    let services = Arc::new(Services::of(door.ids()));
    let front = Front { acceptor: door.acceptor(), services };
    let (shutdown, _) = broadcast::channel(1);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    let mut house = std::pin::pin!(front.services.keep_house());
    loop {
        tokio::select! {
            Some((stream, peer)) = front.acceptor.next(|| listener.accept()) => {
                connections.spawn(front.clone().connection(stream, peer, shutdown.subscribe()));
            }
            Some(_) = connections.join_next() => {}
            never = &mut house => match never {},
            () = &mut stop => break,
        }
    }
    drop(listener);
    // Whoever is in its handshake now may finish it, and is told over MQTT like the others.
    let drained = front.acceptor.drain(HANDSHAKE_DRAIN);
    // No receiver is no error: there may be no connection.
    let _ = shutdown.send(());
    let ended = async { while connections.join_next().await.is_some() {} };
    let (drained, ended) = join!(drained, timeout(DRAIN, ended));
    tracing::debug!(?drained, "handshakes at shutdown");
    if ended.is_err() {
        tracing::warn!(left = connections.len(), "connections dropped at shutdown");
    }
}

/// What each connection needs.
#[derive(Clone)]
struct Front {
    acceptor: Acceptor,
    services: Arc<Services>,
}

impl Front {
    /// One connection, from TCP to its end.
    async fn connection(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        shutdown: broadcast::Receiver<()>,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "small packets will be late");
        }
        let Ok(connection) = self.acceptor.accept(stream).await else {
            // Counted and logged with its reason already.
            return;
        };
        let instance = connection.instance().clone();
        let Some(service) = self.services.get(&instance) else {
            tracing::debug!(%peer, %instance, "the instance has no MQTT service");
            return;
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
        tracing::debug!(%peer, %instance, %device, "device connected");
        let handle = connection.handle();
        let served = service.serve(connection, peer, device.clone(), shutdown).await;
        // What ended the connection is asked first: to the MQTT session any cut looks like a
        // stream that broke. How many an operation ended is logged with the operation.
        match (handle.ended().filter(|why| *why != Ended::Dropped), served) {
            (Some(why), _) => tracing::debug!(%peer, %instance, %device, %why, "connection cut"),
            (None, Ok(())) => tracing::debug!(%peer, %instance, %device, "device disconnected"),
            (None, Err(error)) => {
                tracing::debug!(%peer, %instance, %device, ?error, "connection ended")
            }
        }
    }
}

/// How long handshakes have to end at shutdown: a real client needs a few round trips.
const HANDSHAKE_DRAIN: Duration = Duration::from_secs(1);

/// How long connections have to end at shutdown.
const DRAIN: Duration = Duration::from_secs(5);
