//! SHA-256 fingerprints.

use std::fmt;

use sha2::Digest;

/// The SHA-256 of a certificate's DER, shown as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The fingerprint of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The fingerprint of these parts, each behind its length.
    pub(super) fn of_all(parts: &[impl AsRef<[u8]>]) -> Self {
        let whole = sha2::Sha256::new();
        let with = |hash: sha2::Sha256, part: &[u8]| {
            hash.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
        };
        Self(parts.iter().fold(whole, |hash, part| with(hash, part.as_ref())).finalize().into())
    }
}

impl AsRef<[u8]> for Sha256 {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_openssl_shows_it_without_colons() {
        // FIPS 180-4, the example of the empty message.
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256::of(b"").to_string(), empty);
    }
}
