//! The part of the story in which a certificate is renewed behind its id.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mqtls::{Event, Events};
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::client::{Client, Keys};
use super::cut::{FULL, RESUMED};
use super::files::Fingerprint;
use super::session::Session;
use super::steps::{ADMITTED, SUCCESS};
use super::story::{EXACT, Story};
use crate::pki::{EXACT_RENEWALS, FIRST_INSTANCE, Pki};

impl<W: Write> Story<W> {
    /// A certificate whose file is replaced while the broker runs, then half written, then put back.
    pub(super) async fn a_certificate_renewed_on_disk(&mut self) -> Result<()> {
        self.report.part("A certificate renewed on disk, without an operation")?;
        // Whatever goes wrong below, the folder is as it was when this is dropped.
        let exact = ExactFile::of(&self.pki)?;
        let device = self.device("device-1", Keys::Any)?;
        self.is_shown("before", &exact.first).await?;
        let Some(mut session) = self.comes("device-1 connects", &device, FULL).await? else {
            return Ok(());
        };
        self.renewed(&exact).await?;
        self.is_up("device-1's connection meanwhile", &mut session).await?;
        session.leave().await?;
        if let Some(session) = self.comes("it comes back", &device, RESUMED).await? {
            session.leave().await?;
        }
        self.half_written(&exact).await?;
        self.put_back(&exact).await
    }

    async fn renewed(&mut self, exact: &ExactFile) -> Result<()> {
        let mut events = self.instances.events();
        let next = self.generation().await?.saturating_add(1);
        exact.replace_by(&exact.next)?;
        self.told(&mut events, &format!("CertificatesChanged to generation {next}")).await?;
        self.is_shown("a client after it", &exact.next).await
    }

    /// Steps: who writes a file in place may be broken off. What was good is served until it is again.
    async fn half_written(&mut self, exact: &ExactFile) -> Result<()> {
        let mut events = self.instances.events();
        exact.half_write(&exact.first)?;
        // The watcher would give whoever writes some seconds to go on before it says anything.
        let instances = self.instances.clone();
        spawn_blocking(move || instances.reload()).await?;
        self.told(&mut events, "CertificateNotRenewed of exact").await?;
        self.is_shown("a client meanwhile", &exact.next).await?;
        self.is_listed(&exact.next, NOT_RENEWED).await
    }

    async fn put_back(&mut self, exact: &ExactFile) -> Result<()> {
        let mut events = self.instances.events();
        let next = self.generation().await?.saturating_add(1);
        exact.replace_by(&exact.first)?;
        self.told(&mut events, &format!("CertificatesChanged to generation {next}")).await?;
        self.is_shown("a client afterwards", &exact.first).await?;
        self.is_listed(&exact.first, AS_ITS_FILE).await
    }

    /// Steps: a new client is shown one of the two, and the operator is told the same.
    async fn is_shown(&mut self, step: &str, version: &Version) -> Result<()> {
        let client = self.device("device-1", Keys::Any)?;
        let shown = client.certificate_shown(EXACT).await.map(|shown| shown.to_string());
        self.report.step(&format!("{step}, {EXACT}"), &version.sha256(), shown)?;
        let answer = self.operate(&format!("explain ServerName={EXACT}"), SUCCESS).await?;
        let word = |at: &str| answer.pointer(at).and_then(Value::as_str).unwrap_or("nothing");
        let [rule, id] = ["/Shown/Rule", "/Shown/CertificateId"].map(word);
        let observed = format!("{rule}, {id}, {}", word("/Shown/Sha256"));
        let expected = format!("Exact, exact, {}", version.sha256());
        self.report.step("explained as", &expected, Ok(observed))?;
        Ok(())
    }

    /// Steps: the list of what is served has this one, and says what became of its renewal.
    async fn is_listed(&mut self, version: &Version, expected: &str) -> Result<()> {
        let answer = self.operate("certificates", SUCCESS).await?;
        let rows = answer.pointer("/Data/ServedCertificates").and_then(Value::as_array);
        let is_it = |row: &&Value| row.get("CertificateId").is_some_and(|id| id == "exact");
        let row = rows.and_then(|rows| rows.iter().find(is_it));
        let row = row.context("the certificate is not listed")?;
        let failed = row.get("FailedRenewal").is_some_and(|failed| !failed.is_null());
        let renewal = if failed { NOT_RENEWED } else { AS_ITS_FILE };
        let sha256 = row.get("Sha256").and_then(Value::as_str).unwrap_or_default();
        let expected = format!("{}, {expected}", version.sha256());
        self.report.step("listed as", &expected, Ok(format!("{sha256}, {renewal}")))?;
        Ok(())
    }

    /// A step: a device under the name, with what tickets it has.
    async fn comes(
        &mut self,
        step: &str,
        device: &Client,
        handshake: &str,
    ) -> Result<Option<Session>> {
        let stream = device.connect(EXACT).await;
        self.received(step, stream, (device, "renewed"), (handshake, ADMITTED)).await
    }

    /// The generation in force.
    async fn generation(&self) -> Result<u64> {
        let answer = self.ask(&format!("explain ServerName={EXACT}")).await?;
        answer.get("Generation").and_then(Value::as_u64).context("the answer has no generation")
    }

    /// A step: what is told of the first instance's certificates next.
    async fn told(&mut self, events: &mut Events, expected: &str) -> Result<()> {
        let told = timeout(LONGEST_WAIT, next_of_certificates(events)).await;
        let told = told.context("nothing was told of a certificate").flatten();
        self.report.step("the broker tells", expected, told)?;
        Ok(())
    }
}

async fn next_of_certificates(events: &mut Events) -> Result<String> {
    loop {
        match events.next().await.context("no more events")? {
            Event::CertificatesChanged { instance, generation }
                if instance.as_str() == FIRST_INSTANCE =>
            {
                return Ok(format!("CertificatesChanged to generation {generation}"));
            }
            Event::CertificateNotRenewed { instance, certificate_id, .. }
                if instance.as_str() == FIRST_INSTANCE =>
            {
                return Ok(format!("CertificateNotRenewed of {certificate_id}"));
            }
            _ => {}
        }
    }
}

/// The file of the certificate for the name, and what it may hold. As it was when this is dropped.
struct ExactFile {
    file: PathBuf,
    first: Version,
    next: Version,
}

impl ExactFile {
    /// The one that is there is the first one: a folder may be one in which somebody has renewed it.
    fn of(pki: &Pki) -> Result<Self> {
        let file = pki.server_certificate(FIRST_INSTANCE, "exact");
        let first = Version::of(&file)?;
        for other in EXACT_RENEWALS {
            let next = Version::of(&pki.path(other))?;
            if next.fingerprint != first.fingerprint {
                return Ok(Self { file, first, next });
            }
        }
        anyhow::bail!("{} cannot be renewed by anything", file.display())
    }

    fn replace_by(&self, version: &Version) -> Result<()> {
        Pki::replace(&self.file, &version.content)
    }

    /// Half of it, written over what is there.
    fn half_write(&self, version: &Version) -> Result<()> {
        let (half, rest) = version.content.split_at(version.content.len() / 2);
        ensure!(!rest.is_empty(), "{} is empty", self.file.display());
        fs::write(&self.file, half).with_context(|| format!("cannot write {}", self.file.display()))
    }
}

impl Drop for ExactFile {
    fn drop(&mut self) {
        if fs::read(&self.file).is_ok_and(|content| content == self.first.content) {
            return;
        }
        if let Err(error) = self.replace_by(&self.first) {
            tracing::warn!(error = format!("{error:#}"), "a certificate was not put back");
        }
    }
}

/// A certificate with its key, as a file has both.
struct Version {
    content: Vec<u8>,
    fingerprint: Fingerprint,
}

impl Version {
    fn of(file: &Path) -> Result<Self> {
        let fingerprint = Fingerprint::of_file(file)?;
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self { content, fingerprint })
    }

    fn sha256(&self) -> String {
        self.fingerprint.to_string()
    }
}

/// What becomes of a certificate when its file has changed.
const NOT_RENEWED: &str = "not renewed";
const AS_ITS_FILE: &str = "as its file has it";

/// Longer than the minute after which the folder is looked at where nobody tells what happens there.
const LONGEST_WAIT: Duration = Duration::from_secs(75);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_put_back_however_the_story_ends_and_may_have_been_renewed_before() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open_or_make(&dir.path().join("demo")).unwrap();
        let file = pki.server_certificate(FIRST_INSTANCE, "exact");
        let versions = EXACT_RENEWALS.map(|file| fs::read(pki.path(file)).unwrap());
        for (here, other) in [(0, 1), (1, 0)] {
            Pki::replace(&file, &versions[here]).unwrap();
            for change in [ExactFile::replace_by, ExactFile::half_write] {
                let exact = ExactFile::of(&pki).unwrap();
                assert_eq!(exact.next.content, versions[other]);
                change(&exact, &exact.next).unwrap();
                assert_ne!(fs::read(&file).unwrap(), versions[here]);
                drop(exact);
                assert_eq!(fs::read(&file).unwrap(), versions[here]);
            }
        }
    }
}
