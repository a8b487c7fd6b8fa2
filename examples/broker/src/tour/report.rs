//! What was observed, step by step.

use std::io::{self, Write};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::console::printed;

/// Prints each step and remembers those that differ.
pub(super) struct Report<W> {
    to: W,
    steps: usize,
    differing: Vec<String>,
}

impl<W: Write> Report<W> {
    /// An empty report.
    pub(super) fn new(to: W) -> Self {
        Self { to, steps: 0, differing: Vec::new() }
    }

    /// Begins a part of the story.
    pub(super) fn part(&mut self, title: &str) -> io::Result<()> {
        writeln!(self.to, "\n{title}")
    }

    /// An operation as the operator types it, and its answer.
    pub(super) fn operation(&mut self, line: &str, answer: &Value) -> io::Result<()> {
        writeln!(self.to, "  operator  {line}\n  answer    {}", printed(answer))
    }

    /// One step: what should be seen, and what was. A step that could not be carried out was seen
    /// too, as its error.
    pub(super) fn step(
        &mut self,
        name: &str,
        expected: &str,
        observed: Result<String>,
    ) -> io::Result<()> {
        self.steps = self.steps.saturating_add(1);
        let observed = observed.unwrap_or_else(|error| format!("{error:#}"));
        if observed == expected {
            return writeln!(self.to, "  ok        {name}: {observed}");
        }
        self.differing.push(name.to_owned());
        writeln!(self.to, "  DIFFERS   {name}: {observed}\n  expected  {expected}")
    }

    /// Ends the report.
    ///
    /// # Errors
    /// When a step differed, with the names of all that did.
    pub(super) fn end(mut self) -> Result<()> {
        if !self.differing.is_empty() {
            bail!("differing steps: {}", self.differing.join("; "));
        }
        writeln!(self.to, "\nall {} steps as expected", self.steps)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_differs_is_named_at_the_end() {
        let mut report = Report::new(Vec::new());
        report.step("one", "a", Ok("a".to_owned())).unwrap();
        report.step("two", "a", Ok("b".to_owned())).unwrap();
        report.step("three", "a", Err(anyhow::anyhow!("no network"))).unwrap();
        let text = String::from_utf8(report.to.clone()).unwrap();
        assert!(text.contains("ok        one: a"), "{text}");
        assert!(text.contains("DIFFERS   three: no network"), "{text}");
        assert_eq!(report.end().unwrap_err().to_string(), "differing steps: two; three");
    }

    #[test]
    fn a_report_without_differences_ends_well() {
        let mut report = Report::new(Vec::new());
        report.step("one", "a", Ok("a".to_owned())).unwrap();
        assert!(report.end().is_ok());
    }
}
