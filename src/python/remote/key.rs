//! Keys of objects: 128 bits that no other object has.

use crate::fork;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The key of an object; 32 hexadecimal digits when shown.
#[derive(Clone, Copy)]
pub(super) struct Key(u128);

impl Key {
    /// A key that no other object has: random for the process and counted in it.
    pub(super) fn new() -> Self {
        static PROCESS: OnceLock<u64> = OnceLock::new();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let process = *PROCESS.get_or_init(|| {
            fork::count(); // counts forks from now on
            RandomState::new().build_hasher().finish()
        });
        let process = mixed(process.wrapping_add(u64::from(fork::generation())));
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let low = mixed(count ^ process);
        Key(u128::from(process ^ low.rotate_left(32)) << 64 | u128::from(low))
    }

    pub(super) fn hex(self) -> String {
        format!("{:032x}", self.0)
    }
}

/// A permutation of 64-bit numbers in which neighbours end up far apart.
fn mixed(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_are_32_digits_and_differ() {
        let keys: HashSet<_> = (0..10_000).map(|_| Key::new().hex()).collect();
        assert_eq!(keys.len(), 10_000);
        assert!(keys.iter().all(|key| key.len() == 32));
    }
}
