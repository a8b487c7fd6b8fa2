//! One line as an operator types it.

use thiserror::Error;

/// An operation's name and its parameters, as typed.
///
/// Words are separated by blanks; the first is the operation, each other one is `Name=value`, and
/// the value is everything after the first `=`. There is no quoting: no parameter of any operation
/// here needs a blank.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The operation's name, unchecked.
    pub(super) operation: String,
    /// The parameters in the order typed, each name once.
    pub(super) parameters: Vec<(String, String)>,
}

impl Line {
    /// Reads a line; `None` where it is blank.
    pub(super) fn parse(line: &str) -> Result<Option<Self>, LineError> {
        let mut words = line.split_whitespace();
        let Some(operation) = words.next() else {
            return Ok(None);
        };
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (index, word) in words.enumerate() {
            // The word itself is not repeated: it may be a piece of a password.
            let Some((name, value)) = word.split_once('=').filter(|(name, _)| !name.is_empty())
            else {
                return Err(LineError::NotAParameter { word: index.saturating_add(2) });
            };
            if parameters.iter().any(|(known, _)| known == name) {
                return Err(LineError::Twice { word: index.saturating_add(2) });
            }
            parameters.push((name.to_owned(), value.to_owned()));
        }
        Ok(Some(Self { operation: operation.to_owned(), parameters }))
    }
}

/// Why a line is no operation with parameters.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum LineError {
    /// A word after the operation lacks a name or the `=`.
    #[error("word {word} is not `Name=value`: values hold no blanks")]
    NotAParameter {
        /// Which word, counted from 1.
        word: usize,
    },
    /// A parameter is given a second time.
    #[error("word {word} gives a parameter for the second time")]
    Twice {
        /// Which word, counted from 1.
        word: usize,
    },
    /// The line is longer than any operation needs.
    #[error("the line is longer than {limit} bytes")]
    TooLong {
        /// How long a line may be.
        limit: usize,
    },
    /// The line is no text.
    #[error("the line is not UTF-8")]
    NotUtf8,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Line {
        Line::parse(line).unwrap().unwrap()
    }

    #[test]
    fn a_value_is_everything_after_the_first_equals_sign() {
        let line = parsed(" SetSniConfig\tDefaultCertificate=default  SniConfig=a.b#c#p=w;d.e#f ");
        assert_eq!(line.operation, "SetSniConfig");
        let expected = [("DefaultCertificate", "default"), ("SniConfig", "a.b#c#p=w;d.e#f")];
        assert_eq!(
            line.parameters,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(parsed("X SniConfig=").parameters, [("SniConfig".to_owned(), String::new())]);
    }

    #[test]
    fn a_blank_line_is_no_operation() {
        assert_eq!(Line::parse(""), Ok(None));
        assert_eq!(Line::parse(" \t\r\n"), Ok(None));
    }

    #[test]
    fn a_word_that_is_no_parameter_is_named_by_its_place_only() {
        for (line, word) in [("X Sn", 2), ("X Sn=1 =2", 3), ("X SniConfig=a#b#pass word", 3)] {
            let error = Line::parse(line).unwrap_err();
            assert_eq!(error, LineError::NotAParameter { word }, "{line}");
            assert!(!error.to_string().contains("pass"));
        }
        assert_eq!(Line::parse("X Sn=1 Sn=1").unwrap_err(), LineError::Twice { word: 3 });
    }
}
