//! Ids of requests.

use std::fmt;

use uuid::Uuid;

/// Names one request in answers and logs: a random UUID in capitals, as in
/// `020F6A43-19E6-4B6E-B846-44EB31DF0A1C`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    pub(super) fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}", self.0.hyphenated())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_documented_shape_and_is_another_one_each_time() {
        let text = RequestId::random().to_string();
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        let capital_hex = |c: char| c == '-' || c.is_ascii_digit() || ('A'..='F').contains(&c);
        assert!(text.chars().all(capital_hex), "{text}");
        assert_ne!(RequestId::random(), RequestId::random());
    }
}
