//! The tour: a broker and a client that tries it, in one process over a real socket.

mod client;
mod cut;
mod devices;
mod files;
mod neighbours;
mod planned;
mod renewed;
mod report;
mod revoked;
mod session;
mod steps;
mod story;
mod tickets;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mqtls::instance::Watch;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::console::Console;
use crate::door::Door;
use crate::pki::Pki;
use crate::serve::serve;
use report::Report;
use story::Story;

/// Starts a broker on a free loopback port, walks the story and writes what was observed.
///
/// # Errors
/// When a step differs from what it should be, or the tour could not be carried out.
pub(crate) async fn walk(dir: Option<PathBuf>, to: impl Write) -> Result<()> {
    let temporary = tempfile::Builder::new().prefix("mqtls-tour-").tempdir()?;
    let root = std::path::absolute(dir.unwrap_or_else(|| temporary.path().join("pki")))?;
    // The operator names files there, and a word of the console's holds no blank.
    let is_one_word = !root.to_string_lossy().contains(char::is_whitespace);
    ensure!(is_one_word, "{} has a blank in it: choose another --dir", root.display());
    let broker = Broker::start(root).await?;
    let Broker { pki, door, address, .. } = &broker;

    let mut report = Report::new(to);
    report.part(&format!("broker on {address}, files in {}", pki.path("").display()))?;
    let mut story = Story {
        console: Console::new(door.instances.clone()),
        instances: door.instances.clone(),
        retired_ca: door.retired_ca.to_string(),
        device_ca: door.device_ca.to_string(),
        second_ca: door.second_ca.to_string(),
        pki: pki.clone(),
        address: *address,
        report,
    };
    timeout(LONGEST, story.tell()).await.context("the tour took too long")??;
    broker.stop().await?;
    story.report.end()
}

/// A broker on a free loopback port.
struct Broker {
    pki: Pki,
    door: Door,
    address: SocketAddr,
    /// The folder of certificates is watched, as by a broker that serves.
    watch: Watch,
    /// Never sends: dropping it is the signal to stop.
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Broker {
    async fn start(root: PathBuf) -> Result<Self> {
        let (pki, door) = spawn_blocking(move || -> Result<_> {
            let pki = Pki::open_or_make(&root)?;
            let door = Door::open(&pki)?;
            Ok((pki, door))
        })
        .await??;
        let watch = door.instances.watch()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let served = door.clone();
        let serving = tokio::spawn(async move {
            serve(listener, &served, async { drop(stopped.await) }).await;
        });
        Ok(Self { pki, door, address, watch, stop, serving })
    }

    async fn stop(self) -> Result<()> {
        drop(self.stop);
        self.serving.await.context("the broker did not end well")?;
        // Waits for a renewal that is under way.
        spawn_blocking(move || drop(self.watch)).await?;
        Ok(())
    }
}

/// Longer than all steps together take on a slow machine, also where the system does not tell what
/// happens in a folder; each wait has its own limit.
const LONGEST: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_step_of_the_tour_is_as_expected() {
        let mut report = Vec::new();
        let walked = super::walk(None, &mut report).await;
        assert!(walked.is_ok(), "{walked:?}\n{}", String::from_utf8_lossy(&report));
    }

    #[tokio::test]
    async fn a_directory_that_the_operator_could_not_name_is_refused_before_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("two words");
        let walked = super::walk(Some(root.clone()), Vec::new()).await;
        assert!(walked.unwrap_err().to_string().contains("two words"));
        assert!(!root.exists());
    }
}
