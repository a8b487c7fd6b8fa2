//! The part of the story in which one device is switched off, and another one of its CA is not.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

use super::client::{Client, Keys};
use super::cut::{DECLINED, DISMISSED, FULL, ONE_ENDED, RESUMED, connections, told};
use super::neighbours::SECOND_ONE;
use super::session::Session;
use super::steps::{ADMITTED, SUCCESS, UNKNOWN_CA};
use super::story::{Story, debugged};
use crate::door::SECOND_ENDPOINT;
use crate::mqtt::Identity;
use crate::pki::SECOND_INSTANCE;

impl<W: Write> Story<W> {
    /// A device that is switched off while it is connected, and on again, beside another one that
    /// the same CA let in.
    pub(super) async fn one_of_two_devices_switched_off(&mut self) -> Result<()> {
        self.report.part("Two live subscribers of one CA, and the one that is switched off")?;
        let list = format!("ListDeviceCertificateByCaSn CaSn={}", self.device_ca);
        let answer = self.operate(&list, SUCCESS).await?;
        let [one, two] = ["device-1", "device-2"].map(|name| Record::of(&answer, name));
        let states = [&one, &two].map(Record::state).join(", ");
        self.report.step("on record", "device-1 active, device-2 active", Ok(states))?;
        let which = format!("CaSn={} DeviceSn={}", self.device_ca, one.sn);

        let Some(mut pair) = self.two_subscribers().await? else {
            return Ok(());
        };
        self.device_1_switched_off(&which, &mut pair).await?;
        self.device_2_does_not_notice(&mut pair).await?;
        self.the_second_instance_has_records_of_its_own(&which).await?;
        let _back = self.device_1_switched_on_again(&which, &pair).await?;

        let expected = [one.later(5, 1), two.later(3, 2)];
        let seen = |answer: &Value| ["device-1", "device-2"].map(|name| Record::of(answer, name));
        let answer = self.ask_until(&list, |answer| seen(answer) == expected).await?;
        self.report.operation(&list, &answer)?;
        for (before, (expected, now)) in [one, two].iter().zip(expected.iter().zip(seen(&answer))) {
            let step = format!("{} came in", before.name);
            self.report.step(&step, &expected.since(before), Ok(now.since(before)))?;
        }
        Ok(())
    }

    /// Steps: both devices subscribe, and both hear a message of the second one.
    async fn two_subscribers(&mut self) -> Result<Option<Pair>> {
        let [one, two] = ["device-1", "device-2"].map(|name| self.device(name, Keys::Any));
        let (one, two) = (one?, two?);
        self.two_tickets_fetched("device-1 connects", (&one, ONE)).await?;
        let step = "it comes back, and subscribes";
        let first = self.connects(step, (&one, ONE), RESUMED, ADMITTED).await?;
        let second =
            self.connects("device-2 connects, and subscribes", (&two, TWO), FULL, ADMITTED).await?;
        let speaker =
            self.connects("and once more, to speak", (&two, SPEAKER), RESUMED, ADMITTED).await?;
        let (Some(first), Some(second), Some(speaker)) = (first, second, speaker) else {
            return Ok(None);
        };
        let mut pair = Pair { one, two, first, second, speaker };
        for session in [&mut pair.first, &mut pair.second] {
            let granted = session.subscribe("demo/#").await.map(debugged);
            self.report.step("demo/#", "GrantedQoS1", granted)?;
        }
        self.speaks("to both", &mut pair.speaker).await?;
        self.hears("device-1 hears", &mut pair.first, &self.said("to both")).await?;
        self.hears("device-2 hears", &mut pair.second, &self.said("to both")).await?;
        Ok(Some(pair))
    }

    async fn device_1_switched_off(&mut self, which: &str, pair: &mut Pair) -> Result<()> {
        let line = format!("InactivateDeviceCertificate {which}");
        self.dry_run(&format!("dry-run {line}"), ONE_ENDED).await?;
        self.is_up("device-1 after the dry run", &mut pair.first).await?;
        let answer = self.operate(&line, SUCCESS).await?;
        self.report.step("connections", ONE_ENDED, Ok(connections(&answer)))?;
        self.report.step("device-1 reads", DISMISSED, told(&mut pair.first).await)?;
        self.connects("its next try", (&pair.one, ONE), DECLINED, UNKNOWN_CA).await?;
        let fresh = self.device("device-1", Keys::Any)?;
        self.connects("and without a ticket", (&fresh, ONE), FULL, UNKNOWN_CA).await?;
        Ok(())
    }

    async fn device_2_does_not_notice(&mut self, pair: &mut Pair) -> Result<()> {
        self.speaks("to one", &mut pair.speaker).await?;
        self.hears("device-2 hears", &mut pair.second, &self.said("to one")).await?;
        self.is_up("device-2 hears no more than that", &mut pair.second).await?;
        let step = "device-2 comes back with its ticket";
        if let Some(third) = self.connects(step, (&pair.two, THIRD), RESUMED, ADMITTED).await? {
            third.leave().await?;
        }
        Ok(())
    }

    /// Steps: what is known of devices here is not known there, not even by the same two numbers.
    async fn the_second_instance_has_records_of_its_own(&mut self, which: &str) -> Result<()> {
        let there = format!("MqttInstanceId={SECOND_INSTANCE}");
        let answer = self.operate(&format!("ListDeviceCertificate {there}"), SUCCESS).await?;
        let total = answer.pointer("/Data/Total").unwrap_or(&Value::Null).to_string();
        self.report.step("its devices on record", "0", Ok(total))?;
        let line = format!("ActiveDeviceCertificate {there} {which}");
        self.operate(&line, "FindDeviceBySnError").await?;
        let step = "its own device-1 meanwhile";
        self.connect_as(step, (SECOND_ONE, SECOND_ENDPOINT), "visitor", ADMITTED).await?;
        Ok(())
    }

    async fn device_1_switched_on_again(
        &mut self,
        which: &str,
        pair: &Pair,
    ) -> Result<Option<Session>> {
        self.operate(&format!("ActiveDeviceCertificate {which}"), SUCCESS).await?;
        let (step, device) = ("device-1 back with a ticket from before", (&pair.one, ONE));
        if let Some(back) = self.connects(step, device, DECLINED, ADMITTED).await? {
            back.leave().await?;
        }
        self.connects("and with a new one", device, RESUMED, ADMITTED).await
    }

    async fn speaks(&mut self, payload: &str, speaker: &mut Session) -> Result<()> {
        let accepted = speaker.publish(TOPIC, payload).await.map(debugged);
        self.report.step("device-2 publishes", "Success", accepted)?;
        Ok(())
    }

    /// What is heard of what device-2 publishes.
    fn said(&self, payload: &str) -> String {
        let sender = Identity::new(&self.device_ca, Some("device-2"), "");
        format!("{payload} on {TOPIC} from {sender}")
    }
}

/// Two devices of one CA: each listens, and the second one speaks, too.
struct Pair {
    one: Client,
    two: Client,
    first: Session,
    second: Session,
    speaker: Session,
}

/// What a list says about a device.
#[derive(PartialEq, Eq)]
struct Record {
    name: &'static str,
    /// The serial number of its certificate; empty where it is not on record.
    sn: String,
    status: String,
    /// How often it came in.
    total: u64,
    /// How many of its connections are up.
    live: u64,
}

impl Record {
    fn of(list: &Value, name: &'static str) -> Self {
        let records = list.pointer("/Data/DeviceCertificateVOS").and_then(Value::as_array);
        let named = |record: &&Value| record.pointer("/DeviceName").is_some_and(|it| it == name);
        let record = records.and_then(|records| records.iter().find(named));
        let field = |pointer| record.and_then(|record| record.pointer(pointer));
        let text = |pointer| field(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let count = |pointer| field(pointer).and_then(Value::as_u64).unwrap_or_default();
        Self {
            name,
            sn: text("/DeviceSn"),
            status: text("/Status"),
            total: count("/Connections/Total"),
            live: count("/Connections/Live"),
        }
    }

    fn state(&self) -> String {
        let state = match self.status.as_str() {
            "1" => "active",
            "0" => "inactive",
            _ => "not on record",
        };
        format!("{} {state}", self.name)
    }

    /// The same after it came in so many times more, of which so many connections are up.
    fn later(&self, times: u64, live: u64) -> Self {
        let (sn, status) = (self.sn.clone(), self.status.clone());
        Self { name: self.name, sn, status, total: self.total.saturating_add(times), live }
    }

    fn since(&self, before: &Self) -> String {
        let times = self.total.saturating_sub(before.total);
        format!("{times} times since, {} live, {}", self.live, self.state())
    }
}

/// The client identifiers.
const ONE: &str = "one";
const TWO: &str = "two";
const SPEAKER: &str = "two-speaks";
const THIRD: &str = "two-again";

const TOPIC: &str = "demo/devices";
