//! What a ticket says that a session rests on, in octets.

/// What the session in a ticket rests on, sealed with it, so that nobody but us can have written
/// it. Every ticket since the last full handshake says the same.
///
/// Borrowed from what is sealed, or from the octets in which it was found: neither way copies.
/// What is read is well formed, and no more: whether it still holds is for others to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding<'a> {
    pub(super) incarnation: Incarnation,
    /// When the last full handshake took place, in seconds since 1970.
    pub(super) full_at: u64,
    /// `None` for a client that showed no certificate.
    pub(super) device: Option<BoundDevice<'a>>,
}

/// Which life of which instance a ticket belongs to: random octets, drawn when the instance is
/// created.
///
/// Its id would not do. State words are unique in one process only: an instance of the same id that
/// was created again, or lives in a process with the same ticket keys, may have drawn the same ones
/// for other reasons. Nobody can choose them, so eight keep the instances of one set of keys apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incarnation(pub(super) [u8; 8]);

/// What the identity of a device rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BoundDevice<'a> {
    /// The record that was made of it in this order had this word, or was to have it.
    pub(super) order: u64,
    pub(super) word: u64,
    /// The last second in which every certificate on the path is valid, since 1970.
    pub(super) not_after: u64,
    /// From the device's issuer to the anchor, which is last. Never empty.
    pub(super) path: Vec<BoundCa<'a>>,
}

/// One CA on the path, with what was registered about it when the verifier looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BoundCa<'a> {
    /// The record that was registered in this order had this word. The octets of the serial number
    /// of the certificate on the path are those of a twin, where there are any.
    Registered { order: u64, word: u64, shown: Option<&'a [u8]> },
    /// Nothing about this subject and key. The word that was drawn when its key last was an inactive
    /// CA's; 0 where it was not of late.
    Unregistered { serial: &'a [u8], subject: &'a [u8], key: &'a [u8], word: u64 },
}

impl<'a> Binding<'a> {
    /// Writes it behind what is there. `None` where a part is longer than anything that was verified.
    pub(super) fn write(&self, octets: &mut Vec<u8>) -> Option<()> {
        let path = self.device.as_ref().map_or(0, |device| device.path.len());
        let length = u8::try_from(path).ok().filter(|length| *length <= MAX_PATH)?;
        octets.push(VERSION << 4 | length);
        octets.extend_from_slice(&self.incarnation.0);
        write_time(octets, self.full_at)?;
        match &self.device {
            Some(device) => device.write(octets),
            None => Some(()),
        }
    }

    /// What these octets say. `None` where they are not well formed.
    pub(super) fn read(octets: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(octets);
        let first = rest.octet()?;
        if first >> 4 != VERSION {
            return None;
        }
        let incarnation = Incarnation(*rest.array()?);
        let full_at = rest.time()?;
        let device = match first & 0x0f {
            0 => None,
            length @ 1..=MAX_PATH => Some(BoundDevice::read(&mut rest, length)?),
            _ => return None,
        };
        rest.0.is_empty().then_some(Self { incarnation, full_at, device })
    }
}

impl<'a> BoundDevice<'a> {
    fn write(&self, octets: &mut Vec<u8>) -> Option<()> {
        if self.path.is_empty() {
            // It would be read as nobody's.
            return None;
        }
        write_number(octets, self.order);
        write_number(octets, self.word);
        write_time(octets, self.not_after)?;
        self.path.iter().try_for_each(|ca| ca.write(octets))
    }

    fn read(rest: &mut Reader<'a>, length: u8) -> Option<Self> {
        let (order, word) = (rest.number()?, rest.number()?);
        let not_after = rest.time()?;
        let path = (0..length).map(|_| BoundCa::read(rest)).collect::<Option<_>>()?;
        Some(Self { order, word, not_after, path })
    }
}

impl<'a> BoundCa<'a> {
    fn write(&self, octets: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Registered { order, word, shown } => {
                match shown {
                    None => octets.push(REGISTERED),
                    Some(serial) => write_serial(octets, REGISTERED_ELSEWHERE, serial)?,
                }
                write_number(octets, *order);
                write_number(octets, *word);
            }
            Self::Unregistered { serial, subject, key, word } => {
                write_serial(octets, UNREGISTERED, serial)?;
                write_long(octets, subject)?;
                write_long(octets, key)?;
                write_number(octets, *word);
            }
        }
        Some(())
    }

    fn read(rest: &mut Reader<'a>) -> Option<Self> {
        let kind = rest.octet()?;
        let shown = match kind {
            REGISTERED => None,
            UNREGISTERED.. => {
                let serial = rest.serial(kind - UNREGISTERED)?;
                let (subject, key, word) = (rest.long()?, rest.long()?, rest.number()?);
                return Some(Self::Unregistered { serial, subject, key, word });
            }
            REGISTERED_ELSEWHERE.. => Some(rest.serial(kind - REGISTERED_ELSEWHERE)?),
        };
        Some(Self::Registered { order: rest.number()?, word: rest.number()?, shown })
    }
}

/// A second since 1970 in five octets, which last for 34,000 years.
fn write_time(octets: &mut Vec<u8>, seconds: u64) -> Option<()> {
    let [0, 0, 0, time @ ..] = seconds.to_be_bytes() else { return None };
    octets.extend_from_slice(&time);
    Some(())
}

/// Behind its length, from a number on that says what it is of.
fn write_serial(octets: &mut Vec<u8>, kind: u8, serial: &[u8]) -> Option<()> {
    let length = u8::try_from(serial.len()).ok().filter(|length| *length < SERIAL_LENGTHS)?;
    octets.push(kind + length);
    octets.extend_from_slice(serial);
    Some(())
}

/// Behind the number of its octets, without those that are zero at the front: most are small.
fn write_number(octets: &mut Vec<u8>, number: u64) {
    let zeros = number.leading_zeros() / 8;
    octets.push(8 - zeros.to_le_bytes()[0]);
    octets.extend(number.to_be_bytes().into_iter().skip(zeros as usize));
}

fn write_long(octets: &mut Vec<u8>, part: &[u8]) -> Option<()> {
    octets.extend_from_slice(&u16::try_from(part.len()).ok()?.to_be_bytes());
    octets.extend_from_slice(part);
    Some(())
}

/// What is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(array)
    }

    fn octet(&mut self) -> Option<u8> {
        self.array().map(|[octet]| *octet)
    }

    fn number(&mut self) -> Option<u64> {
        let length = self.octet().filter(|length| *length <= 8)?;
        let octets = self.part(length.into())?;
        let number = octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
        (octets.first() != Some(&0)).then_some(number)
    }

    fn time(&mut self) -> Option<u64> {
        let [a, b, c, d, e] = *self.array()?;
        Some(u64::from_be_bytes([0, 0, 0, a, b, c, d, e]))
    }

    fn serial(&mut self, length: u8) -> Option<&'a [u8]> {
        if length < SERIAL_LENGTHS { self.part(length.into()) } else { None }
    }

    fn length(&mut self) -> Option<usize> {
        self.array().map(|octets| u16::from_be_bytes(*octets).into())
    }

    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.part(length)
    }

    fn part(&mut self, length: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(part)
    }
}

/// Of the format. A ticket in another one is declined.
const VERSION: u8 = 4;

/// Under the serial number of the certificate on the path.
const REGISTERED: u8 = 0;
/// Under another one: its twin's. More by as many octets as the number has that is on the path.
const REGISTERED_ELSEWHERE: u8 = 1;
const UNREGISTERED: u8 = REGISTERED_ELSEWHERE + SERIAL_LENGTHS;

/// From none to the 64 that a text of [`SerialNumber::MAX_TEXT`] stands for.
///
/// [`SerialNumber::MAX_TEXT`]: crate::certificate::SerialNumber::MAX_TEXT
const SERIAL_LENGTHS: u8 = 65;
/// An anchor above the eight intermediates that are looked at.
const MAX_PATH: u8 = 9;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    type Ca = (Vec<u8>, bool, Vec<u8>, Vec<u8>, u64);

    fn bound((serial, registered, first, second, word): &Ca) -> BoundCa<'_> {
        match registered {
            true => {
                let shown = (!serial.is_empty()).then_some(&serial[..]);
                BoundCa::Registered { order: *word >> (second.len() % 64), word: *word, shown }
            }
            false => BoundCa::Unregistered { serial, subject: first, key: second, word: *word },
        }
    }

    fn part(longest: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..=longest)
    }

    fn cas() -> impl Strategy<Value = Vec<Ca>> {
        let ca = (part(64), any::<bool>(), part(1), part(300), any::<u64>());
        prop::collection::vec(ca, 0..=9)
    }

    fn time() -> impl Strategy<Value = u64> {
        0..1_u64 << 40
    }

    fn device(cas: &[Ca], (order, word): (u64, u64), not_after: u64) -> Option<BoundDevice<'_>> {
        let path: Vec<_> = cas.iter().map(bound).collect();
        (!path.is_empty()).then_some(BoundDevice { order, word, not_after, path })
    }

    fn binding(device: Option<BoundDevice<'_>>) -> Binding<'_> {
        Binding { incarnation: Incarnation([7; 8]), full_at: 1, device }
    }

    fn octets(binding: &Binding<'_>) -> Vec<u8> {
        let mut octets = vec![];
        binding.write(&mut octets).unwrap();
        octets
    }

    fn read(octets: &[u8]) -> Option<Binding<'_>> {
        Binding::read(octets)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            incarnation: [u8; 8],
            full_at in time(),
            cas in cas(),
            not_after in time(),
            record: (u64, u64),
        ) {
            let device = device(&cas, record, not_after);
            let binding = Binding { incarnation: Incarnation(incarnation), full_at, device };
            let octets = octets(&binding);
            prop_assert_eq!(read(&octets), Some(binding));
        }

        #[test]
        fn what_is_cut_short_or_goes_on_is_refused(
            cas in cas(),
            not_after in time(),
            behind: u8,
        ) {
            let whole = octets(&binding(device(&cas, (5, 10), not_after)));
            prop_assert!(read(&whole).is_some());
            for length in 0..whole.len() {
                prop_assert_eq!(read(&whole[..length]), None);
            }
            let longer = [&whole[..], &[behind]].concat();
            prop_assert_eq!(read(&longer), None);
        }

        #[test]
        fn what_is_read_has_no_other_form(
            cas in cas(),
            not_after in time(),
            (at, other) in any::<(Index, u8)>(),
        ) {
            let mut octets = octets(&binding(device(&cas, (5, 10), not_after)));
            let at = at.index(octets.len());
            octets[at] = other;
            if let Some(binding) = read(&octets) {
                prop_assert_eq!(self::octets(&binding), octets);
            }
        }

        #[test]
        fn nothing_makes_it_panic(octets in part(300)) {
            let _read = read(&octets);
        }
    }

    #[test]
    fn another_version_is_not_read() {
        let mut octets = octets(&binding(None));
        for version in 0..16 {
            octets[0] = version << 4;
            assert_eq!(read(&octets).is_some(), version == VERSION, "{version}");
        }
    }

    fn registered(shown: Option<&[u8]>) -> BoundCa<'_> {
        BoundCa::Registered { order: 1, word: 1, shown }
    }

    fn with(not_after: u64, path: Vec<BoundCa<'_>>) -> Option<Vec<u8>> {
        let mut octets = vec![];
        let device = BoundDevice { order: 1, word: 1, not_after, path };
        binding(Some(device)).write(&mut octets).map(|()| octets)
    }

    #[test]
    fn what_has_no_room_is_not_written() {
        let (short, long) = ([7; 65], vec![7; 65_536]);
        let good = registered(Some(&short[1..]));
        let with_path = |path| with(1, path);
        assert!(with_path(vec![good.clone(); 9]).is_some());
        assert_eq!(with_path(vec![good.clone(); 10]), None);
        assert_eq!(with_path(vec![]), None);
        assert_eq!(with_path(vec![registered(Some(&short))]), None);
        for (serial, subject, key) in
            [(&short[..], &[7][..], &[7][..]), (&[7], &long, &[7]), (&[7], &[7], &long)]
        {
            let ca = BoundCa::Unregistered { serial, subject, key, word: 1 };
            assert_eq!(with_path(vec![ca]), None);
        }
        let until = |not_after| with(not_after, vec![good.clone()]);
        assert!(until((1 << 40) - 1).is_some());
        assert_eq!(until(1 << 40), None);
    }

    #[test]
    fn a_usual_binding_is_short() {
        let path = vec![BoundCa::Registered { order: 10_000, word: 30_001, shown: None }];
        let device = BoundDevice { order: 1_000_000, word: 1_030_001, not_after: 1, path };
        assert_eq!(octets(&binding(Some(device))).len(), 34);
    }
}
