//! The `SniConfig` text: its grammar, and the table that is made of it.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use mqtls::certificate::{MaterialError, Password, SourceError};
use mqtls::control::SniConfigError;
use mqtls::sni::Rule;
use mqtls::{
    Caller, CertificateId, CertificateMaterial, CertificateSource, Instance, InstanceId, Instances,
    NamePattern, SetSniConfig, SniConfig,
};

use super::fixed;

/// Parses the bytes, holds the result against a naive reading, and applies what is small.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let entries = entries(text);
    let parsed = text.parse::<SniConfig>();
    check_secrecy(&entries, &parsed);
    match parsed {
        Ok(config) => {
            assert!(text.len() <= 1 << 20);
            assert!(config.len() <= 100_000);
            assert_eq!(config.len(), entries.len());
            let entries: Vec<Readable<'_>> =
                entries.iter().map(|entry| entry.readable().expect("it parsed")).collect();
            if entries.len() <= MAX_APPLIED {
                apply(config, &entries);
            }
        }
        Err(SniConfigError::Entries(errors)) => {
            errors.iter().for_each(|error| fixed::check_length(error));
            let wrong: Vec<usize> = errors.iter().map(|error| error.index).collect();
            let unreadable = |(index, entry): (usize, &Entry<'_>)| match entry.readable() {
                None => Some(index),
                Some(_) => None,
            };
            let expected: Vec<usize> = (1..).zip(&entries).filter_map(unreadable).collect();
            assert_eq!(wrong, expected);
        }
        Err(SniConfigError::TooLong(length)) => assert_eq!(length, text.len()),
        Err(SniConfigError::TooManyEntries(count)) => assert_eq!(count, entries.len()),
    }
}

/// An entry as the grammar has it, cut and not read.
struct Entry<'a> {
    name: &'a str,
    id: Option<&'a str>,
    password: Option<&'a str>,
}

struct Readable<'a> {
    pattern: NamePattern,
    id: CertificateId,
    password: Option<&'a str>,
}

impl<'a> Entry<'a> {
    fn cut(text: &'a str) -> Self {
        let mut parts = text.trim().splitn(3, '#');
        Self {
            name: parts.next().unwrap_or_default(),
            id: parts.next(),
            password: parts.next().filter(|password| !password.is_empty()),
        }
    }

    fn readable(&self) -> Option<Readable<'a>> {
        let pattern: NamePattern = self.name.trim().parse().ok()?;
        assert_eq!(pattern.to_string().parse().as_ref(), Ok(&pattern));
        let id: CertificateId = self.id?.trim().parse().ok()?;
        assert_eq!(id.as_str().parse().as_ref(), Ok(&id));
        Some(Readable { pattern, id, password: self.password })
    }
}

fn entries(text: &str) -> Vec<Entry<'_>> {
    let text = text.trim();
    if text.is_empty() {
        return vec![];
    }
    text.strip_suffix(';').unwrap_or(text).split(';').map(Entry::cut).collect()
}

/// Nothing that is shown may depend on what the passwords are: the same text with other ones looks
/// the same.
fn check_secrecy(entries: &[Entry<'_>], parsed: &Result<SniConfig, SniConfigError>) {
    if entries.iter().all(|entry| entry.password.is_none()) {
        return;
    }
    let other = |entry: &Entry<'_>| match (entry.id, entry.password) {
        (None, _) => entry.name.to_owned(),
        (Some(id), None) => format!("{}#{id}", entry.name),
        (Some(id), Some(_)) => format!("{}#{id}#x", entry.name),
    };
    // The last semicolon is the one that does not count.
    let other = entries.iter().map(other).collect::<Vec<_>>().join(";") + ";";
    match (parsed, other.parse::<SniConfig>()) {
        (Ok(one), Ok(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        (Err(SniConfigError::TooLong(_)), _) => {}
        (Err(one), Err(other)) => {
            assert_eq!(format!("{one:?} {one}"), format!("{other:?} {other}"));
            fixed::check_length(one);
        }
        (one, other) => panic!("{one:?} but with other passwords {other:?}"),
    }
}

/// Every id has the same certificate, which no password opens: a text is served where it has no
/// passwords and no name twice.
fn apply(sni_config: SniConfig, entries: &[Readable<'_>]) {
    static SERVED: LazyLock<(Instances, Arc<Instance>)> =
        LazyLock::new(|| fixed::instance(OneForAll(fixed::server())));
    let (instances, instance) = &*SERVED;
    let operation = SetSniConfig {
        mqtt_instance_id: instance.id().clone(),
        default_certificate: "default".parse().unwrap(),
        sni_config,
    };
    let before = instance.sni().table();
    let names: BTreeSet<_> = entries.iter().map(|entry| entry.pattern.clone()).collect();
    let open = entries.iter().all(|entry| entry.password.is_none());
    match operation.apply(instances, &Caller::local()) {
        Ok(_) => {
            assert!(open && names.len() == entries.len());
            let table = instance.sni().table().unwrap();
            assert_eq!(table.map().len(), entries.len());
            for entry in entries {
                let set = table.map().get(&entry.pattern).unwrap();
                assert!(set.certificates().all(|(id, _)| *id == entry.id));
                // `*` stands for any label, as one that is in no exact name.
                let asked = entry.pattern.to_string();
                let rule = match entry.pattern {
                    NamePattern::Exact(_) => Rule::Exact,
                    NamePattern::Wildcard(_) => Rule::Wildcard,
                };
                assert_eq!(table.map().lookup(Some(&asked)).rule, rule);
            }
        }
        Err(error) => {
            assert!(!open || names.len() < entries.len(), "{error:?}");
            fixed::check_length(&error);
            let after = instance.sni().table();
            assert_eq!(
                before.map(|table| table.generation()),
                after.map(|table| table.generation())
            );
        }
    }
}

struct OneForAll(CertificateMaterial);

impl CertificateSource for OneForAll {
    fn load(
        &self,
        _instance: &InstanceId,
        id: &CertificateId,
        password: Option<&Password>,
    ) -> Result<CertificateMaterial, SourceError> {
        match password {
            None => Ok(self.0.clone()),
            Some(_) => Err(SourceError::Material {
                id: id.clone(),
                source: MaterialError::PasswordForPlainKey,
            }),
        }
    }
}

/// A certificate is read anew for every id that a text names.
const MAX_APPLIED: usize = 16;
