//! Parameters as typed.

use std::error::Error;
use std::str::FromStr;

use mqtls::control::Parameters;
use thiserror::Error;

/// Parameters by their names, each once, before anybody has looked at the values.
pub(super) struct Typed(Vec<(String, String)>);

impl Typed {
    /// As a line has them.
    pub(super) fn new(parameters: Vec<(String, String)>) -> Self {
        Self(parameters)
    }

    /// The same, with a value for this one where it was not typed.
    pub(super) fn or(mut self, name: &str, value: &str) -> Self {
        if !self.0.iter().any(|(known, _)| known == name) {
            self.0.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Takes out a parameter that the console has read itself.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// Refuses parameters that the operation does not have.
    pub(super) fn check_names(&self, known: &'static [&'static str]) -> Result<(), TypedError> {
        if self.0.iter().all(|(name, _)| known.contains(&name.as_str())) {
            Ok(())
        } else {
            Err(TypedError::Unknown(known))
        }
    }

    /// The value of a parameter that must be there.
    pub(super) fn required<T>(&self, name: &'static str) -> Result<T, TypedError>
    where
        T: FromStr<Err: Error + Send + Sync + 'static>,
    {
        self.optional(name)?.ok_or(TypedError::Missing(name))
    }

    /// The value of a parameter that need not be there.
    pub(super) fn optional<T>(&self, name: &'static str) -> Result<Option<T>, TypedError>
    where
        T: FromStr<Err: Error + Send + Sync + 'static>,
    {
        let value = self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.parse());
        value.transpose().map_err(|why| TypedError::NoValue { name, why: Box::new(why) })
    }
}

/// For the operations that the cloud knows: the library reads their parameters itself.
impl From<Typed> for Parameters {
    fn from(typed: Typed) -> Self {
        typed.0.into_iter().collect()
    }
}

/// Why what was typed is none of an operation's parameters.
#[derive(Debug, Error)]
pub(super) enum TypedError {
    /// A parameter that must be there is not.
    #[error("parameter {0} is missing")]
    Missing(&'static str),
    /// The operation has no such parameter.
    #[error("there is a parameter that is not one of {}", .0.join(", "))]
    Unknown(&'static [&'static str]),
    /// A parameter's text is no value of its kind.
    #[error("parameter {name} has no value of its kind")]
    NoValue {
        /// The parameter.
        name: &'static str,
        /// What is wrong with the text.
        #[source]
        why: Box<dyn Error + Send + Sync>,
    },
}

/// The instance that an operation is applied to.
pub(super) const INSTANCE: &str = "MqttInstanceId";

/// The file that an operation reads.
pub(super) const FILE: &str = "File";
