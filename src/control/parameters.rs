//! Parameters as names and texts, before they are values.

use std::str::FromStr;

use zeroize::Zeroizing;

/// The parameters of a request by the cloud's names, as in `MqttInstanceId`.
///
/// Names are compared as they are. A value may be a secret: it is wiped when dropped, and there is
/// no `Debug` of it.
#[derive(Default)]
pub struct Parameters(Vec<(String, Zeroizing<String>)>);

impl Parameters {
    /// Refuses a name that stands twice or is not among `known`.
    pub(super) fn check_names(&self, known: &'static [&'static str]) -> Result<(), ParameterError> {
        for (position, (name, _)) in (1..).zip(&self.0) {
            let Some(known) = known.iter().find(|known| *known == name) else {
                return Err(ParameterError::Unknown { position, known });
            };
            if self.0.iter().skip(position).any(|(other, _)| other == known) {
                return Err(ParameterError::Repeated(known));
            }
        }
        Ok(())
    }

    /// The value of a parameter that must be there.
    pub(super) fn required<T, E>(&self, name: &'static str) -> Result<T, E>
    where
        T: FromStr,
        E: From<T::Err> + From<ParameterError>,
    {
        let value: Result<Option<T>, E> = self.optional(name);
        value?.ok_or_else(|| ParameterError::Missing(name).into())
    }

    /// The value of a parameter that need not be there.
    pub(super) fn optional<T, E>(&self, name: &str) -> Result<Option<T>, E>
    where
        T: FromStr,
        E: From<T::Err>,
    {
        let text = self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text);
        Ok(text.map(|text| text.parse()).transpose()?)
    }
}

impl FromIterator<(String, String)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, text)| (name, Zeroizing::new(text))).collect())
    }
}

impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// What is wrong with the set of parameters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// A parameter that must be there is not.
    #[error("parameter {0} is missing")]
    Missing(&'static str),
    /// The operation has no such parameter. Its name is not repeated: it may be a piece of a
    /// password that was split where it should not be.
    #[error("parameter number {position} is not one of {}", known.join(", "))]
    Unknown {
        /// Which of the request's parameters, counted from 1.
        position: usize,
        /// The operation's parameters.
        known: &'static [&'static str],
    },
    /// A parameter is given more than once.
    #[error("parameter {0} is given more than once")]
    Repeated(&'static str),
}
