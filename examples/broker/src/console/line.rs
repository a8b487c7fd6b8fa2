//! One line as an operator types it.

use thiserror::Error;

/// An operation's name and its parameters, as typed.
///
/// Words are separated by blanks; the first is the operation, each other one is `Name=value`, and
/// the value is everything after the first `=`. There is no quoting: no parameter of any operation
/// here needs a blank, unless a file has one in its name.
///
/// The word `dry-run` may stand before the operation. It stands in front, and is no parameter, so
/// that it cannot go wrong: misspelt it is an operation that nobody knows, and it has no value that
/// could mean the opposite.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Whether the operation is to change anything.
    pub(super) mode: Mode,
    /// The operation's name, unchecked.
    pub(super) operation: String,
    /// The parameters in the order typed, each name once.
    pub(super) parameters: Vec<(String, String)>,
}

impl Line {
    /// Reads a line; `None` where it is blank.
    pub(super) fn parse(line: &str) -> Result<Option<Self>, LineError> {
        let mut words = (1_usize..).zip(line.split_whitespace());
        let Some((_, first)) = words.next() else {
            return Ok(None);
        };
        let (mode, operation) = if first == DRY_RUN {
            let (_, operation) = words.next().ok_or(LineError::NoDryRun)?;
            (Mode::DryRun, operation)
        } else {
            (Mode::Apply, first)
        };
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (number, text) in words {
            // The word itself is not repeated: it may be a piece of a password.
            let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty())
            else {
                return Err(LineError::NotAParameter { word: number });
            };
            if parameters.iter().any(|(known, _)| known == name) {
                return Err(LineError::Twice { word: number });
            }
            parameters.push((name.to_owned(), value.to_owned()));
        }
        Ok(Some(Self { mode, operation: operation.to_owned(), parameters }))
    }
}

/// What is wanted of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// That it is applied.
    Apply,
    /// That it says what it would do.
    DryRun,
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
    /// What follows `dry-run` cannot be tried.
    #[error("`dry-run` stands before an operation that `help` shows with it")]
    NoDryRun,
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

const DRY_RUN: &str = "dry-run";

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
        let error = Line::parse("dry-run X Sn=1 2").unwrap_err();
        assert_eq!(error, LineError::NotAParameter { word: 4 });
    }

    #[test]
    fn a_dry_run_is_one_word_in_front_of_an_operation() {
        let line = parsed("dry-run X Sn=1");
        assert_eq!((line.mode, line.operation.as_str()), (Mode::DryRun, "X"));
        assert_eq!(line.parameters, [("Sn".to_owned(), "1".to_owned())]);
        assert_eq!(parsed("X Sn=1").mode, Mode::Apply);
        // Whatever is nearly that is an operation that nobody knows, or no parameter.
        for misspelt in ["dryrun", "Dry-Run", "dry-run=True", "dry-runX"] {
            let error = Line::parse(&format!("{misspelt} X Sn=1")).unwrap_err();
            assert_eq!(error, LineError::NotAParameter { word: 2 }, "{misspelt}");
        }
        assert_eq!(parsed("dry-run dry-run Sn=1").operation, "dry-run");
        assert_eq!(Line::parse("X dry-run").unwrap_err(), LineError::NotAParameter { word: 2 });
        assert_eq!(Line::parse("dry-run").unwrap_err(), LineError::NoDryRun);
    }
}
