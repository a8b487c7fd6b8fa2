//! Many serial numbers, to be asked whether one is among them.

use super::list_number::{MAX_OCTETS, right_aligned};
use super::serial::SerialNumber;

/// A set of serial numbers: 20 bytes for each, in one allocation, unless it is longer than RFC 5280
/// lets it be. Dropping it takes no time, however many there are: that may fall to a handshake.
pub(super) struct SerialSet {
    /// Sorted.
    ordinary: Box<[[u8; MAX_OCTETS]]>,
    /// Sorted.
    long: Box<[SerialNumber]>,
}

impl SerialSet {
    pub(super) fn len(&self) -> usize {
        self.ordinary.len() + self.long.len()
    }

    /// All of them, each once.
    pub(super) fn iter(&self) -> impl Iterator<Item = SerialNumber> {
        let ordinary = self.ordinary.iter().filter_map(|octets| {
            let zeros = octets.iter().take_while(|&&octet| octet == 0).count();
            SerialNumber::from_octets(octets.get(zeros..)?)
        });
        ordinary.chain(self.long.iter().cloned())
    }

    /// Whether it is among them, by one binary search.
    pub(super) fn contains(&self, serial: &SerialNumber) -> bool {
        match right_aligned(serial.octets()) {
            Some(ordinary) => self.ordinary.binary_search(&ordinary).is_ok(),
            None => self.long.binary_search(serial).is_ok(),
        }
    }
}

impl FromIterator<SerialNumber> for SerialSet {
    fn from_iter<I: IntoIterator<Item = SerialNumber>>(serials: I) -> Self {
        let (mut ordinary, mut long) = (Vec::new(), Vec::new());
        for serial in serials {
            match right_aligned(serial.octets()) {
                Some(serial) => ordinary.push(serial),
                None => long.push(serial),
            }
        }
        Self { ordinary: sorted(ordinary), long: sorted(long) }
    }
}

fn sorted<T: Ord>(mut serials: Vec<T>) -> Box<[T]> {
    serials.sort_unstable();
    serials.dedup();
    serials.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn serial() -> impl Strategy<Value = SerialNumber> {
        // Few values of each length, so that many are drawn twice.
        let octets = (0..=3_u8, prop_oneof![0..4_usize, 18..=23_usize, 64..=64_usize]);
        octets.prop_map(|(octet, length)| {
            SerialNumber::from_der_content(&[&[0], vec![octet; length].as_slice()].concat())
                .unwrap()
        })
    }

    proptest! {
        #[test]
        fn what_is_in_the_set_is_found_and_nothing_else(
            serials in prop::collection::vec(serial(), 0..30),
            asked in prop::collection::vec(serial(), 30),
        ) {
            let naive: BTreeSet<_> = serials.iter().cloned().collect();
            let set: SerialSet = serials.into_iter().collect();
            prop_assert_eq!(set.len(), naive.len());
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), naive.clone());
            for serial in naive.iter().chain(&asked) {
                prop_assert_eq!(set.contains(serial), naive.contains(serial), "{}", serial);
            }
        }
    }
}
