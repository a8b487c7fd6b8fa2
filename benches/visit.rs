//! Handshakes over an in-memory stream, of which the server's part is timed.

#![allow(dead_code, reason = "each bench that includes this file uses a part of it")]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::DuplexStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// One handshake over an in-memory stream; the time in which the server's future was polled.
pub(crate) fn knock<F: Future>(
    runtime: &Runtime,
    client: &Arc<ClientConfig>,
    accept: impl FnOnce(DuplexStream) -> F,
) -> Duration {
    let connector = TlsConnector::from(Arc::clone(client));
    let (near, far) = tokio::io::duplex(64 * 1024);
    runtime.block_on(async {
        let server = polled(accept(far));
        let (connected, (_accepted, spent)) =
            tokio::join!(connector.connect(server_name(), near), server);
        connected.unwrap();
        spent
    })
}

/// What a future gives, and the time in which it was polled.
pub(crate) async fn polled<F: Future>(future: F) -> (F::Output, Duration) {
    let mut spent = Duration::ZERO;
    let mut future = pin!(future);
    let output = poll_fn(|context| {
        let start = Instant::now();
        let poll = future.as_mut().poll(context);
        spent += start.elapsed();
        poll
    });
    (output.await, spent)
}

pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}
