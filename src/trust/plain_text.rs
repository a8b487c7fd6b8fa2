//! What is sealed in a ticket, put together and taken apart: rustls' part of it, and ours.

use std::num::NonZeroU16;

/// A ticket's plain text.
///
/// The device's certificate is taken out of rustls' part: the record that the binding names has it,
/// and without a record the ticket is of no use. The certificate would be most of the ticket, and go
/// over the wire with it each time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlainText<'a> {
    session: &'a [u8],
    /// Where the certificate was in rustls' part. `None` where all of it is there.
    gap: Option<NonZeroU16>,
    /// What the session rests on: the same in every ticket since the last full handshake.
    pub(super) binding: &'a [u8],
    /// How many seconds after that handshake the ticket was issued.
    pub(super) issued_after: u32,
}

impl<'a> PlainText<'a> {
    /// The plain text of a ticket for `session`, rustls' part, that is issued so many seconds after the
    /// full handshake. `certificate` is what the device's record holds, and `None` for a client without
    /// one. `None` where the binding is longer than any that was verified.
    pub(super) fn write(
        session: &[u8],
        certificate: Option<&[u8]>,
        issued_after: u32,
        binding: impl FnOnce(&mut Vec<u8>) -> Option<()>,
    ) -> Option<Vec<u8>> {
        let cut = certificate.and_then(|certificate| cut(session, certificate));
        let (before, gap, behind) = cut.unwrap_or((session, 0, &[]));
        let session_length = before.len() + behind.len();
        let mut octets = Vec::with_capacity(session_length + USUAL_LENGTH);
        octets.extend_from_slice(before);
        octets.extend_from_slice(behind);
        binding(&mut octets)?;
        let length = u16::try_from(octets.len().checked_sub(session_length)?).ok()?;
        octets.extend_from_slice(&issued_after.to_be_bytes());
        octets.extend_from_slice(&gap.to_be_bytes());
        octets.extend_from_slice(&length.to_be_bytes());
        Some(octets)
    }

    /// Takes a plain text apart, from its end. `None` where it is shorter than it says.
    pub(super) fn read(octets: &'a [u8]) -> Option<Self> {
        let (octets, length) = octets.split_last_chunk()?;
        let (octets, gap) = octets.split_last_chunk()?;
        let (octets, issued_after) = octets.split_last_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (session, binding) = octets.split_at_checked(octets.len().checked_sub(length)?)?;
        let gap = NonZeroU16::new(u16::from_be_bytes(*gap));
        Some(Self { session, gap, binding, issued_after: u32::from_be_bytes(*issued_after) })
    }

    /// rustls' part, with the certificate that the device's record holds. `None` where there is none, or
    /// no place for it.
    pub(super) fn session(&self, certificate: Option<&[u8]>) -> Option<Vec<u8>> {
        match self.gap {
            None => Some(self.session.to_vec()),
            Some(gap) => {
                let (before, behind) = self.session.split_at_checked(gap.get().into())?;
                Some([before, certificate?, behind].concat())
            }
        }
    }
}

/// What stands before a certificate, how long that is, and what stands behind. `None` where the session
/// does not hold it octet for octet, or at its front or at a place that two octets cannot say.
fn cut<'a>(session: &'a [u8], certificate: &[u8]) -> Option<(&'a [u8], u16, &'a [u8])> {
    let first = certificate.first()?;
    // The first octet alone tells almost all places apart, in less time.
    let is_it = |part: &[u8]| part.first() == Some(first) && part == certificate;
    let at = session.windows(certificate.len()).position(is_it).filter(|at| *at != 0)?;
    let (before, rest) = session.split_at_checked(at)?;
    Some((before, u16::try_from(at).ok()?, rest.get(certificate.len()..)?))
}

/// Of what stands behind rustls' part, with two registered CAs on the path, so that the usual one
/// grows nothing.
const USUAL_LENGTH: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn octets(longest: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..=longest)
    }

    fn written(session: &[u8], certificate: Option<&[u8]>, issued: u32, binding: &[u8]) -> Vec<u8> {
        let write = |octets: &mut Vec<u8>| {
            octets.extend_from_slice(binding);
            Some(())
        };
        PlainText::write(session, certificate, issued, write).unwrap()
    }

    proptest! {
        #[test]
        fn what_was_put_together_is_taken_apart(
            before in octets(4),
            certificate in octets(4),
            behind in octets(4),
            binding in octets(8),
            issued: u32,
        ) {
            let session = [&before[..], &certificate, &behind].concat();
            for certificate in [None, Some(&certificate[..])] {
                let plain = written(&session, certificate, issued, &binding);
                let read = PlainText::read(&plain).unwrap();
                prop_assert_eq!((read.binding, read.issued_after), (&binding[..], issued));
                prop_assert_eq!(read.session(certificate), Some(session.clone()));
            }
        }

        #[test]
        fn nothing_makes_it_panic(plain in octets(16), certificate in octets(4)) {
            if let Some(read) = PlainText::read(&plain) {
                let _session = (read.session(None), read.session(Some(&certificate)));
            }
        }
    }

    #[test]
    fn a_certificate_takes_no_room() {
        let session = b"before certificate behind";
        let plain = written(session, Some(b"certificate"), 7, b"binding");
        assert_eq!(plain, b"before  behindbinding\0\0\0\x07\0\x07\0\x07");
        let read = PlainText::read(&plain).unwrap();
        assert_eq!(read.session(Some(b"certificate")), Some(session.to_vec()));
        // The record's, whatever it is; and with none there is no session.
        assert_eq!(read.session(Some(b"?")), Some(b"before ? behind".to_vec()));
        assert_eq!(read.session(None), None);
    }

    #[test]
    fn what_stands_there_in_another_form_or_at_the_front_is_left_there() {
        for (session, certificate) in [
            (&b"before Certificate behind"[..], &b"certificate"[..]),
            (b"before certificat", b"certificate"),
            (b"certificate", b"certificate"),
            (b"session", b""),
            (b"", b""),
        ] {
            let plain = written(session, Some(certificate), 0, b"");
            assert_eq!(plain, [session, &[0; 8]].concat());
            let read = PlainText::read(&plain).unwrap();
            assert_eq!(read.session(None), Some(session.to_vec()));
        }
    }

    #[test]
    fn a_certificate_further_back_than_can_be_said_is_left_there() {
        for (at, length) in [(65_535, 65_535), (65_536, 65_537), (65_537, 65_538)] {
            let session = [&vec![b' '; at][..], b"!"].concat();
            let plain = written(&session, Some(b"!"), 0, b"");
            assert_eq!(plain.len(), length + 8);
            let read = PlainText::read(&plain).unwrap();
            assert_eq!(read.session(Some(b"!")), Some(session));
        }
    }

    #[test]
    fn what_is_cut_short_or_says_more_than_is_there_is_not_taken_apart() {
        let plain = written(b"", None, 1, b"binding");
        assert!(PlainText::read(&plain).is_some());
        assert_eq!(PlainText::read(&plain[1..]), None);
        for short in 0..8 {
            assert_eq!(PlainText::read(&vec![0; short]), None);
        }
        assert!(PlainText::read(&[0; 8]).is_some());
        let beyond = PlainText::read(b"session\0\0\0\0\0\x08\0\0").unwrap();
        assert_eq!(beyond.session(Some(b"certificate")), None);
        let at_the_end = PlainText::read(b"session\0\0\0\0\0\x07\0\0").unwrap();
        assert_eq!(at_the_end.session(Some(b"!")), Some(b"session!".to_vec()));
    }

    #[test]
    fn a_binding_that_is_too_long_or_cannot_be_written_is_not() {
        let long = |length| {
            move |octets: &mut Vec<u8>| {
                octets.resize(octets.len() + length, 0);
                Some(())
            }
        };
        assert!(PlainText::write(b"session", None, 0, long(65_535)).is_some());
        assert_eq!(PlainText::write(b"session", None, 0, long(65_536)), None);
        assert_eq!(PlainText::write(b"session", None, 0, |_| None), None);
    }
}
