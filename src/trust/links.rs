//! Which of the certificates that a device sent lie on a way up from its own.

use rustls_pki_types::CertificateDer;
use webpki::{Cert, EndEntityCert};

/// The intermediates that may take part in a path, with the names that link them.
pub(super) struct Links<'a>(Vec<Link<'a>>);

struct Link<'a> {
    der: CertificateDer<'a>,
    certificate: EndEntityCert<'a>,
}

impl<'a> Links<'a> {
    /// Drops what can add nothing: duplicates, self-issued ones, those of the device's own name and
    /// key, through which no path leads, and what webpki cannot read (an X.509 v1 root that a device
    /// sends along).
    pub(super) fn of(
        end_entity: &CertificateDer<'_>,
        leaf: &EndEntityCert<'_>,
        sent: &'a [CertificateDer<'a>],
    ) -> Self {
        let mut links: Vec<Link<'a>> = Vec::with_capacity(sent.len());
        for der in sent {
            if der == end_entity || links.iter().any(|link| link.der == *der) {
                continue;
            }
            let Ok(certificate) = EndEntityCert::try_from(der) else {
                continue;
            };
            if certificate.subject() != certificate.issuer() && !is_same_party(&certificate, leaf) {
                links.push(Link { der: CertificateDer::from(der.as_ref()), certificate });
            }
        }
        Self(links)
    }

    /// The certificates that are left, as webpki takes them.
    pub(super) fn chain(&self) -> Vec<CertificateDer<'a>> {
        self.0.iter().map(|link| link.der.clone()).collect()
    }

    /// The issuer names that lie on any way up from the leaf, the nearest first, each with the
    /// certificates that bear it: cross-signed ones may mean different keys by it.
    pub(super) fn issuers_from<'b>(
        &'b self,
        leaf: &'b EndEntityCert<'_>,
        leaf_der: &'b CertificateDer<'_>,
    ) -> Vec<(&'b [u8], Vec<&'b [u8]>)> {
        let mut found: Vec<(&[u8], Vec<&[u8]>)> = vec![(leaf.issuer(), vec![leaf_der])];
        let mut next = 0;
        while let Some(&(name, _)) = found.get(next) {
            next += 1;
            for link in self.0.iter().filter(|link| link.certificate.subject() == name) {
                let issuer = link.certificate.issuer();
                match found.iter_mut().find(|(known, _)| *known == issuer) {
                    None => found.push((issuer, vec![&link.der])),
                    Some((_, children)) => children.push(&link.der),
                }
            }
        }
        found
    }
}

/// "Prevent loops" (RFC 4158 section 5.2): a path names no subject with one key twice.
fn is_same_party(one: &Cert<'_>, other: &Cert<'_>) -> bool {
    one.subject() == other.subject()
        && one.subject_public_key_info() == other.subject_public_key_info()
}
