//! What a client can use, reduced to what decides between certificates.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, SignatureScheme, SupportedCipherSuite};

use crate::certificate::SIGNATURE_SCHEMES;

/// With which of the server's keys a client can be served.
///
/// A ClientHello as rustls shows it does not say which version will be negotiated. A signature
/// scheme counts for TLS 1.3 where client and server have a TLS 1.3 suite in common, and for TLS
/// 1.2 where they share a suite that signs with it.
///
/// Nothing is read before a key is held against it: most names have one certificate, and the first
/// few entries of either list tell about one key.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    server: &'a Suites,
    schemes: &'a [SignatureScheme],
    suites: &'a [CipherSuite],
}

impl<'a> Offer<'a> {
    /// `schemes` and `suites` of a ClientHello, to a server with `server` suites.
    pub fn new(
        server: &'a Suites,
        schemes: &'a [SignatureScheme],
        suites: &'a [CipherSuite],
    ) -> Self {
        Self { server, schemes, suites }
    }

    /// Whether client and server have so little in common that TLS itself has an answer, a better one
    /// than that no certificate suits.
    pub(crate) fn is_hopeless(&self) -> bool {
        let known = |suite: &CipherSuite| self.server.signing_schemes(*suite).is_some();
        self.schemes.is_empty() || !self.suites.iter().any(known)
    }

    /// Whether a key that signs with `schemes` serves this client on any protocol version.
    #[inline]
    pub(super) fn takes(&self, schemes: SchemeSet) -> bool {
        self.versions(schemes).next().is_some()
    }

    /// How well a key that signs with `schemes` serves this client.
    pub(super) fn suits(&self, schemes: SchemeSet) -> Option<Suitability> {
        let mut suitability = None;
        for version in self.versions(schemes) {
            suitability = match (suitability, version) {
                (None | Some(Suitability::Tls13), Version::Tls13) => Some(Suitability::Tls13),
                (None | Some(Suitability::Tls12), Version::Tls12) => Some(Suitability::Tls12),
                _ => return Some(Suitability::Both),
            };
        }
        suitability
    }

    /// The protocol version of each common suite on which a key signs as the client accepts.
    #[inline]
    fn versions(&self, schemes: SchemeSet) -> impl Iterator<Item = Version> {
        let accepted = self.accepted(schemes);
        self.suites.iter().filter_map(move |suite| {
            let (version, signing) = self.server.signing_schemes(*suite)?;
            accepted.meets(signing).then_some(version)
        })
    }

    /// Those of a key's schemes that the client accepts.
    #[inline]
    fn accepted(&self, schemes: SchemeSet) -> SchemeSet {
        let mut accepted = SchemeSet::EMPTY;
        for scheme in self.schemes {
            if accepted == schemes {
                break;
            }
            accepted = accepted.union(SchemeSet::only(*scheme).intersection(schemes));
        }
        accepted
    }
}

/// On which protocol versions a key can serve a client, the better ones greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Suitability {
    Tls12,
    Tls13,
    Both,
}

/// A server's cipher suites, and what each can sign with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Suites(Arc<[(CipherSuite, Version, SchemeSet)]>);

impl Suites {
    /// The suites of a crypto provider.
    pub fn of(provider: &CryptoProvider) -> Self {
        let suites = provider
            .cipher_suites
            .iter()
            .map(|suite| match suite {
                SupportedCipherSuite::Tls13(suite) => {
                    (suite.common.suite, Version::Tls13, SchemeSet::tls13())
                }
                SupportedCipherSuite::Tls12(suite) => {
                    (suite.common.suite, Version::Tls12, SchemeSet::of(suite.sign))
                }
            })
            .collect();
        Self(suites)
    }

    #[inline]
    fn signing_schemes(&self, suite: CipherSuite) -> Option<(Version, SchemeSet)> {
        let known = self.0.iter().find(|(known, _, _)| *known == suite);
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
    pub(super) const EMPTY: Self = Self(0);

    /// All schemes that TLS 1.3 may sign a handshake with: "RSASSA-PKCS1-v1_5 algorithms … are
    /// not defined for use in signed TLS handshake messages"
    /// ([RFC 8446 section 4.2.3](https://www.rfc-editor.org/rfc/rfc8446#section-4.2.3)).
    fn tls13() -> Self {
        let of_tls13 = SIGNATURE_SCHEMES.into_iter().filter(|scheme| {
            !matches!(
                *scheme,
                SignatureScheme::RSA_PKCS1_SHA256
                    | SignatureScheme::RSA_PKCS1_SHA384
                    | SignatureScheme::RSA_PKCS1_SHA512
            )
        });
        of_tls13.fold(Self::EMPTY, |set, scheme| set.union(Self::only(scheme)))
    }

    pub(super) fn of(schemes: &[SignatureScheme]) -> Self {
        schemes.iter().fold(Self::EMPTY, |set, scheme| set.union(Self::only(*scheme)))
    }

    fn only(scheme: SignatureScheme) -> Self {
        let position = SIGNATURE_SCHEMES.iter().position(|known| *known == scheme);
        position.map_or(Self::EMPTY, |position| Self(1 << position))
    }

    fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn meets(self, other: Self) -> bool {
        self.intersection(other) != Self::EMPTY
    }
}
