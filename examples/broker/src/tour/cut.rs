//! The part of the story in which a live connection and its tickets end.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::client::{Client, Keys, handshake};
use super::session::Session;
use super::steps::{ADMITTED, SUCCESS, UNKNOWN_CA, reception};
use super::story::Story;
use crate::door::FIRST_ENDPOINT;

impl<W: Write> Story<W> {
    /// A device whose CA is switched off under it, and on again.
    pub(super) async fn a_live_subscriber_cut(&mut self) -> Result<()> {
        self.report.part("A live subscriber, its tickets, and the CA that let it in")?;
        let sn = self.retired_ca.clone();
        self.operate(&format!("ActiveCaCertificate Sn={sn}"), SUCCESS).await?;
        let device = self.device("retired-device", Keys::Any)?;
        let device = (&device, "subscriber");
        self.two_tickets_fetched("its device connects", device).await?;
        let step = "it comes back, and subscribes";
        let subscriber = self.connects(step, device, RESUMED, ADMITTED).await?;
        let other = self.connect("a device of the other CA", "device-1", "other", ADMITTED).await?;
        let (Some(mut subscriber), Some(mut other)) = (subscriber, other) else {
            return Ok(());
        };
        let granted = subscriber.subscribe("demo/#").await.map(|code| format!("{code:?}"));
        self.report.step("demo/#", "GrantedQoS1", granted)?;

        self.dry_run(&format!("dry-run InactivateCaCertificate Sn={sn}"), ONE_ENDED).await?;
        self.is_up("the subscriber after the dry run", &mut subscriber).await?;

        let answer = self.operate(&format!("InactivateCaCertificate Sn={sn}"), SUCCESS).await?;
        self.report.step("connections", ONE_ENDED, Ok(connections(&answer)))?;
        self.report.step("the subscriber reads", DISMISSED, told(&mut subscriber).await)?;
        self.is_up("the device of the other CA", &mut other).await?;
        self.connects("the subscriber's next try", device, DECLINED, UNKNOWN_CA).await?;

        self.operate(&format!("ActiveCaCertificate Sn={sn}"), SUCCESS).await?;
        self.connects("back with a ticket from before", device, DECLINED, ADMITTED).await?;
        self.connects("and with a new one", device, RESUMED, ADMITTED).await?;
        Ok(())
    }

    /// Steps: a device gets two tickets that it has not used yet: one to come back with, and one to
    /// see later what has become of it.
    ///
    /// A TLS 1.3 server sends tickets behind the handshake. Until the client reads something it has
    /// none, so of two connections opened at once both are full handshakes.
    pub(super) async fn two_tickets_fetched(
        &mut self,
        step: &str,
        (device, client_id): (&Client, &str),
    ) -> Result<()> {
        let one = device.connect(FIRST_ENDPOINT).await;
        let two = device.connect(FIRST_ENDPOINT).await;
        for (step, stream) in [(step, one), ("and once more", two)] {
            let session =
                self.received(step, stream, (device, client_id), (FULL, ADMITTED)).await?;
            if let Some(session) = session {
                session.leave().await?;
            }
        }
        Ok(())
    }

    /// A step: what becomes of a device that connects with what tickets it has.
    pub(super) async fn connects(
        &mut self,
        step: &str,
        (device, client_id): (&Client, &str),
        handshake: &str,
        expected: &str,
    ) -> Result<Option<Session>> {
        let stream = device.connect(FIRST_ENDPOINT).await;
        self.received(step, stream, (device, client_id), (handshake, expected)).await
    }

    /// A step: what becomes of a connection that a device has opened, if it could.
    pub(super) async fn received(
        &mut self,
        step: &str,
        stream: Result<TlsStream<TcpStream>>,
        (device, client_id): (&Client, &str),
        (expected_handshake, expected): (&str, &str),
    ) -> Result<Option<Session>> {
        let offered = device.offered_a_ticket();
        let (observed, session) = match stream {
            Ok(stream) => {
                let handshake = handshake(&stream, offered);
                let (observed, session) = reception(Session::over(stream, client_id).await);
                (observed.map(|observed| format!("{handshake}, {observed}")), session)
            }
            Err(error) => reception(Err(error)),
        };
        self.report.step(step, &format!("{expected_handshake}, {expected}"), observed)?;
        Ok(session)
    }

    /// A step: a dry run that counts those who are connected, and nobody else.
    pub(super) async fn dry_run(&mut self, line: &str, expected: &str) -> Result<()> {
        let answer = self.ask_until(line, |answer| connections(answer) == expected).await?;
        self.report.operation(line, &answer)?;
        self.report.step("connections that it would end", expected, Ok(connections(&answer)))?;
        Ok(())
    }
}

/// What a client reads when it is cut.
pub(super) async fn told(session: &mut Session) -> Result<String> {
    let reason = session.dismissed().await?;
    Ok(format!("DISCONNECT {reason:?}, and the stream ends"))
}

/// What an answer says about live connections.
pub(super) fn connections(answer: &Value) -> String {
    let number = |which: &str| answer.pointer(which).unwrap_or(&Value::Null).to_string();
    format!("{} ended, {} kept", number("/Connections/Ended"), number("/Connections/Kept"))
}

/// How a device's handshake goes that has no ticket, that has one, and whose ticket is declined.
pub(super) const FULL: &str = "no ticket, full handshake";
pub(super) const RESUMED: &str = "ticket offered, resumed";
pub(super) const DECLINED: &str = "ticket offered, full handshake";

pub(super) const ONE_ENDED: &str = "1 ended, 0 kept";

/// What a client reads that an operator switched off, or its CA.
pub(super) const DISMISSED: &str = "DISCONNECT AdministrativeAction, and the stream ends";
