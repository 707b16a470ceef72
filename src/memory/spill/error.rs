//! What can go wrong with a spilled result, in words.

use crate::memory::Size;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    #[test]
    #[cfg(unix)]
    fn a_full_disk_and_a_used_up_quota_are_told_from_other_errors() {
        let told = |code| {
            let source = io::Error::from_raw_os_error(code);
            SpillError::unwritten("/spill/x".into(), "writing", source, 3_000_000)
        };
        for code in [libc::ENOSPC, libc::EDQUOT] {
            let error = told(code);
            assert!(matches!(error, SpillError::Full { .. }), "{error:?}");
            assert!(error.to_string().contains("3.00 MB to /spill/x"), "{error}");
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
            limit: 10_000_000,
            on_disk: 9_000_000,
            wanted: 2_000_000,
        };
        assert_eq!(
            error.to_string(),
            "spilling 2.00 MB would exceed the limit of 10.00 MB on disk, \
             of which 9.00 MB are in use"
        );
    }
}
