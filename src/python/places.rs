//! A hash table from keys to places, told only their hashes.
//!
//! Open addressing with linear probing, at most half full, filled once and
//! never emptied. An entry fits into eight bytes with enough of the hash to
//! reject almost every other key, so that a look-up mostly reads one cache line.
//! With a million keys that is what counts: a table made for general use takes
//! about twice as long to fill.

const EMPTY: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    place: u32,
}

/// Places by hash.
pub(super) struct Places {
    entries: Vec<Entry>,
    len: usize,
}

/// Python's hashes of small integers are the integers: spread them, so that
/// neighbours do not form one long run of occupied entries.
fn spread(hash: u32) -> usize {
    (u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
}

impl Places {
    /// An empty table with room for `len` places.
    pub(super) fn with_capacity(len: usize) -> Self {
        let empty = Entry {
            hash: 0,
            place: EMPTY,
        };
        Places {
            entries: vec![empty; (2 * len.max(4)).next_power_of_two()],
            len: 0,
        }
    }

    /// Adds a place, whose key is equal to none that was added before.
    #[inline]
    pub(super) fn add(&mut self, hash: u32, place: u32) {
        if 2 * self.len >= self.entries.len() {
            self.grow();
        }
        self.len += 1;
        let mask = self.entries.len() - 1;
        let mut at = spread(hash) & mask;
        while self.entries[at].place != EMPTY {
            at = (at + 1) & mask;
        }
        self.entries[at] = Entry { hash, place };
    }

    /// The place with this hash that `is_it`, if any.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(usize) -> bool) -> Option<usize> {
        let mask = self.entries.len() - 1;
        let mut at = spread(hash) & mask;
        loop {
            let entry = self.entries[at];
            if entry.place == EMPTY {
                return None;
            }
            if entry.hash == hash && is_it(entry.place as usize) {
                return Some(entry.place as usize);
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let mut larger = Places::with_capacity(self.entries.len());
        for entry in &self.entries {
            if entry.place != EMPTY {
                larger.add(entry.hash, entry.place);
            }
        }
        *self = larger;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_also_beyond_the_first_capacity() {
        let mut places = Places::with_capacity(2);
        for place in 0..1_000 {
            places.add(place % 7, place); // many share a hash
        }
        for place in 0..1_000 {
            let found = places.find(place % 7, |p| p == place as usize);
            assert_eq!(found, Some(place as usize));
        }
        assert_eq!(places.find(3, |p| p == 4), None);
        assert_eq!(places.find(8, |_| true), None);
    }
}
