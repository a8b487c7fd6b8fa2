//! Whether a path leads from a device's certificate to a registered CA: the one place that asks.
//!
//! `rustls-webpki` alone accepts. It is asked with one anchor at a time, nearest to the device
//! first, and everything of ours can only refuse: before it is asked (size, candidates, budget)
//! and from within its path hook (states, the anchor's own validity and path length, key usage).

use std::cell::RefCell;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{Cert, EndEntityCert, VerifiedPath};
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::extensions::{AuthorityKeyIdentifier, KeyUsage};
use x509_parser::nom::Parser;
use x509_parser::oid_registry::{OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_KEY_USAGE};
use x509_parser::prelude::FromDer;

use super::authority::{Authority, SeenRecord};
use super::budget::Budget;
use super::device::Device;
use super::index::Standing;
use super::links::Links;
use super::refusal::Refusal;
use super::registry::CaRegistry;
use super::state::Moment;
use super::verdict::{PathCa, Verdict};
use crate::certificate::{CaIdentity, SerialNumber, Validity};

/// What one chain is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathCheck<'a> {
    pub(super) registry: &'a CaRegistry,
    pub(super) algorithms: &'a WebPkiSupportedAlgorithms,
    pub(super) now: UnixTime,
    /// When the handshake began: a state set later counts for the next one.
    pub(super) moment: Moment,
}

impl PathCheck<'_> {
    /// Finds a path whose every CA is good, through the registered CA nearest to the device.
    pub(super) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        budget: &Budget,
    ) -> Result<Verdict, Refusal> {
        check_size(end_entity, intermediates)?;
        let leaf = EndEntityCert::try_from(end_entity).map_err(Refusal::of_reading)?;
        let links = Links::of(end_entity, &leaf, intermediates);
        let metered = budget.meter(self.algorithms.all);
        let algorithms: Vec<&dyn SignatureVerificationAlgorithm> =
            metered.iter().map(|algorithm| algorithm as _).collect();
        let chain = links.chain();
        budget.charge_for(chain.iter().map(|der| der.len()).sum());
        let search = Search { leaf: &leaf, chain, algorithms, budget };

        let mut reason = Refusal::UnknownIssuer;
        for (issuer, children) in links.issuers_from(&leaf, end_entity) {
            let key_ids = || children.iter().map(|der| authority_key_id(der)).collect();
            let mut candidates = self.registry.index().candidates(issuer, key_ids);
            while let Some(authority) = candidates.next() {
                match self.verify_to(&authority, &search) {
                    Ok(CaPath { cas, not_after }) => {
                        let device = Device::read(end_entity, &authority)?;
                        let not_after = not_after.min(device.validity().not_after);
                        let devices = self.registry.devices();
                        let standing = devices.standing(&device, &authority, self.moment)?;
                        return Ok(Verdict { device, standing, path: cas, not_after });
                    }
                    Err(refusal) => match budget.overdrawn() {
                        Some(overdrawn) => return Err(overdrawn),
                        None => reason = reason.or_more_telling(refusal),
                    },
                }
            }
            if candidates.left_some_out() {
                reason = reason.or_more_telling(Refusal::TooManyCandidates);
            }
            if let Some(serial) = candidates.inactive() {
                reason = reason.or_more_telling(Refusal::InactiveCa(serial.clone()));
            }
        }
        Err(reason)
    }

    /// Whether a chain leads to this CA, whatever the status of any: for a device that is to be
    /// recorded beforehand. One that is not valid yet may be.
    pub(super) fn verify_below(
        &self,
        anchor: &Arc<Authority>,
        chain: &[CertificateDer<'_>],
        budget: &Budget,
    ) -> Result<Device, Refusal> {
        let [end_entity, intermediates @ ..] = chain else { return Err(Refusal::Unreadable) };
        check_size(end_entity, intermediates)?;
        let leaf = EndEntityCert::try_from(end_entity).map_err(Refusal::of_reading)?;
        let device = Device::read(end_entity, anchor)?;
        let links = Links::of(end_entity, &leaf, intermediates);
        let metered = budget.meter(self.algorithms.all);
        let algorithms: Vec<&dyn SignatureVerificationAlgorithm> =
            metered.iter().map(|algorithm| algorithm as _).collect();
        let hook = |path: &VerifiedPath<'_>| {
            let check = |it: &Cert<'_>| check_intermediate(&it.der()).map(drop);
            let checked = path.intermediate_certificates().try_for_each(check);
            checked.map_err(|_| webpki::Error::UnknownIssuer)
        };
        let begins = device.validity().not_before;
        let time = if begins.as_secs() > self.now.as_secs() { begins } else { self.now };
        let (anchors, chain) = ([anchor.certificate().anchor()], links.chain());
        let verified = leaf.verify_for_usage(
            &algorithms,
            &anchors,
            &chain,
            time,
            budget.client_auth(),
            None,
            Some(&hook),
        );
        verified.map_err(Refusal::of_webpki)?;
        Ok(device)
    }

    fn verify_to(&self, anchor: &Arc<Authority>, search: &Search<'_>) -> Result<CaPath, Refusal> {
        // The reason is kept here: where the hook refuses, webpki goes on searching, and the error
        // that it ends with need not be the hook's.
        let found = RefCell::new(Err(Refusal::UnknownIssuer));
        let hook = |path: &VerifiedPath<'_>| {
            let result = self.check_path(anchor, path);
            let refused = result.is_err();
            let _earlier = found.replace(result);
            if refused { Err(webpki::Error::UnknownIssuer) } else { Ok(()) }
        };
        let anchors = [anchor.certificate().anchor()];
        let verified = search.leaf.verify_for_usage(
            &search.algorithms,
            &anchors,
            &search.chain,
            self.now,
            search.budget.client_auth(),
            None,
            Some(&hook),
        );
        match (verified.map(drop), found.into_inner()) {
            (Ok(()), found) => found,
            (Err(_), Err(refusal)) if refusal != Refusal::UnknownIssuer => Err(refusal),
            (Err(error), _) => Err(Refusal::of_webpki(error)),
        }
    }

    /// The path hook: called for a path whose signatures, dates and names webpki has found good.
    fn check_path(
        &self,
        anchor: &Arc<Authority>,
        path: &VerifiedPath<'_>,
    ) -> Result<CaPath, Refusal> {
        let mut cas = Vec::with_capacity(path.intermediate_certificates().count() + 1);
        let mut not_after = anchor.certificate().validity().not_after;
        for intermediate in path.intermediate_certificates() {
            let der = intermediate.der();
            let (serial, validity) = check_intermediate(&der)?;
            not_after = not_after.min(validity.not_after);
            let identity = CaIdentity::of(intermediate).ok_or(Refusal::UnusualKey)?;
            cas.push(match self.registry.index().standing(&identity) {
                Standing::Unregistered { lapsed: Some(word) }
                    if !word.is_older_than(self.moment) =>
                {
                    return Err(Refusal::ChangedMeanwhile(serial));
                }
                Standing::Unregistered { lapsed } => {
                    PathCa::Unregistered { identity, serial, lapsed }
                }
                Standing::Active(record) => PathCa::registered(self.in_time(record)?, serial),
                Standing::Inactive(serial) => return Err(Refusal::InactiveCa(serial)),
            });
        }
        let record = self.check_anchor(anchor, cas.len())?;
        cas.push(PathCa::Registered { record, serial: None });
        let leaf = SerialNumber::from_der_content(path.end_entity().serial());
        let leaf = leaf.map_err(|_| Refusal::Unreadable)?;
        self.registry.check_revocation(&leaf, &cas, self.now)?;
        Ok(CaPath { cas, not_after })
    }

    /// What webpki takes an anchor's word for: it looks at subject, key and name constraints only.
    fn check_anchor(&self, anchor: &Arc<Authority>, below: usize) -> Result<SeenRecord, Refusal> {
        let certificate = anchor.certificate();
        let serial = || certificate.serial().clone();
        let word = anchor.word();
        if !word.is_active() {
            return Err(Refusal::InactiveCa(serial()));
        }
        let validity = certificate.validity();
        if validity.is_early(self.now) {
            return Err(Refusal::CaNotYetValid(serial()));
        }
        if validity.is_expired(self.now) {
            return Err(Refusal::CaExpired(serial()));
        }
        // "the maximum number of non-self-issued intermediate certificates that may follow this
        // certificate" (RFC 5280 section 4.2.1.9); self-issued ones were dropped.
        let allowed = certificate.path_length().and_then(|length| usize::try_from(length).ok());
        if allowed.is_some_and(|allowed| below > allowed) {
            return Err(Refusal::PathTooLong(serial()));
        }
        self.in_time(SeenRecord { authority: Arc::clone(anchor), word })
    }

    fn in_time(&self, record: SeenRecord) -> Result<SeenRecord, Refusal> {
        if record.word.is_older_than(self.moment) {
            return Ok(record);
        }
        Err(Refusal::ChangedMeanwhile(record.authority.certificate().serial().clone()))
    }
}

/// The CAs of a path that is good.
struct CaPath {
    /// From the device's issuer to the anchor, which is last.
    cas: Vec<PathCa>,
    /// The last second in which all their certificates are valid.
    not_after: UnixTime,
}

/// What every candidate anchor of one device is asked with.
struct Search<'a> {
    leaf: &'a EndEntityCert<'a>,
    chain: Vec<CertificateDer<'a>>,
    algorithms: Vec<&'a dyn SignatureVerificationAlgorithm>,
    budget: &'a Budget,
}

impl Refusal {
    /// What webpki reads and does not speak is another matter than what it cannot read.
    fn of_reading(error: webpki::Error) -> Self {
        match error {
            webpki::Error::UnsupportedCriticalExtension | webpki::Error::UnsupportedCertVersion => {
                Self::Invalid(error)
            }
            _ => Self::Unreadable,
        }
    }

    fn of_webpki(error: webpki::Error) -> Self {
        match error {
            webpki::Error::UnknownIssuer
            | webpki::Error::InvalidSignatureForPublicKey
            | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                Self::UnknownIssuer
            }
            webpki::Error::RequiredEkuNotFoundContext(_) => Self::NotForClientAuth,
            webpki::Error::UnsupportedSignatureAlgorithmContext(_) => Self::UnsupportedSignature,
            other => Self::Invalid(other),
        }
    }

    /// Keeps the reason that tells an operator more: of several paths that fail, the first one
    /// which failed for a reason of its own.
    fn or_more_telling(self, other: Self) -> Self {
        if self == Self::UnknownIssuer { other } else { self }
    }
}

fn check_size(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<(), Refusal> {
    if intermediates.len() > MAX_INTERMEDIATES {
        return Err(Refusal::TooManyIntermediates(intermediates.len()));
    }
    let bytes = end_entity.len() + intermediates.iter().map(|der| der.len()).sum::<usize>();
    if bytes > MAX_CHAIN { Err(Refusal::ChainTooLarge(bytes)) } else { Ok(()) }
}

/// "If a key usage extension is present, verify that the keyCertSign bit is set" (RFC 5280
/// section 6.1.4 (n)), which webpki does not.
fn check_intermediate(der: &[u8]) -> Result<(SerialNumber, Validity), Refusal> {
    let x509 = parse(der).ok_or(Refusal::Unreadable)?;
    let usage = x509.get_extension_unique(&OID_X509_EXT_KEY_USAGE);
    if let Some(usage) = usage.map_err(|_| Refusal::Unreadable)? {
        let (_, usage) = KeyUsage::from_der(usage.value).map_err(|_| Refusal::Unreadable)?;
        if !usage.key_cert_sign() {
            return Err(Refusal::NoKeyCertSign);
        }
    }
    let serial = SerialNumber::from_der_content(x509.raw_serial());
    Ok((serial.map_err(|_| Refusal::Unreadable)?, Validity::of(&x509)))
}

fn authority_key_id(der: &[u8]) -> Option<Box<[u8]>> {
    let x509 = parse(der)?;
    let extension = x509.get_extension_unique(&OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER).ok()??;
    let (_, id) = AuthorityKeyIdentifier::from_der(extension.value).ok()?;
    id.key_identifier.map(|key_id| key_id.0.into())
}

/// Without the contents of the extensions, of which one is read.
fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    parser.parse(der).ok().map(|(_, x509)| x509)
}

const MAX_INTERMEDIATES: usize = 8;
/// Of the whole chain as the device sent it.
const MAX_CHAIN: usize = 32 * 1024;
