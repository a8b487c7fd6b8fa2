//! The plain text of a ticket, and edits of it.

use super::reading::Text;

/// The plain text of a ticket in its parts.
pub struct Draft {
    /// What rustls gave.
    session: Vec<u8>,
    /// Where the certificate is missing in it; 0 where it is not.
    gap: u16,
    /// What is sealed with it.
    sealed: Vec<u8>,
    issued: u32,
    /// What the session's owner shows.
    certificate: Option<Vec<u8>>,
    /// Added to its true length where that is written.
    off_by: u16,
    behind: Vec<u8>,
    cut: u16,
}

impl Draft {
    /// With the certificate where it is missing in a ticket that is genuine.
    pub fn of(plain: &Text<'_>, sealed: &[u8], certificate: Option<&[u8]>) -> Self {
        let session = plain.whole(certificate).unwrap();
        let (sealed, issued) = (sealed.to_vec(), plain.issued);
        let certificate = certificate.map(<[u8]>::to_vec);
        Self { session, gap: 0, sealed, issued, certificate, off_by: 0, behind: vec![], cut: 0 }
    }

    /// Takes edits one after the other, each an octet that says which one and what it needs: a
    /// place, in two octets from the start of a part; octets, behind their number in one; one of the
    /// `pieces`, by its number in one; what to add to two octets, in two. The length of what is
    /// sealed is adjusted by itself, and so is that of the session's certificate where a piece is
    /// put in its place. The last three take the certificate out, as it is in what is genuine; say where it
    /// is missing, in two octets; and say when the ticket was issued, in four.
    pub fn edit(&mut self, mut edits: &[u8], pieces: &[Vec<u8>]) {
        let rest = &mut edits;
        while let Some(edit) = octet(rest) {
            match edit % 18 {
                0 => overwrite(&mut self.sealed, number(rest), octets(rest)),
                1 => insert(&mut self.sealed, number(rest), octets(rest)),
                2 => delete(&mut self.sealed, number(rest), octet(rest)),
                3 => overwrite(&mut self.sealed, number(rest), piece(rest, pieces)),
                4 => insert(&mut self.sealed, number(rest), piece(rest, pieces)),
                5 => self.sealed.extend(piece(rest, pieces)),
                6 => self.off_by = number(rest),
                7 => self.behind.extend(octets(rest)),
                8 => self.cut = number(rest),
                9 => overwrite(&mut self.session, number(rest), octets(rest)),
                10 => insert(&mut self.session, number(rest), octets(rest)),
                11 => delete(&mut self.session, number(rest), octet(rest)),
                12 => add(&mut self.sealed, number(rest), number(rest)),
                13 => add(&mut self.session, number(rest), number(rest)),
                14 => self.show(piece(rest, pieces)),
                15 => self.take_out(),
                16 => self.gap = number(rest),
                17.. => self.issued = u32::from(number(rest)) << 16 | u32::from(number(rest)),
            }
        }
    }

    fn take_out(&mut self) {
        let Some(own) = self.certificate.as_ref().filter(|own| !own.is_empty()) else { return };
        let Some(start) = self.session.windows(own.len()).position(|it| it == own) else { return };
        self.session.drain(start..start + own.len());
        self.gap = u16::try_from(start).unwrap_or(0);
    }

    /// Puts another certificate in the place of the session's own.
    fn show(&mut self, other: &[u8]) {
        let Some(own) = self.certificate.as_ref().filter(|own| !own.is_empty()) else { return };
        let Some(start) = self.session.windows(own.len()).position(|it| it == own) else { return };
        let end = start + own.len();
        // Before it stand the octets of the whole chain, and its own, in three each.
        let Some(lengths) = start.checked_sub(6) else { return };
        let more = other.len().wrapping_sub(own.len());
        for at in [lengths, start - 3] {
            let length = &mut self.session[at..at + 3];
            let octets = length.iter().fold(0, |sum: usize, octet| sum * 256 + usize::from(*octet));
            length.copy_from_slice(&octets.wrapping_add(more).to_be_bytes()[5..]);
        }
        self.session.splice(start..end, other.iter().copied());
        self.certificate = Some(other.to_vec());
    }

    pub fn plain(&self) -> Vec<u8> {
        let length = u16::try_from(self.sealed.len()).unwrap_or(u16::MAX).wrapping_add(self.off_by);
        let (issued, gap, length) =
            (self.issued.to_be_bytes(), self.gap.to_be_bytes(), length.to_be_bytes());
        let Self { session, sealed, behind, .. } = self;
        let mut plain = [session, sealed, &issued[..], &gap, &length, behind].concat();
        plain.truncate(plain.len().saturating_sub(self.cut.into()));
        plain
    }
}

fn octet(rest: &mut &[u8]) -> Option<u8> {
    let (octet, behind) = rest.split_first()?;
    *rest = behind;
    Some(*octet)
}

fn number(rest: &mut &[u8]) -> u16 {
    u16::from_be_bytes([octet(rest).unwrap_or(0), octet(rest).unwrap_or(0)])
}

fn octets<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::from(octet(rest).unwrap_or(0)).min(rest.len());
    let (octets, behind) = rest.split_at(length);
    *rest = behind;
    octets
}

fn piece<'a>(rest: &mut &[u8], pieces: &'a [Vec<u8>]) -> &'a [u8] {
    &pieces[usize::from(octet(rest).unwrap_or(0)) % pieces.len()]
}

fn overwrite(part: &mut [u8], at: u16, octets: &[u8]) {
    let at = usize::from(at).min(part.len());
    part[at..].iter_mut().zip(octets).for_each(|(old, new)| *old = *new);
}

fn add(part: &mut [u8], at: u16, more: u16) {
    if let Some([high, low, ..]) = part.get_mut(usize::from(at)..) {
        [*high, *low] = u16::from_be_bytes([*high, *low]).wrapping_add(more).to_be_bytes();
    }
}

fn insert(part: &mut Vec<u8>, at: u16, octets: &[u8]) {
    let at = usize::from(at).min(part.len());
    part.splice(at..at, octets.iter().copied());
}

fn delete(part: &mut Vec<u8>, at: u16, count: Option<u8>) {
    let from = usize::from(at).min(part.len());
    let to = (from + usize::from(count.unwrap_or(0))).min(part.len());
    part.drain(from..to);
}
