//! What an MQTT 5 client is told when its connection is cut.

use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use mqtls::ConnectionHandle;
use mqtt5::Packet;
use mqtt5::broker::{BrokerEventHandler, ClientConnectEvent};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::packet::disconnect::DisconnectPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use mqtt5::transport::packet_io::encode_packet_to_buffer;

/// One connection's last word: a DISCONNECT, left with the connection once the client may read it.
///
/// On a connection that is over nothing more can be written, so the packet is left beforehand. It
/// is sent only where the connection is cut, not where it ends in the usual way.
pub(super) struct Farewell {
    connection: ConnectionHandle,
    words: Arc<LastWords>,
}

impl Farewell {
    /// Nothing is left yet: a client that has not been accepted is told nothing.
    pub(super) fn new(connection: ConnectionHandle, words: Arc<LastWords>) -> Self {
        Self { connection, words }
    }
}

impl BrokerEventHandler for Farewell {
    /// `mqtt5` says this after it has written CONNACK, and only where that lets the client in. A
    /// DISCONNECT in its place would be none of the answers to CONNECT that a client expects.
    fn on_client_connect<'a>(
        &'a self,
        _: ClientConnectEvent,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        if let Some(Err(error)) = self.words.0.get().map(|words| self.connection.farewell(words)) {
            tracing::debug!(%error, "the client will be cut without a word");
        }
        Box::pin(ready(()))
    }
}

/// What one connection's client can be told, as its CONNECT says. Empty: nothing.
#[derive(Debug, Default)]
pub(super) struct LastWords(OnceLock<Bytes>);

impl LastWords {
    /// Notes what this client can be told. A connection has one CONNECT; the first one counts.
    ///
    /// # Errors
    /// When the packet cannot be encoded.
    pub(super) fn note(&self, connect: &ConnectPacket) -> mqtt5::Result<()> {
        if let Some(words) = words_for(connect)? {
            self.0.get_or_init(|| words);
        }
        Ok(())
    }
}

/// The packet that a client is sent at the cut; `None` where there is none for it.
///
/// MQTT 3.1.1 has no DISCONNECT from the server: there the end of the stream says it all. MQTT 5
/// adds, in 3.1.2.11.4, that the server must not send a packet longer than the client's Maximum
/// Packet Size.
fn words_for(connect: &ConnectPacket) -> mqtt5::Result<Option<Bytes>> {
    if connect.protocol_version != MQTT_5 {
        return Ok(None);
    }
    let mut words = BytesMut::new();
    encode_packet_to_buffer(&Packet::Disconnect(DisconnectPacket::new(REASON)), &mut words)?;
    let longest =
        connect.properties.get_maximum_packet_size().map_or(Ok(usize::MAX), usize::try_from);
    Ok(longest.is_ok_and(|longest| words.len() <= longest).then(|| words.freeze()))
}

/// The protocol level of MQTT 5 in CONNECT.
const MQTT_5: u8 = 5;

/// The one reason that has to do for all, since the words are left before anybody knows why they
/// will be said. "The Connection is closed due to an administrative action" (MQTT 5, 3.14.2.1) is
/// what it comes to: an operator switched off what let the client in. "Not authorized", 0x87, is
/// about a request that the client made, and clients take it for final; a device of a CA that is
/// switched on again may come back.
const REASON: ReasonCode = ReasonCode::AdministrativeAction;

#[cfg(test)]
mod tests {
    use mqtt5::ConnectOptions;

    use super::*;

    fn connect(version: u8, longest: Option<u32>) -> ConnectPacket {
        let mut connect = ConnectPacket::new(ConnectOptions::new("sensor").protocol_options);
        connect.protocol_version = version;
        if let Some(longest) = longest {
            connect.properties.set_maximum_packet_size(longest);
        }
        connect
    }

    #[test]
    fn mqtt_5_clients_are_told_and_others_are_not() {
        for (version, expected) in [(5, Some(DISCONNECT)), (4, None), (3, None), (6, None)] {
            let words = words_for(&connect(version, None)).unwrap();
            assert_eq!(words.as_deref(), expected, "protocol level {version}");
        }
    }

    #[test]
    fn no_client_is_told_more_than_it_takes() {
        for (longest, expected) in [(2, None), (3, Some(DISCONNECT)), (u32::MAX, Some(DISCONNECT))]
        {
            let words = words_for(&connect(5, Some(longest))).unwrap();
            assert_eq!(words.as_deref(), expected, "at most {longest} bytes");
        }
    }

    /// DISCONNECT, one more byte, 0x98.
    const DISCONNECT: &[u8] = &[0xe0, 0x01, 0x98];
}
