//! Names that nobody can guess.

use crate::fork;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// A number that nobody can guess and that no other call gives, here or in another process.
///
/// A hash of what tells this call from others, under a key that the standard
/// library takes from the system's source of randomness. A forked child has its
/// parent's key, but another process number.
pub(super) fn random() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one((
        COUNT.fetch_add(1, Ordering::Relaxed),
        std::process::id(),
        fork::generation(),
        SystemTime::now(),
    ))
}

/// How a number is written in the name of a file.
pub(super) fn hex(number: u64) -> String {
    format!("{number:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_sixteen_digits_and_differ() {
        let names: HashSet<_> = (0..10_000).map(|_| hex(random())).collect();
        assert_eq!(names.len(), 10_000);
        assert!(names.iter().all(|name| name.len() == 16));
    }

    #[test]
    fn neighbours_differ_in_half_of_their_bits() {
        let numbers: Vec<_> = (0..1000).map(|_| random()).collect();
        let differ: u32 = numbers.windows(2).map(|n| (n[0] ^ n[1]).count_ones()).sum();
        assert!((31_000..33_000).contains(&differ), "{differ}");
    }
}
