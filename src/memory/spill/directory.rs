//! The directory that the spilled results of a process are in.

use super::error::{SpillError, is_full};
use super::file::SpillFile;
use super::header::Header;
use super::lock::Lock;
use super::space::Space;
use super::sweep::{PREFIX, sweep};
use super::{name, pieces, system};
use crate::fork;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// How often another name is tried before it is given up.
const TRIES: usize = 16;

/// A private directory for spilled results; removed with the last reference.
///
/// It belongs to the process that made it. In a forked child it is only a name:
/// nothing is written there, and nothing removed.
#[derive(Debug)]
pub struct SpillDirectory {
    path: PathBuf,
    space: Space,
    /// Files are made while it is read and `false`, so that none is made after it
    /// has become `true`. Never locked in a forked child, which might find it
    /// locked for ever.
    removed: RwLock<bool>,
    /// The process that it belongs to: see [`fork::generation`].
    generation: u32,
    /// How many directories of dead processes went when it was made.
    swept: usize,
    _lock: Lock,
}

impl SpillDirectory {
    /// Makes a directory in `base` that only this user can look into, for at most
    /// `limit` bytes. First sweeps what dead processes have left in `base`.
    pub fn create(base: &Path, limit: Option<u64>) -> io::Result<Arc<SpillDirectory>> {
        fork::count(); // counts forks from now on
        // The process may go to another directory.
        let base = std::path::absolute(base)?;
        let swept = sweep(&base);
        for _ in 0..TRIES {
            let path = base.join(format!("{PREFIX}{}", name::hex(name::random())));
            match system::make_directory(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            match Lock::new(&path) {
                Ok(Some(lock)) => {
                    return Ok(Arc::new(SpillDirectory {
                        path,
                        space: Space::new(limit),
                        removed: RwLock::new(false),
                        generation: fork::generation(),
                        swept,
                        _lock: lock,
                    }));
                }
                Ok(None) => {}
                Err(error) => {
                    let _ = fs::remove_dir_all(&path);
                    return Err(error);
                }
            }
        }
        let message = "no spill directory could be made: others keep removing it";
        Err(io::Error::other(message))
    }

    /// Writes `parts` one after the other into a new file that only this user can
    /// read. If that fails nothing of it is left.
    ///
    /// The parts should not change meanwhile; if they do, reading fails later.
    pub fn write(self: &Arc<Self>, parts: &[&[u8]]) -> Result<SpillFile, SpillError> {
        if !self.is_ours() {
            return Err(self.gone("belongs to the parent process: a forked child cannot write"));
        }
        let header = Header::new(name::random(), parts);
        let (wanted, path) = (header.file_length(), self.path_of(&header));
        (self.space.reserve(wanted)).map_err(|(limit, on_disk)| SpillError::OverLimit {
            limit,
            on_disk,
            wanted,
        })?;
        let file = self.make_file(&path, wanted).inspect_err(|_| {
            self.space.give_back(wanted);
        })?;
        let before = header.bytes();
        // From here on its drop undoes everything.
        let mut spilled = SpillFile::new(self.clone(), header);
        let unwritten = |doing, source| SpillError::unwritten(path.clone(), doing, source, wanted);
        if wanted > pieces::PIECE as u64 {
            match system::preallocate(&file, wanted) {
                Err(error) if is_full(&error) => return Err(unwritten("writing", error)),
                _ => {} // A file system that cannot tell before tells when it is written to.
            }
        }
        let slices = std::iter::once(&before[..]).chain(parts.iter().copied());
        let checksum = pieces::write(&file, slices, || !self.is_removed())
            .map_err(|error| unwritten("writing", error))?;
        system::close(file).map_err(|error| unwritten("closing", error))?;
        spilled.expect(checksum.ok_or_else(|| self.gone_removed())?);
        self.space.count_written(wanted);
        Ok(spilled)
    }

    fn make_file(&self, path: &Path, wanted: u64) -> Result<File, SpillError> {
        let removed = self.removed.read().unwrap_or_else(PoisonError::into_inner);
        if *removed {
            return Err(self.gone_removed());
        }
        system::make_file(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => self.gone("was removed by somebody else"),
            _ => SpillError::unwritten(path.to_owned(), "making", source, wanted),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many directories that dead processes had left beside it were removed
    /// when it was made.
    pub fn swept(&self) -> usize {
        self.swept
    }

    /// How many bytes are on disk now, those included that are being written.
    pub fn on_disk(&self) -> u64 {
        if self.is_removed() {
            0
        } else {
            self.space.on_disk()
        }
    }

    /// How many bytes were written in all.
    pub fn written(&self) -> u64 {
        self.space.written()
    }

    /// How many bytes were read in all.
    pub fn read(&self) -> u64 {
        self.space.read()
    }

    /// How many files there are now, those included that are being written.
    pub fn files(&self) -> usize {
        if self.is_removed() {
            0
        } else {
            self.space.files()
        }
    }

    /// How many bytes may be on disk.
    pub fn limit(&self) -> Option<u64> {
        self.space.limit()
    }

    /// Removes everything now: for the end of the process or the session. Writing
    /// fails from now on, what is being written too, and what was written is gone.
    ///
    /// Does nothing in a forked child.
    pub fn remove(&self) {
        if self.is_ours() {
            *self.removed.write().unwrap_or_else(PoisonError::into_inner) = true;
            // What cannot be removed is for a sweeper to try.
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    /// Whether this is the process that made it.
    pub(super) fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    /// Whether it was removed, as far as this process knows.
    pub(super) fn is_removed(&self) -> bool {
        self.is_ours() && *self.removed.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path_of(&self, header: &Header) -> PathBuf {
        self.path.join(name::hex(header.id()))
    }

    pub(super) fn space(&self) -> &Space {
        &self.space
    }

    pub(super) fn gone_removed(&self) -> SpillError {
        self.gone("was removed: its session has been stopped")
    }

    pub(super) fn gone(&self, why: &'static str) -> SpillError {
        let path = self.path.clone();
        SpillError::Gone { path, why }
    }
}

impl Drop for SpillDirectory {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Scratch, noise, only_file, read, spilled_files};
    use super::*;
    use std::thread;

    #[test]
    #[cfg(unix)]
    fn nobody_else_can_look_into_directory_and_files() {
        use std::os::unix::fs::MetadataExt;
        let scratch = Scratch::new();
        let directory = scratch.spill();
        let _file = directory.write(&[b"secret"]).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(directory.path()), 0o700);
        assert_eq!(mode(&only_file(&directory)), 0o600);
        assert_eq!(mode(&directory.path().join("lock")), 0o600);
    }

    #[test]
    fn names_do_not_tell_other_names() {
        let scratch = Scratch::new();
        let directories: Vec<_> = (0..20).map(|_| scratch.spill()).collect();
        let files: Vec<_> = (0..20)
            .map(|_| directories[0].write(&[]).unwrap())
            .collect();
        let mut names = spilled_files(&directories[0]);
        names.extend(directories.iter().map(|d| d.path().to_owned()));
        let number = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            u64::from_str_radix(name.trim_start_matches(PREFIX), 16).unwrap()
        };
        let mut numbers: Vec<_> = names.iter().map(number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers.len(), directories.len() + files.len());
        // Neighbours would be near each other if they were counted or timed.
        assert!(numbers.windows(2).all(|n| n[1] - n[0] > 1 << 32));
    }

    #[test]
    fn the_last_reference_removes_the_directory() {
        let scratch = Scratch::new();
        let directory = scratch.spill();
        let path = directory.path().to_owned();
        assert!(path.is_absolute());
        let file = directory.write(&[b"abc"]).unwrap();
        drop(directory);
        assert_eq!(read(&file).unwrap(), [b"abc"]);
        drop(file);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn directories_of_a_living_process_are_not_swept() {
        let scratch = Scratch::new();
        let first = scratch.spill();
        let file = first.write(&[b"abc"]).unwrap();
        let second = scratch.spill();
        assert_eq!(sweep(scratch.path()), 0);
        assert!(first.path().exists() && second.path().exists());
        assert_eq!(read(&file).unwrap(), [b"abc"]);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error() {
        let scratch = Scratch::new();
        let missing = scratch.path().join("missing");
        let error = SpillDirectory::create(&missing, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_account_tells_what_is_there() {
        let scratch = Scratch::new();
        let directory = scratch.spill();
        assert_eq!(directory.limit(), None);
        let first = directory.write(&[&noise(1000)]).unwrap();
        let second = directory.write(&[&noise(2000), &[]]).unwrap();
        let on_disk = || {
            let files = spilled_files(&directory);
            let lengths = files.iter().map(|path| path.metadata().unwrap().len());
            (files.len(), lengths.sum::<u64>())
        };
        let both = first.len_on_disk() + second.len_on_disk();
        assert_eq!((directory.files(), directory.on_disk()), (2, both));
        assert_eq!(on_disk(), (2, both));
        assert_eq!((directory.written(), directory.read()), (both, 0));
        read(&first).unwrap();
        assert_eq!(directory.read(), first.len_on_disk());
        drop(first);
        assert_eq!((directory.files(), directory.on_disk()), on_disk());
        assert_eq!(directory.on_disk(), second.len_on_disk());
        drop(second);
        assert_eq!((directory.files(), directory.on_disk()), (0, 0));
        assert_eq!(on_disk(), (0, 0));
        assert_eq!(directory.written(), both);
    }

    #[test]
    fn the_limit_is_kept_and_space_comes_back() {
        let scratch = Scratch::new();
        let directory = SpillDirectory::create(scratch.path(), Some(10_000)).unwrap();
        assert_eq!(directory.limit(), Some(10_000));
        let bytes = noise(9000);
        let file = directory.write(&[&bytes]).unwrap();
        match directory.write(&[&bytes]) {
            Err(SpillError::OverLimit {
                limit,
                on_disk,
                wanted,
            }) => {
                assert_eq!((limit, on_disk), (10_000, file.len_on_disk()));
                assert_eq!(wanted, file.len_on_disk());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((directory.files(), spilled_files(&directory).len()), (1, 1));
        drop(file);
        let file = directory.write(&[&bytes]).unwrap();
        assert_eq!(read(&file).unwrap(), [bytes]);
    }

    #[test]
    fn a_removed_directory_takes_nothing_and_gives_nothing() {
        let scratch = Scratch::new();
        let directory = scratch.spill();
        let file = directory.write(&[b"abc"]).unwrap();
        directory.remove();
        assert!(!directory.path().exists());
        assert_eq!((directory.files(), directory.on_disk()), (0, 0));
        for error in [
            directory.write(&[b"abc"]).unwrap_err(),
            read(&file).unwrap_err(),
        ] {
            assert!(matches!(error, SpillError::Gone { .. }), "{error:?}");
            assert!(
                error
                    .to_string()
                    .ends_with("was removed: its session has been stopped")
            );
        }
        directory.remove();
        drop(file);
        assert_eq!((directory.files(), directory.on_disk()), (0, 0));
    }

    #[test]
    fn a_directory_that_somebody_else_removed_is_told() {
        let scratch = Scratch::new();
        let directory = scratch.spill();
        let file = directory.write(&[b"abc"]).unwrap();
        fs::remove_dir_all(directory.path()).unwrap();
        for error in [
            directory.write(&[b"abc"]).unwrap_err(),
            read(&file).unwrap_err(),
        ] {
            assert!(matches!(error, SpillError::Gone { .. }), "{error:?}");
            assert!(error.to_string().ends_with("was removed by somebody else"));
        }
        assert_eq!(directory.files(), 1);
    }

    #[test]
    fn many_threads_write_and_read_side_by_side() {
        let scratch = Scratch::new();
        let directory = scratch.spill();
        let bytes = noise(1 << 20);
        thread::scope(|threads| {
            for thread in 1..=4 {
                let (directory, bytes) = (&directory, &bytes);
                threads.spawn(move || {
                    for turn in 0..50 {
                        let parts = [&bytes[turn..turn * thread * 100], &bytes[thread..]];
                        let parts = if turn == 0 { [&[][..]; 2] } else { parts };
                        let file = directory.write(&parts).unwrap();
                        assert!(read(&file).unwrap() == parts);
                    }
                });
            }
        });
        assert_eq!((directory.files(), directory.on_disk()), (0, 0));
        assert_eq!(directory.read(), directory.written());
        assert!(spilled_files(&directory).is_empty());
    }

    #[test]
    fn a_removal_stops_those_who_write() {
        let bytes = noise(8 * pieces::PIECE);
        for _ in 0..20 {
            let scratch = Scratch::new();
            let directory = scratch.spill();
            let ends: Vec<_> = thread::scope(|threads| {
                let write = || {
                    loop {
                        if let Err(error) = directory.write(&[&bytes]) {
                            return error;
                        }
                    }
                };
                let writers = [(); 3].map(|()| threads.spawn(write));
                while directory.written() == 0 {
                    thread::yield_now();
                }
                directory.remove();
                assert!(!directory.path().exists());
                writers.map(|writer| writer.join().unwrap()).into()
            });
            assert!(
                ends.iter().all(|e| matches!(e, SpillError::Gone { .. })),
                "{ends:?}"
            );
            assert_eq!((directory.files(), directory.on_disk()), (0, 0));
            assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
        }
    }
}
