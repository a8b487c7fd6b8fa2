//! A naive reading of what is sealed into a ticket, and what a door must make of it.

use super::fleet::Fleet;

/// What stands behind rustls' part of a ticket, as it is written there.
pub struct Sealed {
    pub incarnation: [u8; 16],
    full_at: u64,
    pub device: Option<SealedDevice>,
}

pub struct SealedDevice {
    pub leaf: [u8; 32],
    word: u64,
    not_after: u64,
    /// The anchor is last.
    pub path: Vec<SealedCa>,
}

pub enum SealedCa {
    Registered { shown: Vec<u8>, serial: Vec<u8>, word: u64 },
    Unregistered { serial: Vec<u8>, subject: Vec<u8>, point: Vec<u8>, word: u64 },
}

impl Sealed {
    /// Where it begins in a plain text, and what it says. `None` where the text does not end in one.
    pub fn find(plain: &[u8]) -> Option<(usize, Self)> {
        let end = plain.len().checked_sub(2)?;
        let length = usize::from(u16::from_be_bytes([plain[end], plain[end + 1]]));
        let start = end.checked_sub(length)?;
        let mut rest = &plain[start..end];
        let sealed = Self::read(&mut rest)?;
        rest.is_empty().then_some((start, sealed))
    }

    fn read(rest: &mut &[u8]) -> Option<Self> {
        let [1] = take(rest, 1)? else { return None };
        let incarnation = take(rest, 16)?.try_into().unwrap();
        let full_at = number(rest)?;
        let device = match take(rest, 1)? {
            [0] => None,
            [1] => Some(SealedDevice::read(rest)?),
            _ => return None,
        };
        Some(Self { incarnation, full_at, device })
    }
}

impl SealedDevice {
    fn read(rest: &mut &[u8]) -> Option<Self> {
        let leaf = take(rest, 32)?.try_into().unwrap();
        let (word, not_after) = (number(rest)?, number(rest)?);
        let count @ 1..=9 = take(rest, 1)?[0] else { return None };
        let mut path = vec![];
        for _ in 0..count {
            path.push(SealedCa::read(rest)?);
        }
        Some(Self { leaf, word, not_after, path })
    }
}

impl SealedCa {
    fn read(rest: &mut &[u8]) -> Option<Self> {
        let kind = take(rest, 1)?[0];
        let shown = sized(rest, 1)?;
        match kind {
            0 => {
                let (subject, point) = (sized(rest, 2)?, sized(rest, 2)?);
                Some(Self::Unregistered { serial: shown, subject, point, word: number(rest)? })
            }
            1 => Some(Self::Registered { serial: shown.clone(), shown, word: number(rest)? }),
            2 => {
                let serial = sized(rest, 1)?;
                let word = number(rest)?;
                (serial != shown).then_some(Self::Registered { shown, serial, word })
            }
            _ => None,
        }
    }

    /// It as it is written.
    pub fn write(&self) -> Vec<u8> {
        let short = |part: &[u8]| [&[u8::try_from(part.len()).unwrap()], part].concat();
        let long = |part: &[u8]| [&u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
        match self {
            Self::Unregistered { serial, subject, point, word } => {
                let word = word.to_be_bytes().to_vec();
                [vec![0], short(serial), long(subject), long(point), word].concat()
            }
            Self::Registered { shown, serial, word } if shown == serial => {
                [&[1], &short(serial)[..], &word.to_be_bytes()].concat()
            }
            Self::Registered { shown, serial, word } => {
                [&[2], &short(shown)[..], &short(serial), &word.to_be_bytes()].concat()
            }
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    if rest.len() < count {
        return None;
    }
    let (taken, behind) = rest.split_at(count);
    *rest = behind;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(take(rest, 8)?.try_into().unwrap()))
}

/// What stands behind its length in so many octets.
fn sized(rest: &mut &[u8], octets: usize) -> Option<Vec<u8>> {
    let length = take(rest, octets)?.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
    take(rest, length).map(<[u8]>::to_vec)
}

/// What a door holds a ticket against, as its own tickets tell it.
#[derive(Default)]
pub struct Facts {
    pub incarnation: [u8; 16],
    pub takes_anonymous: bool,
    /// Of the active CAs, by serial number.
    pub words: Vec<(Vec<u8>, u64)>,
}

impl Facts {
    /// Learns from a ticket that is good.
    pub fn learn(&mut self, sealed: &Sealed) {
        self.incarnation = sealed.incarnation;
        for ca in sealed.device.iter().flat_map(|device| &device.path) {
            if let SealedCa::Registered { serial, word, .. } = ca {
                self.words.push((serial.clone(), *word));
            }
        }
    }

    /// An active CA's serial number with its word.
    pub fn word(&self, serial: &[u8]) -> (Vec<u8>, u64) {
        self.words.iter().find(|(known, _)| known == serial).unwrap().clone()
    }

    /// Whether a ticket that says this is to be opened.
    pub fn hold(&self, sealed: &Sealed, fleet: &Fleet, now: u64) -> bool {
        let a_day_ago = now - 24 * 60 * 60;
        self.incarnation == sealed.incarnation
            && (a_day_ago..=now).contains(&sealed.full_at)
            && sealed.device.as_ref().map_or(self.takes_anonymous, |device| {
                device.word == 0
                    && now <= device.not_after
                    && device.path.iter().all(|ca| self.hold_for(ca, fleet))
            })
    }

    fn hold_for(&self, ca: &SealedCa, fleet: &Fleet) -> bool {
        match ca {
            SealedCa::Registered { shown, serial, word } => {
                self.words.iter().any(|(known, now)| known == serial && now == word)
                    && (shown == serial || is_serial(shown))
            }
            SealedCa::Unregistered { serial, subject, point, word } => {
                // Every registered CA was inactive once, and nobody can know the word of then.
                let was_inactive = fleet.active().iter().any(|ca| ca.point() == point);
                let never_was = !was_inactive && fleet.retired.point() != point;
                is_serial(serial) && never_was && !subject.is_empty() && *word == 0
            }
        }
    }
}

/// Without leading zeros, and of a length under which CAs can be registered.
fn is_serial(octets: &[u8]) -> bool {
    match octets {
        [] => true,
        [0, ..] => false,
        [first, ..] => octets.len() + usize::from(*first >= 0x80) <= 64,
    }
}
