//! The part of the story about two instances on one port.

use std::io::Write;

use anyhow::Result;

use super::client::Keys;
use super::cut::{DISMISSED, connections, told};
use super::session::Session;
use super::steps::{ADMITTED, SUCCESS, UNKNOWN_CA};
use super::story::{Story, debugged};
use crate::door::{
    DEFAULT_CERTIFICATE, FIRST_ENDPOINT, FIRST_SNI_CONFIG, SECOND_ENDPOINT, SECOND_SNI_CONFIG,
};
use crate::mqtt::Identity;
use crate::pki::{FIRST_INSTANCE, SECOND_INSTANCE};

impl<W: Write> Story<W> {
    /// The second instance beside the first one: nothing of one is reached through the other.
    pub(super) async fn two_instances_on_one_port(&mut self) -> Result<()> {
        self.each_device_under_its_own_names().await?;
        self.names_that_are_taken().await?;
        self.one_topic_in_each_instance().await
    }

    async fn each_device_under_its_own_names(&mut self) -> Result<()> {
        self.report.part("A second instance on the same port, with names and a CA of its own")?;
        let device = self.device(SECOND_ONE, Keys::Any)?;
        for (step, named) in [
            ("its wildcard", (SECOND_NAME, "wildcard")),
            ("its default", (SECOND_ENDPOINT, "default")),
        ] {
            self.shows_of(SECOND_INSTANCE, step, &device, named).await?;
        }
        for (name, expected) in [
            (SECOND_NAME, ADMITTED),
            (SECOND_ENDPOINT, ADMITTED),
            (FIRST_NAME, UNKNOWN_CA),
            (FIRST_ENDPOINT, UNKNOWN_CA),
            (NO_NAME, UNKNOWN_CA),
        ] {
            let step = format!("its device-1 under {name}");
            self.connect_as(&step, (SECOND_ONE, name), "visitor", expected).await?;
        }
        for (name, expected) in [
            (FIRST_NAME, ADMITTED),
            (FIRST_ENDPOINT, ADMITTED),
            (NO_NAME, ADMITTED),
            (SECOND_NAME, UNKNOWN_CA),
            (SECOND_ENDPOINT, UNKNOWN_CA),
        ] {
            let step = format!("the first one's device-1 under {name}");
            self.connect_as(&step, ("device-1", name), "visitor", expected).await?;
        }
        Ok(())
    }

    async fn names_that_are_taken(&mut self) -> Result<()> {
        self.report.part("A name of one instance is refused to the other")?;
        for name in [FIRST_NAME, "b.mqtt.example.test", "*.mqtt.example.test", FIRST_ENDPOINT] {
            self.refused_a_name(SECOND_INSTANCE, SECOND_SNI_CONFIG, name).await?;
        }
        self.refused_a_name(FIRST_INSTANCE, FIRST_SNI_CONFIG, SECOND_NAME).await?;
        let one = self.device("device-1", Keys::Any)?;
        let two = self.device(SECOND_ONE, Keys::Any)?;
        self.shows("as before", &one, FIRST_NAME, "exact").await?;
        self.shows_of(SECOND_INSTANCE, "as before", &two, (SECOND_NAME, "wildcard")).await
    }

    /// Steps: an instance asks for one name more, which another one has; it is told no more than that.
    async fn refused_a_name(&mut self, instance: &str, sni_config: &str, name: &str) -> Result<()> {
        let line = format!(
            "SetSniConfig MqttInstanceId={instance} DefaultCertificate={DEFAULT_CERTIFICATE} \
             SniConfig={name}#{DEFAULT_CERTIFICATE};{sni_config}"
        );
        let answer = self.operate(&line, "ParameterFieldCheckFailed").await?;
        let reason = answer.get("Reason").and_then(|reason| reason.as_str()).unwrap_or_default();
        let expected =
            format!("entry 1: {name} belongs to another instance on the shared listener");
        self.report.step("its reason", &expected, Ok(reason.to_owned()))?;
        let told = [FIRST_INSTANCE, SECOND_INSTANCE].map(|it| answer.to_string().contains(it));
        let told = if told == [false, false] { NOT_TOLD } else { "told" };
        self.report.step("who has the name", NOT_TOLD, Ok(told.to_owned()))?;
        Ok(())
    }

    async fn one_topic_in_each_instance(&mut self) -> Result<()> {
        self.report.part("One topic, one client id, one device name, in each of two instances")?;
        let first = self.pair("the first one", ["device-1", "device-2"], FIRST_ENDPOINT).await?;
        let second = self.pair("the second", [SECOND_ONE, SECOND_TWO], SECOND_ENDPOINT).await?;
        let (Some(mut first), Some(mut second)) = (first, second) else {
            return Ok(());
        };
        for (step, pair) in [("the first one's", &mut first), ("the second's", &mut second)] {
            for (role, session) in
                [("listener", &mut pair.listener), ("speaker", &mut pair.speaker)]
            {
                self.is_up(&format!("{step} {role}, beside one of the same id"), session).await?;
            }
        }
        for (payload, pair) in [("of the first", &mut first), ("of the second", &mut second)] {
            let accepted = pair.speaker.publish(TOPIC, payload).await.map(debugged);
            self.report.step(&format!("published {payload}"), "Success", accepted)?;
        }
        // Whatever had crossed would have been sent before these, so it would be read before them.
        for pair in [&mut first, &mut second] {
            let accepted = pair.speaker.publish(TOPIC, THE_END).await.map(debugged);
            self.report.step("published to both in turn", "Success", accepted)?;
        }
        let [one, two] = [&self.device_ca, &self.second_ca].map(|ca| device_1_of(ca));
        self.hears_of(&two, "the second's listener", &mut second, "of the second").await?;
        self.hears_of(&one, "the first one's listener", &mut first, "of the first").await?;
        self.the_ca_of_one_deactivated(first, second).await
    }

    /// Steps: two devices of an instance, one of which subscribes.
    async fn pair(
        &mut self,
        whose: &str,
        [speaker, listener]: [&str; 2],
        name: &str,
    ) -> Result<Option<Pair>> {
        let step = format!("device-2 of {whose}");
        let listener = self.connect_as(&step, (listener, name), "listener", ADMITTED).await?;
        let step = format!("device-1 of {whose}");
        let speaker = self.connect_as(&step, (speaker, name), "speaker", ADMITTED).await?;
        let (Some(speaker), Some(mut listener)) = (speaker, listener) else {
            return Ok(None);
        };
        let granted = listener.subscribe("demo/#").await.map(debugged);
        self.report.step("device-2 subscribes to demo/#", "GrantedQoS1", granted)?;
        Ok(Some(Pair { speaker, listener }))
    }

    /// Steps: a listener hears what its own instance's speaker has said, and nothing between.
    async fn hears_of(
        &mut self,
        sender: &Identity,
        who: &str,
        pair: &mut Pair,
        payload: &str,
    ) -> Result<()> {
        for payload in [payload, THE_END] {
            let expected = format!("{payload} on {TOPIC} from {sender}");
            self.hears(who, &mut pair.listener, &expected).await?;
        }
        Ok(())
    }

    async fn the_ca_of_one_deactivated(&mut self, mut first: Pair, mut second: Pair) -> Result<()> {
        self.report.part("The CA of one instance deactivated, and the other's connections")?;
        let sn = self.second_ca.clone();
        self.operate(&format!("InactivateCaCertificate Sn={sn}"), "FindCaBySnError").await?;
        let whose = format!("MqttInstanceId={SECOND_INSTANCE} Sn={sn}");
        self.dry_run(&format!("dry-run InactivateCaCertificate {whose}"), TWO_ENDED).await?;
        let answer = self.operate(&format!("InactivateCaCertificate {whose}"), SUCCESS).await?;
        self.report.step("connections", TWO_ENDED, Ok(connections(&answer)))?;
        for (step, session) in [
            ("its listener reads", &mut second.listener),
            ("its speaker reads", &mut second.speaker),
        ] {
            self.report.step(step, DISMISSED, told(session).await)?;
        }
        let (device, name) = (SECOND_ONE, SECOND_ENDPOINT);
        self.connect_as("its next try", (device, name), "speaker", UNKNOWN_CA).await?;

        let accepted = first.speaker.publish(TOPIC, "still here").await.map(debugged);
        self.report.step("the first one's speaker publishes", "Success", accepted)?;
        let expected = format!("still here on {TOPIC} from {}", device_1_of(&self.device_ca));
        self.hears("the first one's listener hears", &mut first.listener, &expected).await?;

        self.operate(&format!("ActiveCaCertificate {whose}"), SUCCESS).await?;
        self.connect_as("the second's speaker again", (device, name), "speaker", ADMITTED).await?;
        Ok(())
    }
}

fn device_1_of(ca: &str) -> Identity {
    Identity::new(ca, Some("device-1"), "")
}

/// Two devices of one instance.
struct Pair {
    speaker: Session,
    listener: Session,
}

const FIRST_NAME: &str = "eu.mqtt.example.test";
const SECOND_NAME: &str = "eu.second.example.test";

/// An address is no server name: a client that connects to one asks for none.
const NO_NAME: &str = "127.0.0.1";

pub(super) const SECOND_ONE: &str = "mqtt-second/device-1";
const SECOND_TWO: &str = "mqtt-second/device-2";

const TOPIC: &str = "demo/two";
const THE_END: &str = "the end";
const NOT_TOLD: &str = "not told";
const TWO_ENDED: &str = "2 ended, 0 kept";

#[cfg(test)]
mod tests {
    use std::fs;

    use mqtls::{CaCertificate, CaStatus, Caller, InactivateCaCertificate, RegisterCa};
    use mqtt5::protocol::v5::reason_codes::ReasonCode;

    use super::super::Broker;
    use super::super::client::Client;
    use super::*;
    use crate::pki::DEVICE_CA;
    use crate::tour::story::heard;

    async fn opened(broker: &Broker, device: &str, name: &str, id: &str) -> Session {
        let client = Client::new(&broker.pki, broker.address, device, Keys::Any).unwrap();
        Session::open(&client, name, id).await.unwrap().unwrap()
    }

    /// With one CA registered in both instances even what the broker calls a device is the same text
    /// in both, and so are the topics that are its own.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_device_in_two_instances_is_two_devices() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path().join("pki")).await.unwrap();
        let pem = fs::read(broker.pki.path(DEVICE_CA)).unwrap();
        let (door, me) = (&broker.door, Caller::local());
        let [first, second] = door.ids().map(Clone::clone);
        let certificate = CaCertificate::from_pem(&pem).unwrap();
        let status = CaStatus::Active;
        let name = "in both".to_owned();
        RegisterCa { mqtt_instance_id: second.clone(), name, status, certificate }
            .apply(&door.instances, &me)
            .unwrap();

        let mut one = opened(&broker, "device-1", FIRST_ENDPOINT, "same").await;
        let mut two = opened(&broker, "device-1", SECOND_ENDPOINT, "same").await;
        one.ping().await.unwrap();
        let device = Identity::new(&door.device_ca.to_string(), Some("device-1"), "");
        let own = device.own_topics().unwrap();
        let mut speak_one = opened(&broker, "device-1", FIRST_ENDPOINT, "speaker").await;
        let mut speak_two = opened(&broker, "device-1", SECOND_ENDPOINT, "speaker").await;
        for listener in [&mut one, &mut two] {
            listener.subscribe(&format!("{own}/#")).await.unwrap();
        }
        let topic = format!("{own}/up");
        for payload in ["said", THE_END] {
            for (speaker, whose) in [(&mut speak_one, "one"), (&mut speak_two, "two")] {
                let accepted = speaker.publish(&topic, &format!("{whose} {payload}")).await;
                assert_eq!(accepted.unwrap(), ReasonCode::Success);
            }
        }
        for (listener, whose) in [(&mut one, "one"), (&mut two, "two")] {
            for payload in ["said", THE_END] {
                let message = heard(&listener.next_message().await.unwrap());
                assert_eq!(message, format!("{whose} {payload} on {topic} from {device}"));
            }
        }
        one.ping().await.unwrap();
        two.ping().await.unwrap();

        // Another device may have a client id that is taken in the other instance, and only there.
        let other = Client::new(&broker.pki, broker.address, "device-2", Keys::Any).unwrap();
        let refused = Session::open(&other, FIRST_ENDPOINT, "same").await.unwrap();
        assert_eq!(refused.err(), Some(ReasonCode::ClientIdentifierNotValid));
        two.leave().await.unwrap();
        let mut two = opened(&broker, "device-2", SECOND_ENDPOINT, "same").await;

        let sn = door.device_ca.clone();
        InactivateCaCertificate { mqtt_instance_id: first, sn }
            .apply(&door.instances, &me)
            .unwrap();
        assert_eq!(one.dismissed().await.unwrap(), ReasonCode::AdministrativeAction);
        two.ping().await.unwrap();
        broker.stop().await.unwrap();
    }
}
