//! The part of the story in which a change of the names is planned before it is made.

use std::io::Write;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::client::Keys;
use super::steps::SUCCESS;
use super::story::{EXACT, Story};
use crate::door::{DEFAULT_CERTIFICATE, FIRST_ENDPOINT, FIRST_SNI_CONFIG};

impl<W: Write> Story<W> {
    /// A change that is looked at before it is made, and a second one of the same plan that comes too
    /// late.
    pub(super) async fn a_change_planned_and_made(&mut self) -> Result<()> {
        self.report
            .part("A change planned, which changes nothing, and made if nobody was quicker")?;
        let any = self.device("device-1", Keys::Any)?;
        let broken = format!("{EXACT}#exact;*.mqtt.example.test#no-such-certificate");
        let plan = self.planned(&broken, "nothing, for 1 error").await?;
        self.report.step("it is told", BROKEN, Ok(text(&plan, "/Errors/Listed/0")))?;

        let swapped = format!("*.mqtt.example.test#wildcard;{EXACT}#exact-rsa");
        let plan = self.planned(&swapped, "Changed eu.mqtt.example.test").await?;
        self.shows("as before", &any, EXACT, "exact").await?;
        let generation = plan.get("Generation").and_then(Value::as_u64);
        let generation = generation.context("the plan has no generation")?;

        let only_then = format!("{swapped} Generation={generation}");
        self.set_sni_config(&only_then, SUCCESS).await?;
        self.shows("made", &any, EXACT, "exact-rsa").await?;
        let late = format!("{FIRST_ENDPOINT}#{DEFAULT_CERTIFICATE} Generation={generation}");
        let line =
            format!("SetSniConfig DefaultCertificate={DEFAULT_CERTIFICATE} SniConfig={late}");
        let answer = self.operate(&line, "ParameterFieldCheckFailed").await?;
        let found = generation.saturating_add(1);
        let expected = format!("certificate map {found} is in force, not {generation}");
        self.report.step("since", &expected, Ok(text(&answer, "/Reason")))?;
        self.shows("after what came too late", &any, EXACT, "exact-rsa").await?;
        self.set_sni_config(FIRST_SNI_CONFIG, SUCCESS).await?;
        self.shows("changed back", &any, EXACT, "exact").await
    }

    /// Steps: a plan, and which names it would have answered otherwise.
    async fn planned(&mut self, sni_config: &str, expected: &str) -> Result<Value> {
        let line = format!("plan DefaultCertificate={DEFAULT_CERTIFICATE} SniConfig={sni_config}");
        let plan = self.operate(&line, SUCCESS).await?;
        let observed = match plan.pointer("/Difference/Names/Listed").and_then(Value::as_array) {
            Some(names) => {
                let name =
                    |it: &Value| format!("{} {}", text(it, "/Kind"), text(it, "/ServerName"));
                names.iter().map(name).collect::<Vec<_>>().join(", ")
            }
            None => {
                let errors = plan.pointer("/Errors/Total").unwrap_or(&Value::Null);
                format!("nothing, for {errors} error")
            }
        };
        self.report.step("it would change", expected, Ok(observed))?;
        Ok(plan)
    }
}

fn text(answer: &Value, at: &str) -> String {
    answer.pointer(at).and_then(Value::as_str).unwrap_or("nothing").to_owned()
}

const BROKEN: &str = "entry 2: there is no certificate no-such-certificate for this instance";
