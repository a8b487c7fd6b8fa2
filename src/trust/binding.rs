//! What a ticket says beside rustls' own part, in octets.

use crate::certificate::Sha256;

/// What the session in a ticket rests on, sealed with it, so that nobody but us can have written
/// it.
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
/// for other reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incarnation(pub(super) [u8; 16]);

/// What the identity of a device rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BoundDevice<'a> {
    /// Of the device's certificate.
    pub(super) leaf: Sha256,
    /// Of the device's own record; 0 where it has none.
    pub(super) word: u64,
    /// The last second in which every certificate on the path is valid, since 1970.
    pub(super) not_after: u64,
    /// From the device's issuer to the anchor, which is last. Never empty.
    pub(super) path: Vec<BoundCa<'a>>,
}

/// One CA on the path, by the octets of its serial numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BoundCa<'a> {
    /// Of the certificate on the path, which need not be the registered one.
    pub(super) serial: &'a [u8],
    pub(super) record: BoundRecord<'a>,
}

/// What was registered about a CA when the verifier looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BoundRecord<'a> {
    /// The record under this serial number had this word.
    Registered { serial: &'a [u8], word: u64 },
    /// Nothing about this subject and key. The word that was drawn when its key last was an inactive
    /// CA's; 0 where it was not of late.
    Unregistered { subject: &'a [u8], key: &'a [u8], word: u64 },
}

impl<'a> Binding<'a> {
    /// A ticket's plain text with this binding behind it. At the end, so that whoever opens it cuts
    /// it off and copies nothing. `None` where a part is longer than anything that was verified.
    pub(super) fn append_to(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut octets = Vec::with_capacity(plain.len() + USUAL_LENGTH);
        octets.extend_from_slice(plain);
        self.write(&mut octets)?;
        let length = u16::try_from(octets.len().checked_sub(plain.len())?).ok()?;
        octets.extend_from_slice(&length.to_be_bytes());
        Some(octets)
    }

    /// How long the part before the binding is, and the binding. `None` where there is none that
    /// [`append_to`](Self::append_to) has written.
    pub(super) fn find(octets: &'a [u8]) -> Option<(usize, Self)> {
        let (before, length) = octets.split_last_chunk()?;
        let plain = before.len().checked_sub(usize::from(u16::from_be_bytes(*length)))?;
        let (_, binding) = before.split_at_checked(plain)?;
        Some((plain, Self::read(binding)?))
    }

    fn write(&self, octets: &mut Vec<u8>) -> Option<()> {
        octets.push(VERSION);
        octets.extend_from_slice(&self.incarnation.0);
        octets.extend_from_slice(&self.full_at.to_be_bytes());
        match &self.device {
            None => octets.push(ANONYMOUS),
            Some(device) => {
                octets.push(DEVICE);
                device.write(octets)?;
            }
        }
        Some(())
    }

    fn read(octets: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(octets);
        if rest.octet()? != VERSION {
            return None;
        }
        let incarnation = Incarnation(*rest.array()?);
        let full_at = rest.number()?;
        let device = match rest.octet()? {
            ANONYMOUS => None,
            DEVICE => Some(BoundDevice::read(&mut rest)?),
            _ => return None,
        };
        rest.0.is_empty().then_some(Self { incarnation, full_at, device })
    }
}

impl<'a> BoundDevice<'a> {
    fn write(&self, octets: &mut Vec<u8>) -> Option<()> {
        octets.extend_from_slice(self.leaf.as_ref());
        octets.extend_from_slice(&self.word.to_be_bytes());
        octets.extend_from_slice(&self.not_after.to_be_bytes());
        octets.push(u8::try_from(self.path.len()).ok().filter(is_count)?);
        self.path.iter().try_for_each(|ca| ca.write(octets))
    }

    fn read(rest: &mut Reader<'a>) -> Option<Self> {
        let leaf = Sha256::restored(*rest.array()?);
        let (word, not_after) = (rest.number()?, rest.number()?);
        let count = rest.octet().filter(is_count)?;
        let path = (0..count).map(|_| BoundCa::read(rest)).collect::<Option<_>>()?;
        Some(Self { leaf, word, not_after, path })
    }
}

impl<'a> BoundCa<'a> {
    fn write(&self, octets: &mut Vec<u8>) -> Option<()> {
        match &self.record {
            BoundRecord::Registered { serial, word } => {
                let same = *serial == self.serial;
                octets.push(if same { REGISTERED } else { REGISTERED_ELSEWHERE });
                write_short(octets, self.serial)?;
                if !same {
                    write_short(octets, serial)?;
                }
                octets.extend_from_slice(&word.to_be_bytes());
            }
            BoundRecord::Unregistered { subject, key, word } => {
                octets.push(UNREGISTERED);
                write_short(octets, self.serial)?;
                write_long(octets, subject)?;
                write_long(octets, key)?;
                octets.extend_from_slice(&word.to_be_bytes());
            }
        }
        Some(())
    }

    fn read(rest: &mut Reader<'a>) -> Option<Self> {
        let kind = rest.octet()?;
        let serial = rest.short()?;
        let record = match kind {
            REGISTERED => BoundRecord::Registered { serial, word: rest.number()? },
            REGISTERED_ELSEWHERE => {
                let elsewhere = rest.short().filter(|elsewhere| *elsewhere != serial)?;
                BoundRecord::Registered { serial: elsewhere, word: rest.number()? }
            }
            UNREGISTERED => BoundRecord::Unregistered {
                subject: rest.long()?,
                key: rest.long()?,
                word: rest.number()?,
            },
            _ => return None,
        };
        Some(Self { serial, record })
    }
}

fn is_count(count: &u8) -> bool {
    (1..=MAX_PATH).contains(count)
}

fn write_short(octets: &mut Vec<u8>, part: &[u8]) -> Option<()> {
    octets.push(u8::try_from(part.len()).ok()?);
    octets.extend_from_slice(part);
    Some(())
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
        self.array().map(|octets| u64::from_be_bytes(*octets))
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.octet()?;
        self.part(length.into())
    }

    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.array().map(|octets| u16::from_be_bytes(*octets))?;
        self.part(length.into())
    }

    fn part(&mut self, length: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(part)
    }
}

/// Of the format. A ticket in another one is declined.
const VERSION: u8 = 1;

const ANONYMOUS: u8 = 0;
const DEVICE: u8 = 1;

const UNREGISTERED: u8 = 0;
/// Under the serial number of the certificate on the path.
const REGISTERED: u8 = 1;
/// Under another one: its twin's.
const REGISTERED_ELSEWHERE: u8 = 2;

/// An anchor above the eight intermediates that are looked at.
const MAX_PATH: u8 = 9;
/// Of a binding with two or three registered CAs, so that the usual one grows nothing.
const USUAL_LENGTH: usize = 192;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    type Ca = (Vec<u8>, bool, Vec<u8>, Vec<u8>, u64);

    fn bound((serial, registered, first, second, word): &Ca) -> BoundCa<'_> {
        let record = match registered {
            true => BoundRecord::Registered { serial: first, word: *word },
            false => BoundRecord::Unregistered { subject: first, key: second, word: *word },
        };
        BoundCa { serial, record }
    }

    fn part(longest: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..=longest)
    }

    fn cas() -> impl Strategy<Value = Vec<Ca>> {
        // Short serial numbers, so that a record's is the path's now and then.
        let ca = (part(1), any::<bool>(), part(1), part(300), any::<u64>());
        prop::collection::vec(ca, 0..=9)
    }

    fn device(cas: &[Ca], leaf: [u8; 32], numbers: [u64; 2]) -> Option<BoundDevice<'_>> {
        let path: Vec<_> = cas.iter().map(bound).collect();
        let [word, not_after] = numbers;
        let leaf = Sha256::restored(leaf);
        (!path.is_empty()).then_some(BoundDevice { leaf, word, not_after, path })
    }

    fn octets(binding: &Binding<'_>) -> Vec<u8> {
        let mut octets = vec![];
        binding.write(&mut octets).unwrap();
        octets
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            incarnation: [u8; 16],
            full_at: u64,
            cas in cas(),
            leaf: [u8; 32],
            numbers: [u64; 2],
            plain in part(100),
        ) {
            let device = device(&cas, leaf, numbers);
            let binding = Binding { incarnation: Incarnation(incarnation), full_at, device };
            let sealed = binding.append_to(&plain).unwrap();
            prop_assert_eq!(&sealed[..plain.len()], &plain);
            prop_assert_eq!(Binding::find(&sealed), Some((plain.len(), binding)));
        }

        #[test]
        fn what_is_cut_short_or_goes_on_is_refused(
            cas in cas(),
            leaf: [u8; 32],
            numbers: [u64; 2],
            behind: u8,
        ) {
            let device = device(&cas, leaf, numbers);
            let whole = octets(&Binding { incarnation: Incarnation([7; 16]), full_at: 1, device });
            prop_assert!(Binding::read(&whole).is_some());
            for length in 0..whole.len() {
                prop_assert_eq!(Binding::read(&whole[..length]), None);
            }
            let longer = [&whole[..], &[behind]].concat();
            prop_assert_eq!(Binding::read(&longer), None);
        }

        #[test]
        fn what_is_read_has_no_other_form(
            cas in cas(),
            numbers: [u64; 2],
            (at, other) in any::<(Index, u8)>(),
        ) {
            let device = device(&cas, [7; 32], numbers);
            let mut octets = octets(&Binding { incarnation: Incarnation([7; 16]), full_at: 1, device });
            let at = at.index(octets.len());
            octets[at] = other;
            if let Some(binding) = Binding::read(&octets) {
                prop_assert_eq!(self::octets(&binding), octets);
            }
        }

        #[test]
        fn nothing_makes_it_panic(octets in part(300)) {
            let _read = Binding::find(&octets);
        }
    }

    #[test]
    fn a_length_beyond_what_there_is_finds_nothing() {
        let anonymous = Binding { incarnation: Incarnation([7; 16]), full_at: 1, device: None };
        let sealed = anonymous.append_to(b"plain").unwrap();
        assert_eq!(Binding::find(&sealed), Some((5, anonymous)));
        assert_eq!(Binding::find(&sealed[5..]).map(|(plain, _)| plain), Some(0));
        assert_eq!(Binding::find(&sealed[6..]), None);
        assert_eq!(Binding::find(&[0]), None);
        assert_eq!(Binding::find(&[]), None);
    }

    #[test]
    fn what_has_no_room_is_not_written() {
        let (short, long) = ([7; 256], vec![7; 65_536]);
        let registered = |serial| BoundRecord::Registered { serial, word: 1 };
        let good = BoundCa { serial: &[7], record: registered(&[7]) };
        let with = |path| {
            let leaf = Sha256::restored([7; 32]);
            let device = Some(BoundDevice { leaf, word: 0, not_after: 1, path });
            Binding { incarnation: Incarnation([7; 16]), full_at: 1, device }.append_to(b"plain")
        };
        assert!(with(vec![good.clone(); 9]).is_some());
        assert_eq!(with(vec![good; 10]), None);
        assert_eq!(with(vec![]), None);
        assert_eq!(with(vec![BoundCa { serial: &short, record: registered(&[7]) }]), None);
        assert_eq!(with(vec![BoundCa { serial: &[7], record: registered(&short) }]), None);
        for (subject, key) in [(&long[..], &[7][..]), (&[7], &long), (&long[1..], &long[1..])] {
            let record = BoundRecord::Unregistered { subject, key, word: 1 };
            assert_eq!(with(vec![BoundCa { serial: &[7], record }]), None);
        }
    }

    #[test]
    fn a_record_under_the_paths_own_serial_number_is_written_once() {
        let length = |serial| {
            let record = BoundRecord::Registered { serial, word: 1 };
            let path = vec![BoundCa { serial: &[7; 20], record }];
            let leaf = Sha256::restored([7; 32]);
            let device = Some(BoundDevice { leaf, word: 0, not_after: 1, path });
            octets(&Binding { incarnation: Incarnation([7; 16]), full_at: 1, device }).len()
        };
        assert_eq!(length(&[7; 20]) + 21, length(&[8; 20]));
    }
}
