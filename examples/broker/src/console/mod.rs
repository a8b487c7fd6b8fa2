//! The operator's console: one operation per line in, one line of JSON out.

mod answer;
mod authority;
mod certificates;
#[cfg(test)]
mod desk;
mod device;
mod explain;
mod file;
mod input;
mod instance;
mod line;
mod load_revocation_list;
mod operation;
mod register_device;
mod server_names;
mod typed;

use std::io::{self, BufRead, Write as _};

use mqtls::{Caller, Instances};
use serde_json::Value;
use tokio::task::spawn_blocking;

pub(crate) use answer::{ca_status, device_status, printed};
use line::Line;

/// Applies operations to the instances.
///
/// Lines are not logged: an `SniConfig` may hold passwords.
#[derive(Clone)]
pub(crate) struct Console {
    instances: Instances,
}

impl Console {
    /// A console over these instances, whose user is the operator of the process itself.
    pub(crate) fn new(instances: Instances) -> Self {
        Self { instances }
    }

    /// Answers each line until the input ends or nobody reads the answers.
    ///
    /// # Errors
    /// When there is no thread to read the input with.
    pub(crate) async fn run<R: BufRead + Send + 'static>(self, input: R) -> io::Result<()> {
        let mut lines = input::lines(input)?;
        while let Some(line) = lines.recv().await {
            let answer = match line {
                Ok(line) => self.answer(&line).await,
                Err(error) => Some(answer::refused(&error)),
            };
            if let Some(answer) = answer {
                print(&answer)?;
            }
        }
        Ok(())
    }

    /// The answer to one line; `None` to a blank one.
    pub(crate) async fn answer(&self, line: &str) -> Option<Value> {
        let line = match Line::parse(line) {
            Ok(line) => line?,
            Err(error) => return Some(answer::refused(&error)),
        };
        let instances = self.instances.clone();
        // An operation reads files and checks keys.
        let applying = spawn_blocking(move || operation::apply(line, &instances, &Caller::local()));
        Some(applying.await.unwrap_or_else(|error| answer::failed(&error)))
    }
}

/// Writes one line to standard output, as a whole: what else is written there comes before or behind.
pub(crate) fn print(answer: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", printed(answer))?;
    out.flush()
}
