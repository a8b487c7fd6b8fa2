//! What a client can use, reduced to what decides between certificates.

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, SignatureScheme, SupportedCipherSuite};

/// The signature schemes with which a client accepts the server's signature, once for each
/// protocol version that may come out of the handshake.
///
/// A ClientHello as rustls shows it does not say which version will be negotiated. A scheme counts
/// for TLS 1.3 where client and server have a TLS 1.3 suite in common, and for TLS 1.2 where they
/// share a suite that signs with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    tls13: SchemeSet,
    tls12: SchemeSet,
}

impl Offer {
    /// What `schemes` and `suites` of a ClientHello mean to a server with `server` suites.
    pub fn new(server: &Suites, schemes: &[SignatureScheme], suites: &[CipherSuite]) -> Self {
        let offered = SchemeSet::of(schemes);
        let mut tls13 = SchemeSet::EMPTY;
        let mut tls12 = SchemeSet::EMPTY;
        for suite in suites {
            match server.signing_schemes(*suite) {
                Some((Version::Tls13, usable)) => tls13 = tls13.union(usable),
                Some((Version::Tls12, usable)) => tls12 = tls12.union(usable),
                None => {}
            }
            if tls13 == server.tls13 && tls12 == server.tls12 {
                break;
            }
        }
        Self { tls13: offered.intersection(tls13), tls12: offered.intersection(tls12) }
    }

    /// How well a key that signs with `schemes` serves this client.
    pub(super) fn suits(&self, schemes: SchemeSet) -> Option<Suitability> {
        let tls13 = !self.tls13.intersection(schemes).is_empty();
        let tls12 = !self.tls12.intersection(schemes).is_empty();
        match (tls13, tls12) {
            (true, true) => Some(Suitability::Both),
            (true, false) => Some(Suitability::Tls13),
            (false, true) => Some(Suitability::Tls12),
            (false, false) => None,
        }
    }
}

/// On which protocol versions a key can serve a client, the better ones greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Suitability {
    Tls12,
    Tls13,
    Both,
}

/// A server's cipher suites, and what each can sign with.
#[derive(Clone, Debug)]
pub struct Suites {
    suites: Box<[(CipherSuite, Version, SchemeSet)]>,
    tls13: SchemeSet,
    tls12: SchemeSet,
}

impl Suites {
    /// The suites of a crypto provider.
    pub fn of(provider: &CryptoProvider) -> Self {
        let suites: Box<[_]> = provider
            .cipher_suites
            .iter()
            .map(|suite| match suite {
                SupportedCipherSuite::Tls13(suite) => {
                    (suite.common.suite, Version::Tls13, SchemeSet::TLS13)
                }
                SupportedCipherSuite::Tls12(suite) => {
                    (suite.common.suite, Version::Tls12, SchemeSet::of(suite.sign))
                }
            })
            .collect();
        let all = |version| {
            let of_version = suites.iter().filter(|(_, of, _)| *of == version);
            of_version.fold(SchemeSet::EMPTY, |all, (_, _, schemes)| all.union(*schemes))
        };
        Self { tls13: all(Version::Tls13), tls12: all(Version::Tls12), suites }
    }

    fn signing_schemes(&self, suite: CipherSuite) -> Option<(Version, SchemeSet)> {
        let known = self.suites.iter().find(|(known, _, _)| *known == suite);
        known.map(|(_, version, schemes)| (*version, *schemes))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Tls13,
    Tls12,
}

/// A set of signature schemes; one that is not known here is in no set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SchemeSet(u32);

impl SchemeSet {
    const EMPTY: Self = Self(0);

    /// All schemes that TLS 1.3 may sign a handshake with: "RSASSA-PKCS1-v1_5 algorithms … are
    /// not defined for use in signed TLS handshake messages"
    /// ([RFC 8446 section 4.2.3](https://www.rfc-editor.org/rfc/rfc8446#section-4.2.3)).
    const TLS13: Self = Self(0b0111_1111_1111);

    pub(super) fn of(schemes: &[SignatureScheme]) -> Self {
        schemes.iter().fold(Self::EMPTY, |set, scheme| set.union(Self::only(*scheme)))
    }

    fn only(scheme: SignatureScheme) -> Self {
        let position = match scheme {
            SignatureScheme::ECDSA_NISTP256_SHA256 => 0,
            SignatureScheme::ECDSA_NISTP384_SHA384 => 1,
            SignatureScheme::ECDSA_NISTP521_SHA512 => 2,
            SignatureScheme::ED25519 => 3,
            SignatureScheme::ED448 => 4,
            SignatureScheme::RSA_PSS_SHA256 => 5,
            SignatureScheme::RSA_PSS_SHA384 => 6,
            SignatureScheme::RSA_PSS_SHA512 => 7,
            SignatureScheme::ML_DSA_44 => 8,
            SignatureScheme::ML_DSA_65 => 9,
            SignatureScheme::ML_DSA_87 => 10,
            SignatureScheme::RSA_PKCS1_SHA256 => 11,
            SignatureScheme::RSA_PKCS1_SHA384 => 12,
            SignatureScheme::RSA_PKCS1_SHA512 => 13,
            _ => return Self::EMPTY,
        };
        Self(1 << position)
    }

    fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn is_empty(self) -> bool {
        self == Self::EMPTY
    }
}
