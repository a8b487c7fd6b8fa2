//! The numbers of revocation lists.

use std::fmt;

/// The number of a revocation list, by which the later of two lists of one CA is known
/// ([RFC 5280 section 5.2.3](https://www.rfc-editor.org/rfc/rfc5280#section-5.2.3)).
///
/// Ordered by value. Shown in hex, as `0x1a`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListNumber([u8; MAX_OCTETS]);

impl ListNumber {
    /// Reads the content octets of a DER `INTEGER`.
    ///
    /// # Errors
    ///
    /// No octets, a negative value, or one of more than 20 octets: "Conforming CRL issuers MUST NOT
    /// use CRLNumber values longer than 20 octets."
    pub fn from_der_content(octets: &[u8]) -> Result<Self, ListNumberError> {
        match octets.first() {
            None => Err(ListNumberError::Empty),
            Some(first) if first & SIGN_BIT != 0 => Err(ListNumberError::Negative),
            Some(_) => {
                let too_long = ListNumberError::TooLong { octets: octets.len() };
                right_aligned(octets).map(Self).ok_or(too_long)
            }
        }
    }
}

impl fmt::Display for ListNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut octets = self.0.iter().skip_while(|&&octet| octet == 0);
        write!(f, "0x{:x}", octets.next().unwrap_or(&0))?;
        octets.try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for ListNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListNumber({self})")
    }
}

/// Why an `INTEGER` is not the number of a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListNumberError {
    /// No octets.
    #[error("the list's number is empty")]
    Empty,
    /// A negative `INTEGER`.
    #[error("the list's number is negative")]
    Negative,
    /// More than 20 octets.
    #[error("the list's number has {octets} octets, at most {MAX_OCTETS} are allowed")]
    TooLong {
        /// How many octets it has, the sign's among them.
        octets: usize,
    },
}

/// A value in the form in which values are compared octet by octet; `None` where it has more octets
/// than RFC 5280 lets the numbers of lists and of certificates have.
pub(super) fn right_aligned(octets: &[u8]) -> Option<[u8; MAX_OCTETS]> {
    let zeros = octets.iter().take_while(|&&octet| octet == 0).count();
    let value = octets.get(zeros..)?;
    let mut aligned = [0; MAX_OCTETS];
    let start = MAX_OCTETS.checked_sub(value.len())?;
    aligned.get_mut(start..)?.copy_from_slice(value);
    Some(aligned)
}

/// In RFC 5280 sections 4.1.2.2 and 5.2.3.
pub(super) const MAX_OCTETS: usize = 20;
const SIGN_BIT: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(octets: &[u8]) -> ListNumber {
        ListNumber::from_der_content(octets).unwrap()
    }

    #[test]
    fn numbers_of_different_length_are_ordered_by_value() {
        let ascending =
            [&[0][..], &[1], &[0x7f], &[0, 0x80], &[0, 0xff], &[1, 0], &[2, 0], &[1; 20]];
        for (lower, higher) in ascending.iter().zip(ascending.iter().skip(1)) {
            assert!(number(lower) < number(higher), "{lower:?} {higher:?}");
        }
        assert_eq!(number(&[0, 1]), number(&[1]));
    }

    #[test]
    fn up_to_20_octets_and_no_sign_are_a_number() {
        let longest = [&[0][..], &[0xff; 20]].concat();
        assert_eq!(number(&longest).to_string(), format!("0x{}", "ff".repeat(20)));
        assert_eq!(number(&[0x7f; 20]).to_string(), format!("0x{}", "7f".repeat(20)));
        let cases = [
            (vec![], ListNumberError::Empty),
            (vec![0xff], ListNumberError::Negative),
            (vec![0x80; 20], ListNumberError::Negative),
            (vec![1; 21], ListNumberError::TooLong { octets: 21 }),
            (vec![1; 70], ListNumberError::TooLong { octets: 70 }),
        ];
        for (octets, error) in cases {
            assert_eq!(ListNumber::from_der_content(&octets), Err(error), "{octets:?}");
        }
    }

    #[test]
    fn shown_in_hex() {
        for (octets, shown) in [(&[0][..], "0x0"), (&[0x1a], "0x1a"), (&[1, 0, 2], "0x10002")] {
            assert_eq!(number(octets).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn small_numbers_are_ordered_and_shown_as_integers(one: u64, other: u64) {
            let list = |value: u64| number(&[&[0][..], &value.to_be_bytes()].concat());
            prop_assert_eq!(list(one).cmp(&list(other)), one.cmp(&other));
            prop_assert_eq!(list(one).to_string(), format!("{one:#x}"));
        }
    }
}
