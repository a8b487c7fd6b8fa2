//! Serial numbers, as text and as the octets in a certificate.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use mqtls::SerialNumber;

/// Reads the bytes both ways and holds what comes out against a naive reading.
pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        match text.parse::<SerialNumber>() {
            Ok(serial) => check_text(text, &serial),
            Err(error) => assert!(error.to_string().len() <= 200),
        }
    }
    match SerialNumber::from_der_content(data) {
        Ok(serial) => {
            let shown = serial.to_string();
            assert!(shown.len() <= SerialNumber::MAX_TEXT);
            check_same(&serial, &shown.parse().unwrap());
            assert_eq!(significant(&shown), significant(&hex(data)));
        }
        Err(_) => assert!(data.first().is_none_or(|first| first & 0x80 != 0) || data.len() > 64),
    }
}

fn check_text(text: &str, serial: &SerialNumber) {
    assert!(text.len() <= SerialNumber::MAX_TEXT);
    let shown = serial.to_string();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let digits = digits.replace(':', "").to_lowercase();
    assert_eq!(significant(&shown), significant(&digits));
    // 128 digits are taken although a certificate with that number, whose text has two more where
    // the highest bit is set, cannot be registered: such a number is not found.
    if shown.len() <= SerialNumber::MAX_TEXT {
        check_same(serial, &shown.parse().unwrap());
    } else {
        assert_eq!((text.len(), shown.len()), (SerialNumber::MAX_TEXT, SerialNumber::MAX_TEXT + 2));
    }
}

fn check_same(one: &SerialNumber, other: &SerialNumber) {
    assert_eq!(one, other);
    assert_eq!(hash(one), hash(other));
    assert_eq!(one.to_string(), other.to_string());
}

fn significant(digits: &str) -> &str {
    digits.trim_start_matches('0')
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
