//! Numbers of bytes, for people.

use std::fmt;

/// Shown with a decimal unit, as limits are given.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1000 {
            return write!(f, "{} B", self.0);
        }
        let mut amount = self.0 as f64 / 1000.0;
        let mut units = ["kB", "MB", "GB", "TB", "PB"].into_iter();
        let mut unit = units.next().unwrap_or_default();
        // What would be rounded to 1000.00 is one of the next unit.
        for next in units {
            if amount < 999.995 {
                break;
            }
            (amount, unit) = (amount / 1000.0, next);
        }
        write!(f, "{amount:.2} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_suits_them() {
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (999_999, "1.00 MB"),
            (64_000_000, "64.00 MB"),
            (3_500_000_000, "3.50 GB"),
            (2_000_000_000_000_000, "2.00 PB"),
        ] {
            assert_eq!(Size(bytes).to_string(), shown);
        }
    }
}
