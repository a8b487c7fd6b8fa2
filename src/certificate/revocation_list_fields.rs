//! The fields of a revocation list, one after the other.

use rustls_pki_types::UnixTime;
use x509_parser::asn1_rs::{Any, BitString, Tag};
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{X509Name, X509Version};

use super::list_number::ListNumber;
use super::revocation_list_error::RevocationListError;
use super::validity::unix;

/// What stands around the entries of a list. The entries are not looked at, so the cost does not
/// depend on how many there are.
pub(super) struct Fields<'a> {
    /// All that is signed.
    pub(super) message: &'a [u8],
    /// The AlgorithmIdentifier beside the signature.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: BitString<'a>,
    pub(super) issuer: X509Name<'a>,
    pub(super) this_update: UnixTime,
    pub(super) next_update: UnixTime,
    pub(super) number: Option<ListNumber>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(der: &'a [u8]) -> Result<Self, RevocationListError> {
        let (behind, list) = element(der, Tag::Sequence)?;
        if !behind.is_empty() {
            return Err(RevocationListError::TrailingData);
        }
        let (behind_message, fields) = element(list, Tag::Sequence)?;
        let (behind_algorithm, _) = element(behind_message, Tag::Sequence)?;
        let (_, signature) = read::<BitString<'_>, _>(behind_algorithm)?;

        let (rest, _algorithm) = element(behind_version(fields)?, Tag::Sequence)?;
        let (rest, issuer) = read::<X509Name<'_>, _>(rest)?;
        let (rest, this_update) = read::<ASN1Time, _>(rest)?;
        if !matches!(tag(rest), Some(Tag::UtcTime | Tag::GeneralizedTime)) {
            return Err(RevocationListError::NoNextUpdate);
        }
        let (rest, next_update) = read::<ASN1Time, _>(rest)?;
        let (this_update, next_update) = (unix(this_update), unix(next_update));
        if next_update < this_update {
            return Err(RevocationListError::NextUpdateBeforeThis { this_update, next_update });
        }
        let rest = match tag(rest) {
            Some(Tag::Sequence) => element(rest, Tag::Sequence)?.0,
            Some(_) | None => rest,
        };
        if rest.is_empty() {
            return Err(RevocationListError::NoExtensions);
        }
        Ok(Self {
            message: until(list, behind_message),
            algorithm: until(behind_message, behind_algorithm),
            signature,
            issuer,
            this_update,
            next_update,
            number: number(rest)?,
        })
    }
}

/// "When extensions are used, as required by this profile, this field MUST be present and MUST
/// specify version 2 (the integer value is 1)" (RFC 5280 section 5.1.2.1).
fn behind_version(fields: &[u8]) -> Result<&[u8], RevocationListError> {
    // Version 1 is the absence of the field, and the algorithm comes first.
    if tag(fields) == Some(Tag::Sequence) {
        return Err(RevocationListError::Version(1));
    }
    let (rest, version) = read::<X509Version, _>(fields)?;
    match version {
        X509Version::V2 => Ok(rest),
        X509Version(other) => Err(RevocationListError::Version(other.saturating_add(1))),
    }
}

/// The list's number, once no extension tells that the list is none to be loaded.
fn number(tagged: &[u8]) -> Result<Option<ListNumber>, RevocationListError> {
    let (_, sequence) = element(tagged, Tag(0))?;
    let (_, mut rest) = element(sequence, Tag::Sequence)?;
    let mut number = None;
    while !rest.is_empty() {
        let (behind, extension) = read::<X509Extension<'_>, _>(rest)?;
        rest = behind;
        match extension.oid.to_id_string().as_str() {
            NUMBER if number.is_some() => return Err(RevocationListError::Malformed),
            NUMBER => {
                let (_, octets) = element(extension.value, Tag::Integer)?;
                number = Some(ListNumber::from_der_content(octets)?);
            }
            DELTA_INDICATOR => return Err(RevocationListError::Delta),
            ISSUING_DISTRIBUTION_POINT => return Err(scope(extension.parsed_extension())),
            AUTHORITY_KEY_ID => {}
            unknown if extension.critical => {
                return Err(RevocationListError::UnknownCriticalExtension(unknown.to_owned()));
            }
            _ => {}
        }
    }
    Ok(number)
}

fn scope(point: &ParsedExtension<'_>) -> RevocationListError {
    match point {
        ParsedExtension::IssuingDistributionPoint(point) if point.indirect_crl => {
            RevocationListError::Indirect
        }
        _ => RevocationListError::Partial,
    }
}

/// What is behind the next element, and its content.
fn element(der: &[u8], expected: Tag) -> Result<(&[u8], &[u8]), RevocationListError> {
    let (rest, any) = Any::from_der(der).map_err(|_| RevocationListError::Malformed)?;
    (any.tag() == expected).then_some((rest, any.data)).ok_or(RevocationListError::Malformed)
}

fn read<'a, T: FromDer<'a, E>, E>(der: &'a [u8]) -> Result<(&'a [u8], T), RevocationListError> {
    T::from_der(der).map_err(|_| RevocationListError::Malformed)
}

/// The tag of the next element, where there is one.
fn tag(der: &[u8]) -> Option<Tag> {
    Any::from_der(der).ok().map(|(_, any)| any.tag())
}

/// What stands before the end of a text.
fn until<'a>(whole: &'a [u8], end: &[u8]) -> &'a [u8] {
    let length = whole.len().saturating_sub(end.len());
    whole.get(..length).unwrap_or_default()
}

const NUMBER: &str = "2.5.29.20";
const DELTA_INDICATOR: &str = "2.5.29.27";
const ISSUING_DISTRIBUTION_POINT: &str = "2.5.29.28";
/// A hint to the key: the signature tells.
const AUTHORITY_KEY_ID: &str = "2.5.29.35";
