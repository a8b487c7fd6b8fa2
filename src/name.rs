//! Host names and the patterns that cover them: the only parser of either.
//!
//! | pattern | covers | does not cover |
//! |---|---|---|
//! | `x.a.com` | `x.a.com`, `X.A.com.` | `y.x.a.com`, `a.com` |
//! | `*.a.com` | `x.a.com` | `a.com`, `x.y.a.com`, `xa.com` |
//!
//! What is deliberately not checked: whether an A-label (`xn--…`) decodes, and whether a name is
//! registered anywhere. A pattern that no client can ask for does no harm.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// A DNS host name in its one canonical form: lower case, no trailing dot, A-labels only.
///
/// Letters, digits, hyphens and underscores; labels of 1 to 63 bytes, 253 bytes in all
/// ([RFC 1035 section 2.3.4](https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4)). Underscores
/// are allowed because deployed device names hold them and TLS libraries send them. The last
/// label is never all digits, so that no name can be mistaken for an IPv4 address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

impl HostName {
    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = NameError;

    /// Parses a name in either case, with or without one trailing dot.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        check(name)?;
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for HostName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostName({})", self.0)
    }
}

/// What an operator maps to a certificate: one host name, or all names one label below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamePattern {
    /// Exactly this name.
    Exact(HostName),
    /// `*.` and this name, which has at least two labels: every name that has exactly one label
    /// more ([RFC 9525 section 6.3](https://www.rfc-editor.org/rfc/rfc9525#section-6.3)).
    Wildcard(HostName),
}

impl NamePattern {
    /// Whether `name` is one that this pattern answers for.
    pub fn covers(&self, name: &HostName) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Wildcard(parent) => parent_of(name.as_str()) == Some(parent.as_str()),
        }
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if !text.contains('*') {
            return Ok(Self::Exact(text.parse()?));
        }
        let parent = match text.strip_prefix('*') {
            Some("") => return Err(PatternError::BareWildcard),
            Some(rest) => rest.strip_prefix('.').ok_or(PatternError::PartialWildcard)?,
            None if text.split('.').any(|label| label == "*") => {
                return Err(PatternError::WildcardNotLeftmost);
            }
            None => return Err(PatternError::PartialWildcard),
        };
        if parent.is_empty() {
            return Err(PatternError::WildcardOfNothing);
        }
        if parent.contains('*') {
            return Err(PatternError::SecondWildcard);
        }
        let name: HostName = parent.parse()?;
        if !name.as_str().contains('.') {
            return Err(PatternError::WildcardTooBroad(name));
        }
        let length = name.as_str().len() + "*.".len();
        if length > MAX_NAME {
            return Err(NameError::TooLong { length }.into());
        }
        Ok(Self::Wildcard(name))
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// Why a text is not a host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No text at all.
    #[error("the name is empty")]
    Empty,
    /// Over 253 bytes without the trailing dot.
    #[error("the name has {length} bytes, at most {max} are allowed", max = MAX_NAME)]
    TooLong {
        /// How many bytes the name has.
        length: usize,
    },
    /// Two dots in a row, or a leading one.
    #[error("label {position} of the name is empty")]
    EmptyLabel {
        /// Which label, counted from 1 at the left.
        position: usize,
    },
    /// A label of over 63 bytes.
    #[error("label {position} of the name has {length} bytes, at most {max} are allowed", max = MAX_LABEL)]
    LabelTooLong {
        /// Which label, counted from 1 at the left.
        position: usize,
        /// How many bytes it has.
        length: usize,
    },
    /// A hyphen at either end of a label.
    #[error("label {position} of the name starts or ends with a hyphen")]
    Hyphen {
        /// Which label, counted from 1 at the left.
        position: usize,
    },
    /// A character outside ASCII.
    #[error("the name holds {0:?}: write it in its ASCII form, whose labels start with xn--")]
    NonAscii(char),
    /// An ASCII character that no host name holds.
    #[error("the name holds {0:?}, which is not allowed in a host name")]
    Character(char),
    /// A name followed by a port.
    #[error("the name is followed by a port: leave the port out")]
    Port,
    /// An IP address, or a name whose last label is all digits, which reads as one.
    #[error("the text is an IP address or ends like one: server names are host names")]
    IpAddress,
}

/// Why a text is not a name pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The name itself is wrong, with a wildcard before it or without.
    #[error(transparent)]
    Name(#[from] NameError),
    /// `*` alone.
    #[error("a wildcard needs a name after it: the default certificate answers all other names")]
    BareWildcard,
    /// `*.` with nothing after it.
    #[error("nothing follows the wildcard")]
    WildcardOfNothing,
    /// `*.com`: one label after the wildcard.
    #[error("the wildcard covers all of {0}: at least two labels must follow it")]
    WildcardTooBroad(HostName),
    /// `*.*.a.com`.
    #[error("only one wildcard is allowed")]
    SecondWildcard,
    /// `f*.a.com`, `*f.a.com`.
    #[error("a wildcard must be the whole left-most label")]
    PartialWildcard,
    /// `a.*.com`.
    #[error("a wildcard must be the left-most label")]
    WildcardNotLeftmost,
}

/// The canonical form of a name as a client asked for it. Borrows unless there are capitals in
/// it, which rustls has already lowered; judges nothing, since a name that is none matches none.
#[inline]
pub(crate) fn canonical(asked: &str) -> Cow<'_, str> {
    let name = asked.strip_suffix('.').unwrap_or(asked);
    // Without a way out in the middle the loop runs over many bytes at a time.
    if name.bytes().fold(false, |found, byte| found | byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// What remains of a name without its left-most label: the key under which a wildcard that
/// covers the name is kept.
#[inline]
pub(crate) fn parent_of(name: &str) -> Option<&str> {
    // Labels are short: a search made for long texts would take longer to start than to run.
    match name.bytes().position(|byte| byte == b'.') {
        Some(0) | None => None,
        Some(dot) => name.get(dot + 1..),
    }
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if literal.parse::<IpAddr>().is_ok() {
        return Err(NameError::IpAddress);
    }
    if let Some((_, port)) = name.split_once(':') {
        if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NameError::Port);
        }
    }
    if let Some(character) = name.chars().find(|&character| !allowed(character)) {
        return Err(match character.is_ascii() {
            true => NameError::Character(character),
            false => NameError::NonAscii(character),
        });
    }
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong { length: name.len() });
    }
    check_labels(name)
}

fn allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.')
}

fn check_labels(name: &str) -> Result<(), NameError> {
    let mut numeric = false;
    for (position, label) in (1..).zip(name.split('.')) {
        if label.is_empty() {
            return Err(NameError::EmptyLabel { position });
        }
        if label.len() > MAX_LABEL {
            return Err(NameError::LabelTooLong { position, length: label.len() });
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(NameError::Hyphen { position });
        }
        numeric = label.bytes().all(|byte| byte.is_ascii_digit());
    }
    if numeric { Err(NameError::IpAddress) } else { Ok(()) }
}

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls_pki_types::DnsName;

    use super::*;

    fn exact(text: &str) -> NamePattern {
        NamePattern::Exact(text.parse().unwrap())
    }

    #[test]
    fn n04_case_and_one_trailing_dot_do_not_matter() {
        let configured: HostName = "API.Example.COM".parse().unwrap();
        for asked in ["api.example.com", "API.EXAMPLE.com", "api.example.com."] {
            assert_eq!(asked.parse::<HostName>().unwrap(), configured, "{asked}");
            assert_eq!(canonical(asked), configured.as_str(), "{asked}");
        }
        let two_dots = "api.example.com..".parse::<HostName>();
        assert_eq!(two_dots.unwrap_err(), NameError::EmptyLabel { position: 4 });
    }

    #[test]
    fn n05_underscores_and_a_labels_are_names_and_other_scripts_are_not() {
        let wildcard: NamePattern = "*.a.com".parse().unwrap();
        for name in ["_mqtt.a.com", "xn--bcher-kva.a.com"] {
            assert!(wildcard.covers(&name.parse().unwrap()), "{name}");
        }
        let error = "bücher.a.com".parse::<NamePattern>().unwrap_err();
        assert_eq!(error, NameError::NonAscii('ü').into());
        assert!(error.to_string().contains("xn--"), "{error}");
    }

    #[test]
    fn n06_longest_and_shortest_names() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), 253);
        assert_eq!(longest.parse::<HostName>().unwrap().as_str(), longest);
        assert_eq!(format!("{longest}.").parse::<HostName>().unwrap().as_str(), longest);
        for name in ["localhost", "a", "_", "a-b", "1.a", "0x7f.b1"] {
            assert_eq!(name.parse::<NamePattern>().unwrap(), exact(name));
        }
    }

    #[test]
    fn n07_each_bad_pattern_has_its_own_reason() {
        let label = "a".repeat(64);
        let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(62));
        let wide = format!("*.{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(60));
        let cases: &[(&str, PatternError)] = &[
            ("*", PatternError::BareWildcard),
            ("*.", PatternError::WildcardOfNothing),
            ("*.com", PatternError::WildcardTooBroad("com".parse().unwrap())),
            ("*.com.", PatternError::WildcardTooBroad("com".parse().unwrap())),
            ("*.*.a.com", PatternError::SecondWildcard),
            ("f*.a.com", PatternError::PartialWildcard),
            ("*f.a.com", PatternError::PartialWildcard),
            ("a.*.com", PatternError::WildcardNotLeftmost),
            (".a.com", NameError::EmptyLabel { position: 1 }.into()),
            ("a..com", NameError::EmptyLabel { position: 2 }.into()),
            ("*..a.com", NameError::EmptyLabel { position: 1 }.into()),
            ("a.com:8883", NameError::Port.into()),
            ("*.a.com:8883", NameError::Port.into()),
            ("1.2.3.4", NameError::IpAddress.into()),
            ("1.2.3.4.", NameError::IpAddress.into()),
            ("::1", NameError::IpAddress.into()),
            ("[::1]", NameError::IpAddress.into()),
            ("host.123", NameError::IpAddress.into()),
            ("a/b.com", NameError::Character('/').into()),
            ("a\0.com", NameError::Character('\0').into()),
            ("a b.com", NameError::Character(' ').into()),
            ("-a.com", NameError::Hyphen { position: 1 }.into()),
            ("a.b-.com", NameError::Hyphen { position: 2 }.into()),
            (&format!("{label}.com"), NameError::LabelTooLong { position: 1, length: 64 }.into()),
            (&long, NameError::TooLong { length: 254 }.into()),
            (&wide, NameError::TooLong { length: 254 }.into()),
            ("", NameError::Empty.into()),
            (".", NameError::Empty.into()),
        ];
        for (text, reason) in cases {
            assert_eq!(text.parse::<NamePattern>().as_ref(), Err(reason), "{text:?}");
        }
    }

    #[test]
    fn n01_a_wildcard_covers_one_label_and_only_that() {
        let wildcard: NamePattern = "*.a.com".parse().unwrap();
        assert!(wildcard.covers(&"x.a.com".parse().unwrap()));
        for other in ["a.com", "p.q.a.com", "xa.com", "com", "x.b.com"] {
            assert!(!wildcard.covers(&other.parse().unwrap()), "{other}");
        }
    }

    /// The rule of `covers`, told over label lists.
    fn covers_by_labels(pattern: &str, name: &str) -> bool {
        let pattern: Vec<_> = pattern.split('.').collect();
        let name: Vec<_> = name.split('.').collect();
        pattern.len() == name.len()
            && pattern.iter().zip(&name).all(|(label, asked)| *label == "*" || label == asked)
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_naive_rule(
            pattern in r"(\*\.)?[ab](\.[ab]){1,3}",
            name in "[ab](\\.[ab]){0,4}",
        ) {
            let parsed: NamePattern = pattern.parse().unwrap();
            let asked: HostName = name.parse().unwrap();
            prop_assert_eq!(parsed.covers(&asked), covers_by_labels(&pattern, &name));
        }

        #[test]
        fn every_accepted_name_is_one_that_rustls_lets_a_client_ask_for(text in "[a-zA-Z0-9_.:*-]{0,40}") {
            if let Ok(name) = text.parse::<HostName>() {
                prop_assert!(DnsName::try_from(name.as_str()).is_ok(), "{}", name);
            }
        }

        #[test]
        fn every_name_that_a_client_can_ask_for_is_accepted(text in "[a-zA-Z0-9_.-]{1,40}") {
            if DnsName::try_from(text.as_str()).is_ok() {
                prop_assert!(text.parse::<HostName>().is_ok(), "{}", text);
            }
        }

        #[test]
        fn a_pattern_round_trips_through_its_text(text in ".{0,40}") {
            if let Ok(pattern) = text.parse::<NamePattern>() {
                prop_assert_eq!(pattern.to_string().parse::<NamePattern>().unwrap(), pattern);
            }
        }
    }
}
