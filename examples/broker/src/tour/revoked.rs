//! The part of the story in which a CA revokes one of its devices, and takes it back.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

use super::client::{Client, Keys};
use super::cut::{DECLINED, DISMISSED, FULL, ONE_ENDED, RESUMED, connections, told};
use super::session::Session;
use super::steps::{ADMITTED, SUCCESS, UNKNOWN_CA};
use super::story::Story;
use crate::pki::{DEVICE_1_REVOKED, NOBODY_REVOKED, OLDER_LIST};

impl<W: Write> Story<W> {
    /// A device that is put on its CA's revocation list while it is connected, beside another one that
    /// is not, and that a later list has no more.
    pub(super) async fn a_device_revoked_by_its_ca(&mut self) -> Result<()> {
        self.report
            .part("The revocation list of a CA, and the one of two devices that is on it")?;
        let Some(mut pair) = self.two_devices_connected().await? else {
            return Ok(());
        };
        self.device_1_put_on_the_list(&mut pair).await?;
        self.device_2_is_on_no_list(&mut pair).await?;
        self.an_older_list_is_refused().await?;
        self.device_1_taken_from_the_list(&pair).await?;
        self.is_up("device-2 all the while", &mut pair.second).await
    }

    async fn two_devices_connected(&mut self) -> Result<Option<Pair>> {
        let [one, two] = ["device-1", "device-2"].map(|name| self.device(name, Keys::Any));
        let (one, two) = (one?, two?);
        self.two_tickets_fetched("device-1 connects", (&one, ONE)).await?;
        let first = self.connects("it comes back", (&one, ONE), RESUMED, ADMITTED).await?;
        let second = self.connects("device-2 connects", (&two, TWO), FULL, ADMITTED).await?;
        let (Some(first), Some(second)) = (first, second) else {
            return Ok(None);
        };
        Ok(Some(Pair { one, two, first, second }))
    }

    async fn device_1_put_on_the_list(&mut self, pair: &mut Pair) -> Result<()> {
        let line = self.loading(DEVICE_1_REVOKED);
        self.dry_run(&format!("dry-run {line}"), ONE_ENDED).await?;
        self.is_up("device-1 after the dry run", &mut pair.first).await?;
        let answer = self.operate(&line, SUCCESS).await?;
        self.report.step("in force", "list 0x2 with 1 of them", Ok(list(&answer)))?;
        self.report.step("connections", ONE_ENDED, Ok(connections(&answer)))?;
        self.report.step("device-1 reads", DISMISSED, told(&mut pair.first).await)?;
        self.connects("its next try", (&pair.one, ONE), DECLINED, UNKNOWN_CA).await?;
        let fresh = self.device("device-1", Keys::Any)?;
        self.connects("and without a ticket", (&fresh, ONE), FULL, UNKNOWN_CA).await?;
        Ok(())
    }

    /// Steps: no list changes anything for those who are not on it, not even what their tickets say.
    async fn device_2_is_on_no_list(&mut self, pair: &mut Pair) -> Result<()> {
        self.is_up("device-2 meanwhile", &mut pair.second).await?;
        let step = "device-2 comes back with its ticket";
        if let Some(third) = self.connects(step, (&pair.two, THIRD), RESUMED, ADMITTED).await? {
            third.leave().await?;
        }
        Ok(())
    }

    /// Steps: who has an old list, on which a device was not yet, does not let it in with that.
    async fn an_older_list_is_refused(&mut self) -> Result<()> {
        let answer = self.operate(&self.loading(OLDER_LIST), "ParameterFieldCheckFailed").await?;
        let reason = answer.pointer("/Reason").and_then(Value::as_str).unwrap_or_default();
        let expected = "the revocation list is not later than the one in force";
        self.report.step("since", expected, Ok(reason.to_owned()))?;
        self.connect("device-1 as before", "device-1", ONE, UNKNOWN_CA).await?;
        Ok(())
    }

    /// Steps: the ticket was never bad, it was the device that was on the list.
    async fn device_1_taken_from_the_list(&mut self, pair: &Pair) -> Result<()> {
        let answer = self.operate(&self.loading(NOBODY_REVOKED), SUCCESS).await?;
        self.report.step("in force", "list 0x3 with 0 of them", Ok(list(&answer)))?;
        self.report.step("connections", NOBODY_ENDED, Ok(connections(&answer)))?;
        let (step, device) = ("device-1 back with a ticket from before", (&pair.one, ONE));
        self.connects(step, device, RESUMED, ADMITTED).await?;
        let fresh = self.device("device-1", Keys::Any)?;
        self.connects("and without one", (&fresh, ONE), FULL, ADMITTED).await?;
        Ok(())
    }

    /// The line with which the operator loads a list of the devices' CA.
    fn loading(&self, list: &str) -> String {
        let file = self.pki.path(list);
        format!("LoadRevocationList Sn={} File={}", self.device_ca, file.display())
    }
}

/// Two devices of one CA.
struct Pair {
    one: Client,
    two: Client,
    first: Session,
    second: Session,
}

/// What an answer says about the list that was loaded.
fn list(answer: &Value) -> String {
    let number = answer.pointer("/Number").and_then(Value::as_str).unwrap_or("without a number");
    format!("list {number} with {} of them", answer.pointer("/Revokes").unwrap_or(&Value::Null))
}

/// The client identifiers.
const ONE: &str = "one";
const TWO: &str = "two";
const THIRD: &str = "two-again";

const NOBODY_ENDED: &str = "0 ended, 0 kept";
