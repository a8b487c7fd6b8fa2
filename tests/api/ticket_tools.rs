//! What tests of tickets look through: a ticketer of glass, clients with a memory of their own.

use mqtls::Connection;
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::DuplexStream;

use crate::support::{Door, Log};

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
