//! The steps of which the story consists, each compared with what it should be.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use serde_json::Value;
use tokio::time::sleep;

use super::client::{Client, Keys, alert};
use super::files::Fingerprint;
use super::session::Session;
use super::story::{Story, heard};
use crate::door::{DEFAULT_CERTIFICATE, FIRST_ENDPOINT};
use crate::pki::{FIRST_INSTANCE, Pki};

impl<W: Write> Story<W> {
    /// A step: the certificate that a client is shown under a name, here one of the first instance's.
    pub(super) async fn shows(
        &mut self,
        step: &str,
        client: &Client,
        name: &str,
        id: &str,
    ) -> Result<()> {
        self.shows_of(FIRST_INSTANCE, step, client, (name, id)).await
    }

    /// A step: the certificate that a client is shown under a name.
    pub(super) async fn shows_of(
        &mut self,
        instance: &str,
        step: &str,
        client: &Client,
        (name, id): (&str, &str),
    ) -> Result<()> {
        let file = self.pki.server_certificate(instance, id);
        let expected = described(instance, id, Fingerprint::of_file(&file)?);
        let observed = match client.certificate_shown(name).await {
            Ok(shown) => Ok(self.named(shown)?),
            Err(error) => Err(error),
        };
        self.report.step(&format!("{step}, {name}"), &expected, observed)?;
        Ok(())
    }

    /// A step: what becomes of a device that connects, and its session where it was let in.
    pub(super) async fn connect(
        &mut self,
        step: &str,
        device: &str,
        client_id: &str,
        expected: &str,
    ) -> Result<Option<Session>> {
        self.connect_as(step, (device, FIRST_ENDPOINT), client_id, expected).await
    }

    /// The same under any server name.
    pub(super) async fn connect_as(
        &mut self,
        step: &str,
        (device, server_name): (&str, &str),
        client_id: &str,
        expected: &str,
    ) -> Result<Option<Session>> {
        let client = self.device(device, Keys::Any)?;
        let opened = Session::open(&client, server_name, client_id).await;
        let (observed, session) = reception(opened);
        self.report.step(step, expected, observed)?;
        Ok(session)
    }

    pub(super) async fn set_sni_config(&mut self, sni_config: &str, expected: &str) -> Result<()> {
        let default = DEFAULT_CERTIFICATE;
        let line = format!("SetSniConfig DefaultCertificate={default} SniConfig={sni_config}");
        self.operate(&line, expected).await?;
        Ok(())
    }

    /// A step: an operation on the console, and whether it answers with success or which error. The
    /// whole answer is given back.
    pub(super) async fn operate(&mut self, line: &str, expected: &str) -> Result<Value> {
        let answer = self.ask(line).await?;
        self.report.operation(line, &answer)?;
        let observed = answer.get("Code").and_then(|code| code.as_str()).unwrap_or(SUCCESS);
        let operation = line.split_whitespace().next().unwrap_or_default();
        self.report.step(operation, expected, Ok(observed.to_owned()))?;
        Ok(answer)
    }

    /// An operation on the console that is no step.
    pub(super) async fn ask(&self, line: &str) -> Result<Value> {
        self.console.answer(line).await.context("the console did not answer")
    }

    /// The same, again and again until the answer is as it should be, or for long enough.
    ///
    /// A connection that its client has left is counted until the broker has noticed.
    pub(super) async fn ask_until(
        &self,
        line: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut answer = self.ask(line).await?;
        for _ in 0..TRIES {
            if is_so(&answer) {
                break;
            }
            sleep(BETWEEN_TRIES).await;
            answer = self.ask(line).await?;
        }
        Ok(answer)
    }

    /// A step: the next message that a listener is sent.
    pub(super) async fn hears(
        &mut self,
        step: &str,
        listener: &mut Session,
        expected: &str,
    ) -> Result<()> {
        let message = listener.next_message().await.map(|message| heard(&message));
        self.report.step(step, expected, message)?;
        Ok(())
    }

    /// A step: a session that nobody has ended.
    pub(super) async fn is_up(&mut self, step: &str, session: &mut Session) -> Result<()> {
        let still_there = session.ping().await.map(|()| "PINGRESP".to_owned());
        self.report.step(step, "PINGRESP", still_there)?;
        Ok(())
    }

    pub(super) fn device(&self, name: &str, keys: Keys) -> Result<Client> {
        Client::new(&self.pki, self.address, name, keys)
    }

    /// Which file a certificate on the wire is in.
    fn named(&self, shown: Fingerprint) -> Result<String> {
        for (instance, id) in Pki::server_certificates() {
            let file = self.pki.server_certificate(instance, id);
            if Fingerprint::of_file(&file)? == shown {
                return Ok(described(instance, id, shown));
            }
        }
        Ok(format!("in no file, SHA-256 {shown}"))
    }
}

/// How a device was received, and its session where it was let in.
pub(super) fn reception(
    opened: Result<Result<Session, ReasonCode>>,
) -> (Result<String>, Option<Session>) {
    match opened {
        Ok(Ok(session)) => (Ok(ADMITTED.to_owned()), Some(session)),
        Ok(Err(reason)) => (Ok(format!("CONNACK {reason:?}")), None),
        Err(error) => match alert(&error) {
            Some(alert) => (Ok(format!("TLS alert {alert:?}")), None),
            None => (Err(error), None),
        },
    }
}

fn described(instance: &str, id: &str, fingerprint: Fingerprint) -> String {
    format!("{instance}/{id}.pem, SHA-256 {fingerprint}")
}

/// An operation that answers without an error code.
pub(super) const SUCCESS: &str = "success";

/// A device that was let in.
pub(super) const ADMITTED: &str = "CONNACK Success";

/// A device that is inactive, or its CA.
pub(super) const UNKNOWN_CA: &str = "TLS alert UnknownCA";

/// How often, and how quickly, the broker is asked whether it has noticed who left.
const TRIES: usize = 500;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);
