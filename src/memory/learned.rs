//! What outputs are expected to take, from what others like them have taken.

use std::collections::HashMap;

/// More prefixes than any program has.
const MOST: usize = 10_000;

/// Bytes per output, by the prefix of the key.
#[derive(Default)]
pub(super) struct Learned {
    by_prefix: HashMap<Box<str>, u64>,
}

impl Learned {
    pub(super) fn get(&self, prefix: &str) -> Option<u64> {
        self.by_prefix.get(prefix).copied()
    }

    pub(super) fn learn(&mut self, prefix: &str, bytes: u64) {
        if let Some(known) = self.by_prefix.get_mut(prefix) {
            *known = learned(Some(*known), bytes);
        } else if self.by_prefix.len() < MOST {
            self.by_prefix.insert(prefix.into(), bytes);
        }
    }
}

/// What to expect after having met `bytes`: the largest, forgotten little by little.
pub(super) fn learned(known: Option<u64>, bytes: u64) -> u64 {
    match known {
        Some(known) if known > bytes => known - (known - bytes) / 8,
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_output_is_expected_again_and_forgotten_slowly() {
        let mut outputs = Learned::default();
        assert_eq!(outputs.get("add"), None);
        for bytes in [800, 8000, 800] {
            outputs.learn("add", bytes);
        }
        assert_eq!(outputs.get("add"), Some(7100));
        for _ in 0..100 {
            outputs.learn("add", 800);
        }
        assert!(outputs.get("add").is_some_and(|bytes| bytes < 900));
        assert_eq!(outputs.get("sum"), None);
    }
}
