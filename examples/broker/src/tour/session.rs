//! An MQTT 5 session of the tour's client: the few packets that the story needs.

use std::io;

use anyhow::{Result, bail, ensure};
use bytes::BytesMut;
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::packet::disconnect::DisconnectPacket;
use mqtt5::packet::puback::PubAckPacket;
use mqtt5::packet::publish::PublishPacket;
use mqtt5::packet::suback::SubAckReasonCode;
use mqtt5::packet::subscribe::SubscribePacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use mqtt5::transport::packet_io::{decode_buffered_packet, encode_packet_to_buffer};
use mqtt5::{ConnectOptions, Packet, QoS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::client::{Client, within};

/// A device that the broker has sent a CONNACK.
pub(super) struct Session {
    stream: TlsStream<TcpStream>,
    received: BytesMut,
}

impl Session {
    /// Connects and sends CONNECT. A refusal in TLS is the error; one in MQTT is the reason code.
    pub(super) async fn open(
        client: &Client,
        server_name: &str,
        client_id: &str,
    ) -> Result<Result<Self, ReasonCode>> {
        Self::over(client.connect(server_name).await?, client_id).await
    }

    /// Sends CONNECT on a connection that is there. Errors are those of [`open`](Self::open).
    pub(super) async fn over(
        stream: TlsStream<TcpStream>,
        client_id: &str,
    ) -> Result<Result<Self, ReasonCode>> {
        let mut session = Self { stream, received: BytesMut::new() };
        let options = ConnectOptions::new(client_id).protocol_options;
        let connect = ConnectPacket::new(options);
        // A refused client may find its writes failing; what it reads says why.
        let _ = session.send(Packet::Connect(Box::new(connect))).await;
        match session.receive().await? {
            Packet::ConnAck(answer) if answer.reason_code == ReasonCode::Success => Ok(Ok(session)),
            Packet::ConnAck(answer) => Ok(Err(answer.reason_code)),
            other => bail!("{} instead of CONNACK", other.packet_type_name()),
        }
    }

    /// Subscribes at QoS 1.
    pub(super) async fn subscribe(&mut self, filter: &str) -> Result<SubAckReasonCode> {
        let subscribe = SubscribePacket::new(1).add_filter(filter, QoS::AtLeastOnce);
        self.send(Packet::Subscribe(subscribe)).await?;
        match self.receive().await? {
            Packet::SubAck(answer) => match answer.reason_codes.as_slice() {
                [code] => Ok(*code),
                codes => bail!("{} reason codes for one filter", codes.len()),
            },
            other => bail!("{} instead of SUBACK", other.packet_type_name()),
        }
    }

    /// Publishes at QoS 1 and waits for the acknowledgement.
    pub(super) async fn publish(&mut self, topic: &str, payload: &str) -> Result<ReasonCode> {
        let publish = PublishPacket::new(topic, payload.as_bytes().to_vec(), QoS::AtLeastOnce);
        self.send(Packet::Publish(publish.with_packet_id(2))).await?;
        match self.receive().await? {
            Packet::PubAck(answer) => Ok(answer.reason_code),
            other => bail!("{} instead of PUBACK", other.packet_type_name()),
        }
    }

    /// The next message, acknowledged.
    pub(super) async fn next_message(&mut self) -> Result<PublishPacket> {
        match self.receive().await? {
            Packet::Publish(message) => {
                ensure!(message.qos == QoS::AtLeastOnce, "the message came at another QoS");
                let Some(packet_id) = message.packet_id else {
                    bail!("the message has no packet identifier");
                };
                self.send(Packet::PubAck(PubAckPacket::new(packet_id))).await?;
                Ok(message)
            }
            other => bail!("{} instead of PUBLISH", other.packet_type_name()),
        }
    }

    /// Whether the session is still there.
    pub(super) async fn ping(&mut self) -> Result<()> {
        self.send(Packet::PingReq).await?;
        match self.receive().await? {
            Packet::PingResp => Ok(()),
            other => bail!("{} instead of PINGRESP", other.packet_type_name()),
        }
    }

    /// The DISCONNECT that the broker sends, and that nothing follows it.
    pub(super) async fn dismissed(&mut self) -> Result<ReasonCode> {
        match self.receive().await? {
            Packet::Disconnect(told) => {
                self.ends().await?;
                Ok(told.reason_code)
            }
            other => bail!("{} instead of DISCONNECT", other.packet_type_name()),
        }
    }

    /// Disconnects, and waits until the broker has hung up.
    pub(super) async fn leave(mut self) -> Result<()> {
        self.send(Packet::Disconnect(DisconnectPacket::normal())).await?;
        self.ends().await
    }

    /// That the broker sends nothing more. A connection that is cut ends without `close_notify`.
    async fn ends(&mut self) -> Result<()> {
        let read = within("waiting for the end", self.stream.read_buf(&mut self.received)).await;
        let cut = |error: &anyhow::Error| {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            kind == Some(io::ErrorKind::UnexpectedEof)
        };
        match read {
            Err(error) if !cut(&error) => Err(error),
            _ => {
                ensure!(self.received.is_empty(), "{} bytes follow", self.received.len());
                Ok(())
            }
        }
    }

    async fn send(&mut self, packet: Packet) -> Result<()> {
        let mut bytes = BytesMut::new();
        encode_packet_to_buffer(&packet, &mut bytes)?;
        within("sending", async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        })
        .await
    }

    /// Reads here and not with `mqtt5`, whose errors keep no cause: an alert would be lost.
    async fn receive(&mut self) -> Result<Packet> {
        loop {
            if let Some(packet) = decode_buffered_packet(&mut self.received, 5, MAX_PACKET)? {
                return Ok(packet);
            }
            let read = self.stream.read_buf(&mut self.received);
            ensure!(within("waiting for an answer", read).await? != 0, "the broker hung up");
        }
    }
}

/// More than any packet of the tour has.
const MAX_PACKET: usize = 64 * 1024;
