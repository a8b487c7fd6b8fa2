//! A naive reading of what is sealed into a ticket, and what a door must make of it.

use super::fleet::Fleet;

/// What a ticket says, in its parts.
pub struct Text<'a> {
    /// rustls' own.
    pub session: &'a [u8],
    /// Where the device's certificate is missing in it; 0 where it is not.
    pub gap: u16,
    /// What the session rests on.
    pub binding: &'a [u8],
    /// In seconds after the full handshake.
    pub issued: u32,
}

/// What a session rests on, as it is written.
pub struct Sealed {
    pub incarnation: [u8; 8],
    pub full_at: u64,
    pub device: Option<SealedDevice>,
}

pub struct SealedDevice {
    /// In which the device was recorded, and the word that its record had.
    pub record: (u64, u64),
    not_after: u64,
    /// The anchor is last.
    pub path: Vec<SealedCa>,
}

pub enum SealedCa {
    /// Of the certificate on the path, the serial number where it is another one than the record's.
    Registered {
        order: u64,
        word: u64,
        shown: Option<Vec<u8>>,
    },
    Unregistered {
        serial: Vec<u8>,
        subject: Vec<u8>,
        point: Vec<u8>,
        word: u64,
    },
}

impl<'a> Text<'a> {
    /// `None` where the octets are too few.
    pub fn find(plain: &'a [u8]) -> Option<Self> {
        let end = plain.len().checked_sub(8)?;
        let behind = &plain[end..];
        let start = end.checked_sub(value(&behind[6..]).try_into().unwrap())?;
        Some(Self {
            session: &plain[..start],
            gap: value(&behind[4..6]).try_into().unwrap(),
            binding: &plain[start..end],
            issued: value(&behind[..4]).try_into().unwrap(),
        })
    }

    /// The session with the certificate of whoever is on record. `None` where it has no place there.
    pub fn whole(&self, recorded: Option<&[u8]>) -> Option<Vec<u8>> {
        let gap = usize::from(self.gap);
        if gap == 0 {
            return Some(self.session.to_vec());
        }
        let recorded = recorded?;
        let fits = gap <= self.session.len();
        fits.then(|| [&self.session[..gap], recorded, &self.session[gap..]].concat())
    }

    /// What stands behind the session, in a ticket that is issued then.
    pub fn behind(&self, gap: usize, issued: u32) -> Vec<u8> {
        let (gap, length) =
            (u16::try_from(gap).unwrap(), u16::try_from(self.binding.len()).unwrap());
        let (gap, length) = (gap.to_be_bytes(), length.to_be_bytes());
        [self.binding, &issued.to_be_bytes(), &gap, &length].concat()
    }
}

impl Sealed {
    /// What a plain text says at its end.
    pub fn of(plain: &[u8]) -> Option<Self> {
        Self::read_whole(Text::find(plain)?.binding)
    }

    pub fn read_whole(mut binding: &[u8]) -> Option<Self> {
        let sealed = Self::read(&mut binding)?;
        binding.is_empty().then_some(sealed)
    }

    /// Of the registered CAs on the path, by the order of registration.
    pub fn words(&self) -> Vec<(u64, u64)> {
        let path = self.device.iter().flat_map(|device| &device.path);
        let registered = path.filter_map(|ca| match ca {
            SealedCa::Registered { order, word, .. } => Some((*order, *word)),
            SealedCa::Unregistered { .. } => None,
        });
        registered.collect()
    }

    fn read(rest: &mut &[u8]) -> Option<Self> {
        let count = match octet(rest)? {
            first @ 0x40..=0x49 => first - 0x40,
            _ => return None,
        };
        let incarnation = take(rest, 8)?.try_into().unwrap();
        let full_at = value(take(rest, 5)?);
        let device = if count == 0 { None } else { Some(SealedDevice::read(rest, count)?) };
        Some(Self { incarnation, full_at, device })
    }
}

impl SealedDevice {
    fn read(rest: &mut &[u8], count: u8) -> Option<Self> {
        let record = (number(rest)?, number(rest)?);
        let not_after = value(take(rest, 5)?);
        let mut path = vec![];
        for _ in 0..count {
            path.push(SealedCa::read(rest)?);
        }
        Some(Self { record, not_after, path })
    }
}

impl SealedCa {
    fn read(rest: &mut &[u8]) -> Option<Self> {
        match octet(rest)? {
            0 => Some(Self::Registered { order: number(rest)?, word: number(rest)?, shown: None }),
            kind @ 1..=65 => {
                let shown = Some(take(rest, usize::from(kind) - 1)?.to_vec());
                Some(Self::Registered { order: number(rest)?, word: number(rest)?, shown })
            }
            kind @ 66..=130 => {
                let serial = take(rest, usize::from(kind) - 66)?.to_vec();
                let (subject, point) = (long(rest)?, long(rest)?);
                Some(Self::Unregistered { serial, subject, point, word: number(rest)? })
            }
            131.. => None,
        }
    }

    /// It as it is written.
    pub fn write(&self) -> Vec<u8> {
        let short =
            |from: usize, part: &[u8]| [&[u8::try_from(from + part.len()).unwrap()], part].concat();
        let long = |part: &[u8]| [&u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
        match self {
            Self::Registered { order, word, shown } => {
                let shown = shown.as_ref().map_or(vec![0], |serial| short(1, serial));
                [shown, written(*order), written(*word)].concat()
            }
            Self::Unregistered { serial, subject, point, word } => {
                [short(66, serial), long(subject), long(point), written(*word)].concat()
            }
        }
    }
}

/// A number as it is written: without zeros at the front, behind its length.
pub fn written(number: u64) -> Vec<u8> {
    let octets: Vec<_> = number.to_be_bytes().into_iter().skip_while(|it| *it == 0).collect();
    [&[u8::try_from(octets.len()).unwrap()], &octets[..]].concat()
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    if rest.len() < count {
        return None;
    }
    let (taken, behind) = rest.split_at(count);
    *rest = behind;
    Some(taken)
}

fn octet(rest: &mut &[u8]) -> Option<u8> {
    Some(take(rest, 1)?[0])
}

fn value(octets: &[u8]) -> u64 {
    octets.iter().fold(0, |sum, octet| sum * 256 + u64::from(*octet))
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let length @ 0..=8 = octet(rest)? else { return None };
    match take(rest, length.into())? {
        [0, ..] => None,
        octets => Some(value(octets)),
    }
}

/// What stands behind its length in two octets.
fn long(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = value(take(rest, 2)?);
    take(rest, usize::try_from(length).unwrap()).map(<[u8]>::to_vec)
}

/// What a door holds a ticket against, as its own tickets tell it.
pub struct Facts {
    pub incarnation: [u8; 8],
    pub takes_anonymous: bool,
    active: Vec<Record>,
    devices: Vec<DeviceRecord>,
    /// The words of when CAs were last inactive, by their keys; 0 for a key that never was.
    lapses: Vec<(Vec<u8>, u64)>,
}

/// Of an active CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub serial: Vec<u8>,
    /// In which it was registered.
    pub order: u64,
    pub word: u64,
}

/// Of a device that is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DeviceRecord {
    certificate: Vec<u8>,
    /// The order and the word.
    record: (u64, u64),
}

impl Facts {
    /// Before there is a ticket.
    pub fn none(takes_anonymous: bool) -> Self {
        Self {
            incarnation: [0; 8],
            takes_anonymous,
            active: vec![],
            devices: vec![],
            lapses: vec![],
        }
    }

    /// Learns from a ticket that is good, of whoever showed this certificate.
    pub fn learn(&mut self, sealed: &Sealed, certificate: Option<&[u8]>, over: &[Vec<u8>]) {
        self.incarnation = sealed.incarnation;
        assert_eq!(sealed.device.is_some(), certificate.is_some());
        if let (Some(device), Some(certificate)) = (&sealed.device, certificate) {
            let (certificate, record) = (certificate.to_vec(), device.record);
            note(&mut self.devices, DeviceRecord { certificate, record });
        }
        let mut over = over.iter();
        for ca in sealed.device.iter().flat_map(|device| &device.path) {
            match ca {
                SealedCa::Registered { order, word, .. } => {
                    let serial = over.next().unwrap().clone();
                    note(&mut self.active, Record { serial, order: *order, word: *word });
                }
                SealedCa::Unregistered { point, word, .. } => {
                    note(&mut self.lapses, (point.clone(), *word));
                }
            }
        }
        assert_eq!(over.next(), None);
    }

    /// What is known of the active CA of this serial number.
    pub fn record(&self, serial: &[u8]) -> &Record {
        self.active.iter().find(|known| known.serial == serial).unwrap()
    }

    /// The serial number of the active CA that was registered in this order.
    pub fn serial(&self, order: u64) -> &[u8] {
        &self.active.iter().find(|known| known.order == order).unwrap().serial
    }

    /// The order and the word of the record of the device with this certificate.
    pub fn record_of(&self, certificate: &[u8]) -> (u64, u64) {
        self.devices.iter().find(|known| known.certificate == certificate).unwrap().record
    }

    /// The certificate of the device with this record.
    pub fn certificate(&self, record: (u64, u64)) -> Option<&[u8]> {
        self.devices.iter().find(|known| known.record == record).map(|known| &*known.certificate)
    }

    /// The word of when a CA with this key was last inactive.
    pub fn lapse(&self, point: &[u8]) -> u64 {
        self.lapses.iter().find(|(known, _)| known == point).map_or(0, |(_, word)| *word)
    }

    /// Whether a ticket that says this is to be opened.
    pub fn hold(&self, sealed: &Sealed, fleet: &Fleet, now: u64) -> bool {
        let a_day_ago = now - 24 * 60 * 60;
        self.incarnation == sealed.incarnation
            && (a_day_ago..=now).contains(&sealed.full_at)
            && sealed.device.as_ref().map_or(self.takes_anonymous, |device| {
                now <= device.not_after
                    && self.certificate(device.record).is_some()
                    && device.path.iter().all(|ca| self.hold_for(ca, fleet))
            })
    }

    fn hold_for(&self, ca: &SealedCa, fleet: &Fleet) -> bool {
        match ca {
            SealedCa::Registered { order, word, shown } => {
                let known = self.active.iter().find(|it| it.order == *order && it.word == *word);
                let is_another =
                    |known: &Record, it: &Vec<u8>| is_serial(it) && *it != known.serial;
                known.is_some_and(|known| shown.iter().all(|it| is_another(known, it)))
            }
            SealedCa::Unregistered { serial, subject, point, word } => {
                let is = |ca: &&super::fleet::Ca| ca.subject == *subject && ca.point() == point;
                let is_active = fleet.active().iter().any(is);
                let is_inactive = fleet.retired.point() == point;
                is_serial(serial) && !is_active && !is_inactive && *word == self.lapse(point)
            }
        }
    }
}

fn note<T: PartialEq>(known: &mut Vec<T>, fact: T) {
    if !known.contains(&fact) {
        known.push(fact);
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
