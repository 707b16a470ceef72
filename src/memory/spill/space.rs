//! How much is on disk, and how much may be.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The account of a directory.
///
/// The numbers stand for themselves and order nothing else, so relaxed operations do.
#[derive(Debug)]
pub(super) struct Space {
    limit: Option<u64>,
    on_disk: AtomicU64,
    files: AtomicUsize,
    written: AtomicU64,
    read: AtomicU64,
}

impl Space {
    /// An empty account. Without a limit anything fits.
    pub(super) fn new(limit: Option<u64>) -> Self {
        Space {
            limit,
            on_disk: AtomicU64::new(0),
            files: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
        }
    }

    /// Takes space for a file; if it does not fit, the limit and what is in use.
    pub(super) fn reserve(&self, wanted: u64) -> Result<(), (u64, u64)> {
        let limit = self.limit.unwrap_or(u64::MAX);
        let fits = |on_disk: u64| on_disk.checked_add(wanted).filter(|&sum| sum <= limit);
        (self.on_disk)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|on_disk| (limit, on_disk))?;
        self.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back what was reserved for a file.
    pub(super) fn give_back(&self, reserved: u64) {
        self.on_disk.fetch_sub(reserved, Ordering::Relaxed);
        self.files.fetch_sub(1, Ordering::Relaxed);
    }

    /// A file was written.
    pub(super) fn count_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A file was read.
    pub(super) fn count_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How much may be reserved.
    pub(super) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// How much is reserved.
    pub(super) fn on_disk(&self) -> u64 {
        self.on_disk.load(Ordering::Relaxed)
    }

    /// For how many files.
    pub(super) fn files(&self) -> usize {
        self.files.load(Ordering::Relaxed)
    }

    /// How much was written in all.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// How much was read in all.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn what_fits_exactly_fits_and_one_byte_more_does_not() {
        let space = Space::new(Some(10));
        space.reserve(4).unwrap();
        assert_eq!(space.reserve(7), Err((10, 4)));
        assert_eq!(space.reserve(u64::MAX), Err((10, 4)));
        space.reserve(6).unwrap();
        assert_eq!((space.on_disk(), space.files()), (10, 2));
        space.give_back(4);
        assert_eq!((space.on_disk(), space.files()), (6, 1));
    }

    #[test]
    fn many_threads_never_reserve_more_than_the_limit() {
        let space = Space::new(Some(100));
        thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for _ in 0..10_000 {
                        if space.reserve(30).is_ok() {
                            assert!(space.on_disk() <= 100);
                            space.give_back(30);
                        }
                    }
                });
            }
        });
        assert_eq!((space.on_disk(), space.files()), (0, 0));
    }
}
