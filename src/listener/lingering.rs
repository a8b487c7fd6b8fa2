//! Closing a refused connection so that the client gets to read its alert.

use std::io;
use std::time::Duration;

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Sends this alert, as a fatal one, and closes.
///
/// rustls has `access_denied` and no other for a client to whom no certificate is shown.
pub(super) async fn refuse<IO: AsyncRead + AsyncWrite + Unpin>(alert: AlertDescription, io: IO) {
    say_and_close(&alert_record(alert), io).await;
}

/// Closes a stream on which rustls has written its alert.
pub(super) async fn close<IO: AsyncRead + AsyncWrite + Unpin>(io: IO) {
    say_and_close(&[], io).await;
}

/// Writes, flushes, ends the write side, and reads what the client still sends before closing: a
/// socket that is closed with unread bytes makes TCP send a reset, which can overtake the alert.
async fn say_and_close<IO: AsyncRead + AsyncWrite + Unpin>(last_words: &[u8], mut io: IO) {
    let drained = async {
        io.write_all(last_words).await?;
        io.flush().await?;
        io.shutdown().await?;
        let mut rest = io.take(MAX_DRAINED);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        Ok::<_, io::Error>(())
    };
    // Whatever goes wrong here, the connection is refused already.
    let _outcome = timeout(MAX_LINGER, drained).await;
}

/// A plaintext record (21, TLS 1.2) of the two bytes of a fatal (2) alert
/// ([RFC 8446 sections 5.1 and 6](https://www.rfc-editor.org/rfc/rfc8446#section-5.1)).
fn alert_record(alert: AlertDescription) -> [u8; 7] {
    [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, alert.into()]
}

const MAX_DRAINED: u64 = 16 * 1024;
const MAX_LINGER: Duration = Duration::from_secs(1);
