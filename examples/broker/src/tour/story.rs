//! The story that the tour walks through.

use std::fmt::Debug;
use std::io::Write;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use mqtls::Instances;
use mqtt5::packet::publish::PublishPacket;

use super::client::Keys;
use super::report::Report;
use super::steps::{ADMITTED, SUCCESS, UNKNOWN_CA};
use crate::console::Console;
use crate::door::FIRST_SNI_CONFIG;
use crate::mqtt::Identity;
use crate::pki::Pki;

/// All that the story needs: files for its client, a console for its operator.
pub(super) struct Story<W> {
    /// The operator's way in, the same as on standard input.
    pub(super) console: Console,
    /// What it operates on, for what is not asked of the console.
    pub(super) instances: Instances,
    /// Serial of the CA that begins inactive.
    pub(super) retired_ca: String,
    /// Serial of the CA that is active throughout.
    pub(super) device_ca: String,
    /// Serial of the CA of the second instance's devices.
    pub(super) second_ca: String,
    /// Where the client's files are.
    pub(super) pki: Pki,
    /// Where the broker listens.
    pub(super) address: SocketAddr,
    /// What was observed so far.
    pub(super) report: Report<W>,
}

impl<W: Write> Story<W> {
    /// Tells it from beginning to end. A step that differs ends nothing.
    ///
    /// # Errors
    /// When the client's files cannot be read or the report not be written.
    pub(super) async fn tell(&mut self) -> Result<()> {
        self.certificates_by_name().await?;
        self.a_certificate_swapped().await?;
        self.a_change_planned_and_made().await?;
        self.a_certificate_renewed_on_disk().await?;
        self.messages_between_devices().await?;
        self.a_ca_activated_and_deactivated().await?;
        self.a_live_subscriber_cut().await?;
        self.one_of_two_devices_switched_off().await?;
        self.a_device_revoked_by_its_ca().await?;
        self.two_instances_on_one_port().await
    }

    async fn certificates_by_name(&mut self) -> Result<()> {
        self.report.part("Which certificate is shown?")?;
        let any = self.device("device-1", Keys::Any)?;
        let rsa = self.device("device-1", Keys::RsaOnly)?;
        self.shows("exact name", &any, EXACT, "exact").await?;
        self.shows("exact name, client with RSA only", &rsa, EXACT, "exact-rsa").await?;
        self.shows("wildcard", &any, "a.mqtt.example.test", "wildcard").await?;
        self.shows("default, name without an entry", &any, "localhost", "default").await?;
        self.shows("default, no server name", &any, "127.0.0.1", "default").await
    }

    async fn a_certificate_swapped(&mut self) -> Result<()> {
        self.report.part("A certificate swapped while the broker runs")?;
        let any = self.device("device-1", Keys::Any)?;
        let swapped = format!("*.mqtt.example.test#wildcard;{EXACT}#exact-rsa");
        self.set_sni_config(&swapped, SUCCESS).await?;
        self.shows("swapped", &any, EXACT, "exact-rsa").await?;
        let broken = format!("{EXACT}#exact;*.mqtt.example.test#no-such-certificate");
        self.set_sni_config(&broken, "ParameterFieldCheckFailed").await?;
        self.shows("after a refused change", &any, EXACT, "exact-rsa").await?;
        self.set_sni_config(FIRST_SNI_CONFIG, SUCCESS).await?;
        self.shows("swapped back", &any, EXACT, "exact").await
    }

    async fn messages_between_devices(&mut self) -> Result<()> {
        self.report.part("MQTT behind it, by verified identity")?;
        let Some(mut two) =
            self.connect("device-2 connects", "device-2", "second", ADMITTED).await?
        else {
            return Ok(());
        };
        let Some(mut one) =
            self.connect("device-1 connects", "device-1", "first", ADMITTED).await?
        else {
            return Ok(());
        };
        let sender = Identity::new(&self.device_ca, Some("device-1"), "");
        let foreign = Identity::new(&self.device_ca, Some("device-2"), "")
            .own_topics()
            .context("device-2 has topics of its own")?;

        let granted = two.subscribe("demo/#").await.map(debugged);
        self.report.step("device-2 subscribes to demo/#", "GrantedQoS1", granted)?;
        let accepted = one.publish("demo/tour", "hello").await.map(debugged);
        self.report.step("device-1 publishes at QoS 1", "Success", accepted)?;
        let expected = format!("hello on demo/tour from {sender}");
        self.hears("device-2 receives", &mut two, &expected).await?;

        let refused = one.publish(&format!("{foreign}/up"), "not mine").await.map(debugged);
        self.report.step("device-1 publishes to device-2's topics", "NotAuthorized", refused)?;
        let refused = one.subscribe(&format!("{foreign}/#")).await.map(debugged);
        self.report.step("device-1 subscribes to device-2's topics", "NotAuthorized", refused)?;

        let taken = "CONNACK ClientIdentifierNotValid";
        self.connect("device-1 under device-2's client id", "device-1", "second", taken).await?;
        self.is_up("device-2's session afterwards", &mut two).await
    }

    async fn a_ca_activated_and_deactivated(&mut self) -> Result<()> {
        self.report.part("A CA activated and deactivated while the broker runs")?;
        let device = "retired-device";
        let sn = self.retired_ca.clone();
        self.connect("its device, CA inactive", device, device, UNKNOWN_CA).await?;
        self.operate(&format!("ActiveCaCertificate Sn={sn}"), SUCCESS).await?;
        self.connect("its device, CA active", device, device, ADMITTED).await?;
        self.operate(&format!("InactivateCaCertificate Sn={sn}"), SUCCESS).await?;
        self.connect("its device, CA inactive again", device, device, UNKNOWN_CA).await?;
        self.connect("a device of the other CA", "device-1", "other", ADMITTED).await?;
        Ok(())
    }
}

/// A message, and who sent it as the broker says.
pub(super) fn heard(message: &PublishPacket) -> String {
    let sender = message.properties.get_user_property_value("x-mqtt-sender").unwrap_or("nobody");
    let payload = String::from_utf8_lossy(&message.payload);
    format!("{payload} on {} from {sender}", message.topic_name)
}

/// A value as a step shows it.
pub(super) fn debugged(value: impl Debug) -> String {
    format!("{value:?}")
}

/// A name with a certificate of its own.
pub(super) const EXACT: &str = "eu.mqtt.example.test";
