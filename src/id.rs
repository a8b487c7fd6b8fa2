//! Identifiers of instances and certificates, and of whose instances they are and where.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Names one MQTT instance: `[A-Za-z0-9_-]`, 1 to 64 characters, as in `mqtt-cn-5yd3xxx`.
///
/// Cheap to clone. It is safe as one component of a path: it holds neither a separator nor a dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check(text, MAX_INSTANCE_ID, is_word)?;
        Ok(Self(text.into()))
    }
}

/// Names one server certificate at its source: `[A-Za-z0-9._-]`, 1 to 128 characters, the first
/// not a dot, as in `1533-cn-hangzhou`.
///
/// Cheap to clone. It is safe as one component of a path: it holds no separator and is neither
/// `.` nor `..` nor a hidden file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateId(Arc<str>);

impl CertificateId {
    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CertificateId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check(text, MAX_CERTIFICATE_ID, |character| is_word(character) || character == '.')?;
        if text.starts_with('.') {
            return Err(IdError::LeadingDot);
        }
        Ok(Self(text.into()))
    }
}

/// Names one account, to which instances belong and on whose behalf operations are called:
/// `[A-Za-z0-9_-]`, 1 to 64 characters, as in `1245000000034343`.
///
/// Cheap to clone. It is safe as one component of a resource's name: it holds neither `:` nor `*`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check(text, MAX_ACCOUNT_ID, is_word)?;
        Ok(Self(text.into()))
    }
}

/// Names the place where an instance is: `[a-z0-9-]`, 1 to 64 characters, as in `cn-hangzhou`.
///
/// Cheap to clone. It is safe as one component of a resource's name: it holds neither `:` nor `*`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(Arc<str>);

impl Region {
    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Region {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check(text, MAX_REGION, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceId({})", self.0)
    }
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateId({})", self.0)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountId({})", self.0)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({})", self.0)
    }
}

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// No text at all.
    #[error("the identifier is empty")]
    Empty,
    /// More bytes than the limit.
    #[error("the identifier has {length} bytes, at most {limit} are allowed")]
    TooLong {
        /// How many bytes the text has.
        length: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A character outside the identifier's set.
    #[error("the identifier holds {0:?}, which is not allowed in it")]
    Character(char),
    /// A certificate id that starts with a dot would name a hidden file or a parent folder.
    #[error("the identifier starts with a dot")]
    LeadingDot,
}

fn check(text: &str, limit: usize, allowed: fn(char) -> bool) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > limit {
        return Err(IdError::TooLong { length: text.len(), limit });
    }
    match text.chars().find(|&character| !allowed(character)) {
        Some(character) => Err(IdError::Character(character)),
        None => Ok(()),
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
}

const MAX_INSTANCE_ID: usize = 64;
const MAX_CERTIFICATE_ID: usize = 128;
const MAX_ACCOUNT_ID: usize = 64;
const MAX_REGION: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n09_instance_ids() {
        let longest = "i".repeat(64);
        for good in ["mqtt-cn-5yd3xxx", "a", "A_9", longest.as_str()] {
            assert_eq!(good.parse::<InstanceId>().unwrap().as_str(), good);
        }
        let cases = [
            ("", IdError::Empty),
            (&"i".repeat(65), IdError::TooLong { length: 65, limit: 64 }),
            ("a.b", IdError::Character('.')),
            ("a/b", IdError::Character('/')),
            ("..", IdError::Character('.')),
            ("a b", IdError::Character(' ')),
            ("é", IdError::Character('é')),
            ("a\0", IdError::Character('\0')),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<InstanceId>().unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn account_ids() {
        let longest = "a".repeat(64);
        for good in ["1245000000034343", "a", "A_9-", "-", longest.as_str()] {
            let id: AccountId = good.parse().unwrap();
            assert_eq!((id.as_str(), id.to_string().as_str()), (good, good));
        }
        let cases = [
            ("", IdError::Empty),
            (&"a".repeat(65), IdError::TooLong { length: 65, limit: 64 }),
            ("1:2", IdError::Character(':')),
            ("*", IdError::Character('*')),
            ("1*", IdError::Character('*')),
            ("a.b", IdError::Character('.')),
            ("a/b", IdError::Character('/')),
            ("a\nb", IdError::Character('\n')),
            ("٣", IdError::Character('٣')),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<AccountId>().unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn regions() {
        let longest = "r".repeat(64);
        for good in ["cn-hangzhou", "ap-southeast-1", "r", longest.as_str()] {
            let region: Region = good.parse().unwrap();
            assert_eq!((region.as_str(), region.to_string().as_str()), (good, good));
        }
        let cases = [
            ("", IdError::Empty),
            (&"r".repeat(65), IdError::TooLong { length: 65, limit: 64 }),
            ("cn:hangzhou", IdError::Character(':')),
            ("*", IdError::Character('*')),
            ("cn-*", IdError::Character('*')),
            ("CN-hangzhou", IdError::Character('C')),
            ("cn_hangzhou", IdError::Character('_')),
            ("cn.hangzhou", IdError::Character('.')),
            (" cn", IdError::Character(' ')),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Region>().unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn n09_certificate_ids() {
        let longest = "c".repeat(128);
        for good in ["1533-cn-hangzhou", "a.b", "a..b", "_", longest.as_str()] {
            assert_eq!(good.parse::<CertificateId>().unwrap().as_str(), good);
        }
        let cases = [
            ("", IdError::Empty),
            (&"c".repeat(129), IdError::TooLong { length: 129, limit: 128 }),
            (".", IdError::LeadingDot),
            ("..", IdError::LeadingDot),
            (".hidden", IdError::LeadingDot),
            ("../x", IdError::Character('/')),
            ("a\\b", IdError::Character('\\')),
            ("a#b", IdError::Character('#')),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<CertificateId>().unwrap_err(), error, "{text:?}");
        }
    }
}
