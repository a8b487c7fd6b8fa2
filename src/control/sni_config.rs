//! The grammar of the `SniConfig` parameter.
//!
//! ```text
//! config = [ entry *( ";" entry ) [ ";" ] ]
//! entry  = name "#" certificate-id [ "#" password ]
//! ```
//!
//! Blanks round an entry, a name and an id do not count. Only the first two `#` of an entry
//! separate, so a password may hold `#`; it can hold no `;`.

use std::fmt;
use std::str::FromStr;

use crate::certificate::Password;
use crate::id::{CertificateId, IdError};
use crate::name::{NamePattern, PatternError};

/// The value of the `SniConfig` parameter: which certificate answers for which names.
///
/// Parsing it proves that every entry is well formed; whether the certificates are there and fit
/// is found out when it is applied. The default value has no entries: then the default certificate
/// answers every name. `Debug` shows no password.
#[derive(Clone, Debug, Default)]
pub struct SniConfig {
    entries: Vec<SniEntry>,
}

impl SniConfig {
    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, &SniEntry)> {
        (1..).zip(&self.entries)
    }
}

impl FromStr for SniConfig {
    type Err = SniConfigError;

    fn from_str(text: &str) -> Result<Self, SniConfigError> {
        if text.len() > MAX_TEXT {
            return Err(SniConfigError::TooLong(text.len()));
        }
        let text = text.trim();
        let body = text.strip_suffix(';').unwrap_or(text);
        if text.is_empty() {
            return Ok(Self::default());
        }
        let count = body.split(';').count();
        if count > MAX_ENTRIES {
            return Err(SniConfigError::TooManyEntries(count));
        }
        let mut entries = Vec::with_capacity(count);
        let mut errors = Vec::new();
        for (index, entry) in (1..).zip(body.split(';')) {
            match entry.parse() {
                Ok(entry) => entries.push(entry),
                Err(fault) => errors.push(EntrySyntaxError { index, fault }),
            }
        }
        if errors.is_empty() { Ok(Self { entries }) } else { Err(SniConfigError::Entries(errors)) }
    }
}

/// One entry of a [`SniConfig`].
#[derive(Clone, Debug)]
pub(super) struct SniEntry {
    pub(super) pattern: NamePattern,
    pub(super) id: CertificateId,
    pub(super) password: Option<Password>,
}

impl FromStr for SniEntry {
    type Err = SyntaxFault;

    fn from_str(text: &str) -> Result<Self, SyntaxFault> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SyntaxFault::Empty);
        }
        let (name, rest) = text.split_once('#').ok_or(SyntaxFault::NoCertificateId)?;
        let (id, password) = rest.split_once('#').unwrap_or((rest, ""));
        Ok(Self {
            pattern: name.trim().parse()?,
            id: id.trim().parse()?,
            password: (!password.is_empty()).then(|| Password::from(password.to_owned())),
        })
    }
}

/// Why a text is no `SniConfig`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SniConfigError {
    /// Over 1 MiB.
    #[error("the SNI configuration has {0} bytes, at most {max} are allowed", max = MAX_TEXT)]
    TooLong(usize),
    /// Over 100,000 entries.
    #[error("the SNI configuration has {0} entries, at most {max} are allowed", max = MAX_ENTRIES)]
    TooManyEntries(usize),
    /// Some entries are not well formed: all of them, in order.
    #[error("{}", list(.0))]
    Entries(Vec<EntrySyntaxError>),
}

/// An entry that is not well formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {index}: {fault}")]
pub struct EntrySyntaxError {
    /// Which entry, counted from 1.
    pub index: usize,
    /// What is wrong with it.
    pub fault: SyntaxFault,
}

/// What is wrong with the form of an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxFault {
    /// Nothing between two semicolons.
    #[error("the entry is empty")]
    Empty,
    /// No `#`.
    #[error("no certificate id follows the name: write name#certificate-id")]
    NoCertificateId,
    /// What stands before the `#` is not a name pattern.
    #[error(transparent)]
    Name(#[from] PatternError),
    /// What stands behind it is not a certificate id.
    #[error("the certificate id is wrong: {0}")]
    Id(#[from] IdError),
}

/// Errors in a row, the first few in full: a text of 100,000 bad entries makes no error of
/// megabytes. The error's value holds them all.
pub(super) fn list<T: fmt::Display>(errors: &[T]) -> String {
    let mut text = String::new();
    for error in errors.iter().take(MAX_LISTED) {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&error.to_string());
    }
    let more = errors.len().saturating_sub(MAX_LISTED);
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

const MAX_TEXT: usize = 1 << 20;
const MAX_ENTRIES: usize = 100_000;
const MAX_LISTED: usize = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::name::NameError;

    fn parse(text: &str) -> Vec<(String, String, Option<Password>)> {
        let config: SniConfig = text.parse().unwrap();
        let entry =
            |entry: SniEntry| (entry.pattern.to_string(), entry.id.to_string(), entry.password);
        config.entries.into_iter().map(entry).collect()
    }

    fn plain(name: &str, id: &str) -> (String, String, Option<Password>) {
        (name.to_owned(), id.to_owned(), None)
    }

    fn faults(text: &str) -> Vec<(usize, SyntaxFault)> {
        match text.parse::<SniConfig>().unwrap_err() {
            SniConfigError::Entries(errors) => {
                errors.into_iter().map(|error| (error.index, error.fault)).collect()
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn n09_the_documented_example() {
        let text = "*.mqtt.aliyuncs.com#15xxxxx-cn-hangzhou;mqtt-test.mqtt.aliyuncs.com#15xxxx9-cn-hangzhou";
        let entries = [
            plain("*.mqtt.aliyuncs.com", "15xxxxx-cn-hangzhou"),
            plain("mqtt-test.mqtt.aliyuncs.com", "15xxxx9-cn-hangzhou"),
        ];
        assert_eq!(parse(text), entries);
        assert_eq!(parse(&format!("{text};")), entries);
    }

    #[test]
    fn n09_empty_or_blank_means_default_only() {
        for text in ["", " ", "\t\r\n "] {
            assert!(text.parse::<SniConfig>().unwrap().is_empty(), "{text:?}");
        }
    }

    #[test]
    fn n09_blanks_round_entries_names_and_ids_do_not_count() {
        let text = " a.com # one ; *.b.com\t#two ; \n";
        assert_eq!(parse(text), [plain("a.com", "one"), plain("*.b.com", "two")]);
    }

    #[test]
    fn n09_the_first_two_signs_split_and_the_rest_is_password() {
        let password = |text: &str| Some(Password::from(text.to_owned()));
        let entry = |password| [("a.com".to_owned(), "one".to_owned(), password)];
        assert_eq!(parse("a.com#one#p#w#"), entry(password("p#w#")));
        assert_eq!(parse("a.com#one# p w+%~"), entry(password(" p w+%~")));
        assert_eq!(parse("a.com#one#"), entry(None));
    }

    #[test]
    fn n09_every_bad_entry_is_reported_with_its_index() {
        assert_eq!(
            faults("a.com#one;;b.com;c.com#;*#x;d.com#ok;e.com#.x"),
            [
                (2, SyntaxFault::Empty),
                (3, SyntaxFault::NoCertificateId),
                (4, SyntaxFault::Id(IdError::Empty)),
                (5, SyntaxFault::Name(PatternError::BareWildcard)),
                (7, SyntaxFault::Id(IdError::LeadingDot)),
            ]
        );
        assert_eq!(faults(";"), [(1, SyntaxFault::Empty)]);
        assert_eq!(faults("a.com#one;;"), [(2, SyntaxFault::Empty)]);
        assert_eq!(faults("#one"), [(1, SyntaxFault::Name(NameError::Empty.into()))]);
    }

    #[test]
    fn n09_limits() {
        let entries = vec!["a.com#x"; 100_000].join(";");
        assert_eq!(entries.parse::<SniConfig>().unwrap().len(), 100_000);
        assert_eq!(format!("{entries};").parse::<SniConfig>().unwrap().len(), 100_000);
        let error = format!("{entries};a.com#x").parse::<SniConfig>().unwrap_err();
        assert_eq!(error, SniConfigError::TooManyEntries(100_001));
        let long = " ".repeat((1 << 20) + 1);
        assert_eq!(long.parse::<SniConfig>().unwrap_err(), SniConfigError::TooLong(1_048_577));
        assert!(long[1..].parse::<SniConfig>().unwrap().is_empty());
    }

    #[test]
    fn n10_no_password_in_debug_or_error() {
        let config: SniConfig = "a.com#one#hunter2".parse().unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let error = "a..com#one#hunter2;b.com#/#hunter2".parse::<SniConfig>().unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            entries in prop::collection::vec(
                (r"(\*\.)?[a-z]{1,8}\.[a-z]{1,8}\.[a-z]{2,3}", "[a-z0-9_-][a-z0-9._-]{0,8}", "[^;\\s]{0,8}"),
                0..8,
            ),
            trailing in any::<bool>(),
        ) {
            let texts: Vec<_> = entries
                .iter()
                .map(|(name, id, password)| match password.as_str() {
                    "" => format!("{name}#{id}"),
                    password => format!("{name}#{id}#{password}"),
                })
                .collect();
            let end = if trailing && !texts.is_empty() { ";" } else { "" };
            let expected: Vec<_> = entries
                .into_iter()
                .map(|(name, id, password)| {
                    (name, id, (!password.is_empty()).then(|| Password::from(password)))
                })
                .collect();
            prop_assert_eq!(parse(&format!("{}{end}", texts.join(";"))), expected);
        }

        #[test]
        fn no_text_panics(text in "[a#;*. \\PC]{0,64}") {
            let _outcome = text.parse::<SniConfig>();
        }
    }
}
