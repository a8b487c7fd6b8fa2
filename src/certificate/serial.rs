//! Serial numbers: their text, their octets, and when two of them are the same.

use std::fmt;
use std::str::FromStr;

/// The serial number of a certificate: a non-negative integer
/// ([RFC 5280 section 4.1.2.2](https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.2)).
///
/// Two serials are equal when their values are, however they were written. As text it is the
/// lower-case hex of the DER content octets, so a value whose highest bit is set starts with `00`;
/// zero is `00`. Zero is allowed: RFC 5280 asks certificate users to be prepared for it.
///
/// # Limits
///
/// The text has at most [`MAX_TEXT`](Self::MAX_TEXT) bytes, as in the `Sn` parameter of
/// [`ActiveCaCertificate`](crate::ActiveCaCertificate).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SerialNumber(Box<[u8]>);

impl SerialNumber {
    /// The most bytes that a serial's text may have. A number of 128 digits whose highest bit is set
    /// is read, though it is shown with `00` before them: no CA can be registered under it.
    pub const MAX_TEXT: usize = 128;

    /// Reads the content octets of a DER `INTEGER`, as they stand in a certificate.
    ///
    /// # Errors
    ///
    /// No octets, a negative value, or one whose text would pass [`MAX_TEXT`](Self::MAX_TEXT).
    pub fn from_der_content(octets: &[u8]) -> Result<Self, SerialError> {
        match octets.first() {
            None => Err(SerialError::Empty),
            Some(first) if first & SIGN_BIT != 0 => Err(SerialError::Negative),
            Some(_) => {
                let serial = Self::from_magnitude(octets);
                let length = serial.text_length();
                if length > Self::MAX_TEXT {
                    return Err(SerialError::TooLong { length });
                }
                Ok(serial)
            }
        }
    }

    /// The serial number 0.
    pub(crate) fn zero() -> Self {
        Self(Box::default())
    }

    /// The value's octets, without leading zeros.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.0
    }

    /// The serial with these [`octets`](Self::octets); `None` where none has them.
    pub(crate) fn from_octets(octets: &[u8]) -> Option<Self> {
        let serial = Self(octets.into());
        let fits = octets.first() != Some(&0) && serial.text_length() <= Self::MAX_TEXT;
        fits.then_some(serial)
    }

    fn from_magnitude(octets: &[u8]) -> Self {
        let zeros = octets.iter().take_while(|&&octet| octet == 0).count();
        Self(octets.get(zeros..).unwrap_or_default().into())
    }

    /// Whether the text starts with an octet that is not kept.
    fn starts_with_zero(&self) -> bool {
        self.0.first().is_none_or(|first| first & SIGN_BIT != 0)
    }

    fn text_length(&self) -> usize {
        2 * (usize::from(self.starts_with_zero()) + self.0.len())
    }
}

impl FromStr for SerialNumber {
    type Err = SerialError;

    /// Reads hex digits of either case, optionally after `0x`, optionally with single colons
    /// between digits. An odd number of digits is read as if a zero stood before them.
    fn from_str(text: &str) -> Result<Self, SerialError> {
        if text.len() > Self::MAX_TEXT {
            return Err(SerialError::TooLong { length: text.len() });
        }
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        if digits.trim().is_empty() {
            return Err(SerialError::Empty);
        }
        if digits.starts_with(':') || digits.ends_with(':') || digits.contains("::") {
            return Err(SerialError::Colon);
        }
        let nibbles: Vec<u8> =
            digits.chars().filter(|&c| c != ':').map(nibble).collect::<Result<_, _>>()?;
        let octets: Vec<u8> = nibbles
            .rchunks(2)
            .rev()
            .map(|pair| pair.iter().fold(0, |octet, nibble| octet << 4 | nibble))
            .collect();
        Ok(Self::from_magnitude(&octets))
    }
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.starts_with_zero() {
            f.write_str("00")?;
        }
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerialNumber({self})")
    }
}

/// Why a text or an `INTEGER` is not a serial number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// No digits, or no octets.
    #[error("the serial number is empty")]
    Empty,
    /// Over 128 bytes of text.
    #[error("the serial number takes {length} bytes of text, at most {max} are allowed", max = SerialNumber::MAX_TEXT)]
    TooLong {
        /// How many bytes the text has, or would have.
        length: usize,
    },
    /// Something else than a hex digit.
    #[error("the serial number holds {0:?}: it is written in hex digits")]
    Character(char),
    /// A colon at an end, or two in a row.
    #[error("colons in a serial number stand between digits, one at a time")]
    Colon,
    /// A negative `INTEGER`.
    #[error("the serial number is negative")]
    Negative,
}

fn nibble(character: char) -> Result<u8, SerialError> {
    let digit = character.to_digit(16).ok_or(SerialError::Character(character))?;
    u8::try_from(digit).map_err(|_| SerialError::Character(character))
}

const SIGN_BIT: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn serial(text: &str) -> SerialNumber {
        text.parse().unwrap()
    }

    #[test]
    fn s01_text_is_limited_in_bytes_before_it_is_parsed() {
        assert!("a".repeat(128).parse::<SerialNumber>().is_ok());
        let cases = [
            ("a".repeat(129), SerialError::TooLong { length: 129 }),
            ("g".repeat(129), SerialError::TooLong { length: 129 }),
            (format!("{}éé", "a".repeat(125)), SerialError::TooLong { length: 129 }),
            (format!("{}é", "a".repeat(126)), SerialError::Character('é')),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<SerialNumber>(), Err(error), "{text}");
        }
    }

    #[test]
    fn s02_one_value_however_it_is_written() {
        let same = ["ab12", "AB12", "aB:12", "a:b:1:2", "0xab12", "0XAB12", "00ab12", "0000AB12"];
        for text in same {
            assert_eq!(serial(text), serial("ab12"), "{text}");
        }
        assert_eq!(serial("abc"), serial("0abc"));
        assert_ne!(serial("abc"), serial("abc0"));
        assert_ne!(serial("ab12"), serial("ab13"));
    }

    #[test]
    fn s02_what_is_no_hex_is_refused() {
        let cases = [
            ("", SerialError::Empty),
            (" ", SerialError::Empty),
            ("\t\n", SerialError::Empty),
            ("0x", SerialError::Empty),
            (":", SerialError::Colon),
            ("ab:", SerialError::Colon),
            (":ab", SerialError::Colon),
            ("ab::12", SerialError::Colon),
            ("0x:ab", SerialError::Colon),
            ("xyz", SerialError::Character('x')),
            ("0x0x12", SerialError::Character('x')),
            ("12 34", SerialError::Character(' ')),
            ("12\0", SerialError::Character('\0')),
            ("-1", SerialError::Character('-')),
            ("+1", SerialError::Character('+')),
            ("١٢", SerialError::Character('١')),
            ("１２", SerialError::Character('１')),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<SerialNumber>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn s03_negative_is_refused_and_zero_round_trips() {
        assert_eq!(SerialNumber::from_der_content(&[0xff]), Err(SerialError::Negative));
        assert_eq!(SerialNumber::from_der_content(&[]), Err(SerialError::Empty));
        let zero = SerialNumber::from_der_content(&[0]).unwrap();
        assert_eq!(zero.to_string(), "00");
        for text in ["0", "00", "0x0", "0:0"] {
            assert_eq!(serial(text), zero, "{text}");
        }
        assert_eq!(serial("ff").to_string(), "00ff");
    }

    #[test]
    fn s03_octets_whose_text_is_too_long_are_refused() {
        let longest = [0x7f; 64];
        assert_eq!(SerialNumber::from_der_content(&longest).unwrap().to_string().len(), 128);
        let error = SerialError::TooLong { length: 130 };
        assert_eq!(SerialNumber::from_der_content(&[0x7f; 65]), Err(error.clone()));
        let mut with_sign_octet = [0xff; 65];
        with_sign_octet[0] = 0;
        assert_eq!(SerialNumber::from_der_content(&with_sign_octet), Err(error));
    }

    proptest! {
        #[test]
        fn octets_and_text_name_the_same_value(octets in prop::collection::vec(any::<u8>(), 1..=64)) {
            match SerialNumber::from_der_content(&octets) {
                Ok(value) => {
                    prop_assert_eq!(value.to_string().parse::<SerialNumber>().unwrap(), value);
                }
                Err(error) => {
                    prop_assert!(octets[0] & SIGN_BIT != 0, "{}", error);
                }
            }
        }
    }
}
