//! What can go wrong with a spilled result, in words.

use std::path::PathBuf;
use std::{fmt, io};

/// Why a result could not be spilled or read back.
#[derive(Debug)]
pub enum SpillError {
    /// No space is left on the device, or the quota is used up.
    Full {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// How long the file would have been.
        wanted: u64,
    },
    /// The file would not have fitted under the directory's limit.
    OverLimit {
        /// How many bytes may be on disk.
        limit: u64,
        /// How many were.
        on_disk: u64,
        /// How many were to come.
        wanted: u64,
    },
    /// The file is not what was written.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is no directory for this any more, or not in this process.
    Gone {
        /// The directory.
        path: PathBuf,
        /// What became of it.
        why: &'static str,
    },
    /// Anything else that the system refused.
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done to it.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl SpillError {
    /// The error of a file of `wanted` bytes that could not be made.
    pub(super) fn unwritten(
        path: PathBuf,
        doing: &'static str,
        source: io::Error,
        wanted: u64,
    ) -> Self {
        if is_full(&source) {
            SpillError::Full {
                path,
                source,
                wanted,
            }
        } else {
            SpillError::Io {
                path,
                doing,
                source,
            }
        }
    }
}

/// Whether the device or the quota has no space left.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl fmt::Display for SpillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpillError::Full {
                path,
                source,
                wanted,
            } => write!(
                f,
                "no space left to spill {} to {}: {source}",
                Size(*wanted),
                path.display()
            ),
            SpillError::OverLimit {
                limit,
                on_disk,
                wanted,
            } => write!(
                f,
                "spilling {} would exceed the limit of {} on disk, of which {} are in use",
                Size(*wanted),
                Size(*limit),
                Size(*on_disk)
            ),
            SpillError::Damaged { path, why } => write!(
                f,
                "the spilled result {} is not what was written: {why}",
                path.display()
            ),
            SpillError::Gone { path, why } => {
                write!(f, "the spill directory {} {why}", path.display())
            }
            SpillError::Io {
                path,
                doing,
                source,
            } => write!(
                f,
                "{doing} the spilled result {} failed: {source}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for SpillError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SpillError::Full { source, .. } | SpillError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A number of bytes, for people.
pub(super) struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut amount = self.0 as f64 / 1024.0;
        let mut units = ["KiB", "MiB", "GiB", "TiB"].into_iter();
        let mut unit = units.next().unwrap_or_default();
        // What would be rounded to 1024.0 is one of the next unit.
        for next in units {
            if amount < 1023.95 {
                break;
            }
            (amount, unit) = (amount / 1024.0, next);
        }
        write!(f, "{amount:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        for (bytes, told) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (64 << 20, "64.0 MiB"),
            (3 << 30, "3.0 GiB"),
            (5 << 40, "5.0 TiB"),
            (2048 << 40, "2048.0 TiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), told);
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_full_disk_and_a_used_up_quota_are_told_from_other_errors() {
        let told = |code| {
            let source = io::Error::from_raw_os_error(code);
            SpillError::unwritten("/spill/x".into(), "writing", source, 3 << 20)
        };
        for code in [libc::ENOSPC, libc::EDQUOT] {
            let error = told(code);
            assert!(matches!(error, SpillError::Full { .. }), "{error:?}");
            assert!(error.to_string().contains("3.0 MiB to /spill/x"), "{error}");
            assert!(error.source().is_some());
        }
        for code in [libc::EIO, libc::EFBIG, libc::EACCES, libc::EMFILE] {
            let error = told(code);
            assert!(matches!(error, SpillError::Io { .. }), "{error:?}");
            assert!(error.to_string().starts_with("writing the spilled result"));
        }
    }

    #[test]
    fn the_limit_is_told_with_all_its_numbers() {
        let error = SpillError::OverLimit {
            limit: 10 << 20,
            on_disk: 9 << 20,
            wanted: 2 << 20,
        };
        assert_eq!(
            error.to_string(),
            "spilling 2.0 MiB would exceed the limit of 10.0 MiB on disk, \
             of which 9.0 MiB are in use"
        );
    }
}
