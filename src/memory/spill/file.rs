//! One spilled result.

use super::directory::SpillDirectory;
use super::error::SpillError;
use super::header::Header;
use super::{pieces, system};
use crate::memory::Size;
use std::fs::{self, File};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One spilled result; its file goes with it.
#[derive(Debug)]
pub struct SpillFile {
    directory: Arc<SpillDirectory>,
    header: Header,
    /// Of the whole file.
    checksum: u32,
}

impl SpillFile {
    /// A file that was made and is still to be written, for which space is reserved.
    pub(super) fn new(directory: Arc<SpillDirectory>, header: Header) -> Self {
        SpillFile {
            directory,
            header,
            checksum: 0,
        }
    }

    /// What was written has this checksum.
    pub(super) fn expect(&mut self, checksum: u32) {
        self.checksum = checksum;
    }

    /// How long the parts are.
    pub fn lengths(&self) -> &[usize] {
        self.header.lengths()
    }

    /// How many bytes it takes on disk.
    pub fn len_on_disk(&self) -> u64 {
        self.header.file_length()
    }

    /// Reads all parts into `into`: as many, and as long, as [`lengths`](Self::lengths) says.
    ///
    /// All of it is initialized if this succeeds, and is what was written. If it
    /// fails, for example since the file was changed, nothing in there is to be used.
    pub fn read_into(&self, into: &mut [&mut [MaybeUninit<u8>]]) -> Result<(), SpillError> {
        let path = self.directory.path_of(&self.header);
        let io = |doing, source| SpillError::Io {
            path: path.clone(),
            doing,
            source,
        };
        let lengths = into.iter().map(|place| place.len());
        if !lengths.eq(self.lengths().iter().copied()) {
            let message = "the places to read into are not as long as the parts";
            let source = io::Error::new(io::ErrorKind::InvalidInput, message);
            return Err(io("reading", source));
        }
        if self.directory.is_removed() {
            return Err(self.directory.gone_removed());
        }
        let file = system::open_file(&path).map_err(|source| self.unopened(&path, source))?;
        let metadata = file.metadata().map_err(|error| io("opening", error))?;
        if !metadata.is_file() {
            return Err(damaged(path, "something else is in its place"));
        }
        let (length, expected) = (metadata.len(), self.len_on_disk());
        if length != expected {
            let (now, before) = (Size(length), Size(expected));
            let why = format!(
                "it is {length} bytes long ({now}), but {expected} were written ({before})"
            );
            return Err(damaged(path, why));
        }
        let before = self.header.bytes();
        let checksum = read_header(&file, before.len()).and_then(|found| {
            let fits = found == before;
            let places = into.iter_mut().map(|place| &mut **place);
            // What is another file's need not be read.
            fits.then(|| pieces::read(&file, &before, places))
                .transpose()
        });
        match checksum {
            Ok(Some(checksum)) if checksum == self.checksum => {}
            Ok(Some(_)) => return Err(damaged(path, "its contents do not fit their checksum")),
            Ok(None) => return Err(damaged(path, "it begins as no file or another one does")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged(path, "it became shorter while it was read"));
            }
            Err(error) => return Err(io("reading", error)),
        }
        self.directory.space().count_read(expected);
        Ok(())
    }

    /// Why the file cannot be opened.
    fn unopened(&self, path: &Path, source: io::Error) -> SpillError {
        if self.directory.is_removed() {
            return self.directory.gone_removed();
        }
        let found = fs::symlink_metadata(path);
        let is_missing = |found: &io::Error| found.kind() == io::ErrorKind::NotFound;
        match found {
            Err(found) if is_missing(&found) && !self.directory.is_ours() => {
                (self.directory).gone("belongs to the parent process, which has removed the result")
            }
            Err(found) if is_missing(&found) && !self.directory.path().exists() => {
                self.directory.gone("was removed by somebody else")
            }
            Err(found) if is_missing(&found) => damaged(path.to_owned(), "it is not there"),
            Ok(found) if !found.is_file() => {
                damaged(path.to_owned(), "something else is in its place")
            }
            _ => SpillError::Io {
                path: path.to_owned(),
                doing: "opening",
                source,
            },
        }
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        // In a forked child it is the parent's, which may still need it.
        if self.directory.is_ours() {
            if !self.directory.is_removed() {
                let _ = fs::remove_file(self.directory.path_of(&self.header));
            }
            self.directory.space().give_back(self.len_on_disk());
        }
    }
}

fn read_header(mut file: &File, length: usize) -> io::Result<Vec<u8>> {
    let mut header = vec![0; length];
    file.read_exact(&mut header)?;
    Ok(header)
}

fn damaged(path: PathBuf, why: impl Into<String>) -> SpillError {
    let why = why.into();
    SpillError::Damaged { path, why }
}

#[cfg(test)]
mod tests {
    use super::super::pieces::PIECE;
    use super::super::testing::{Scratch, noise, only_file, places, read, spilled_files};
    use super::*;

    #[test]
    fn it_can_go_from_thread_to_thread() {
        fn check<T: Send + Sync>() {}
        check::<SpillFile>();
        check::<SpillDirectory>();
    }

    #[test]
    fn what_was_written_comes_back() {
        let bytes = noise(3 * PIECE + 100);
        let small: Vec<_> = bytes[..50_000].chunks(7).collect();
        let cases: [&[&[u8]]; 8] = [
            &[],
            &[&[]],
            &[&[], &[], &[]],
            &[b"x"],
            &[&bytes],
            &[&bytes[3..], &bytes[1..4], &[], &bytes[PIECE - 1..]],
            &small,
            &[&bytes[..PIECE - 40], &bytes[..40], &bytes[..PIECE]],
        ];
        let scratch = Scratch::new();
        let directory = scratch.spill();
        for parts in cases {
            let file = directory.write(parts).unwrap();
            let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
            assert_eq!(file.lengths(), lengths);
            assert_eq!(
                file.len_on_disk(),
                only_file(&directory).metadata().unwrap().len()
            );
            // More than once, if wanted.
            assert!(read(&file).unwrap() == parts);
            assert!(read(&file).unwrap() == parts);
        }
    }

    #[test]
    fn its_file_goes_with_it() {
        let scratch = Scratch::new();
        let directory = scratch.spill();
        let file = directory.write(&[b"abc"]).unwrap();
        let other = directory.write(&[b"def"]).unwrap();
        drop(file);
        assert_eq!(spilled_files(&directory).len(), 1);
        assert_eq!(read(&other).unwrap(), [b"def"]);
    }

    #[test]
    fn places_that_do_not_fit_are_refused() {
        let scratch = Scratch::new();
        let file = scratch.spill().write(&[b"abc", b"de"]).unwrap();
        for lengths in [&[][..], &[3], &[3, 3], &[2, 3], &[3, 2, 0]] {
            let mut into: Vec<_> = lengths.iter().map(|&n| places(n)).collect();
            let mut into: Vec<_> = into.iter_mut().map(|place| &mut place[..]).collect();
            let error = file.read_into(&mut into).unwrap_err();
            assert!(matches!(error, SpillError::Io { .. }), "{error:?}");
        }
        assert!(read(&file).is_ok());
    }

    /// Spills two parts that take more than a piece, does `harm` to the file and
    /// says what is told about it.
    #[track_caller]
    fn told_about(harm: impl FnOnce(&Path)) -> String {
        let scratch = Scratch::new();
        let directory = scratch.spill();
        let bytes = noise(PIECE + 1000);
        let file = directory.write(&[&bytes[..500], &bytes]).unwrap();
        harm(&only_file(&directory));
        match read(&file).unwrap_err() {
            SpillError::Damaged { path, why } => {
                assert!(path.starts_with(directory.path()));
                why
            }
            error => panic!("{error:?}"),
        }
    }

    #[test]
    fn any_changed_bit_is_found() {
        let header = 8 * 5;
        let last = header + 500 + PIECE + 999;
        let places = [0, 7, 8, 15, 16, 24, 39, 40, 41, 300, 539, 540];
        for at in places.into_iter().chain([PIECE - 1, PIECE, last - 1, last]) {
            for bit in [0, 7] {
                let why = told_about(|path| {
                    let mut bytes = fs::read(path).unwrap();
                    assert_eq!(bytes.len(), last + 1);
                    bytes[at] ^= 1 << bit;
                    fs::write(path, bytes).unwrap();
                });
                let expected = if at < header { "begins as" } else { "checksum" };
                assert!(why.contains(expected), "{at}: {why}");
            }
        }
    }

    #[test]
    fn a_file_of_another_length_is_found() {
        for change in [-2_000_000, -1000, -1, 1, 1000] {
            let why = told_about(|path| {
                let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                let length = file.metadata().unwrap().len();
                file.set_len(length.saturating_add_signed(change)).unwrap();
            });
            assert!(why.contains("bytes long"), "{why}");
        }
    }

    #[test]
    fn a_file_whose_end_is_lost_is_found() {
        // As after a crash of the system: the length is right, the blocks are not.
        let why = told_about(|path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len(length / 2).unwrap();
            file.set_len(length).unwrap();
        });
        assert!(why.contains("checksum"), "{why}");
    }

    #[test]
    fn a_deleted_file_is_found() {
        let why = told_about(|path| fs::remove_file(path).unwrap());
        assert_eq!(why, "it is not there");
    }

    #[test]
    #[cfg(unix)]
    fn something_that_is_no_file_is_found() {
        use std::os::unix::fs::symlink;
        let harms: [fn(&Path); 3] = [
            |path| fs::create_dir(path).unwrap(),
            |path| symlink("/etc/hosts", path).unwrap(),
            |path| {
                let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
                // SAFETY: the path is a string that ends with a zero.
                assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
            },
        ];
        for harm in harms {
            let why = told_about(|path| {
                fs::remove_file(path).unwrap();
                harm(path);
            });
            assert_eq!(why, "something else is in its place");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_link_to_the_same_contents_is_not_followed() {
        let why = told_about(|path| {
            let moved = path.with_file_name("moved");
            fs::rename(path, &moved).unwrap();
            std::os::unix::fs::symlink(&moved, path).unwrap();
        });
        assert_eq!(why, "something else is in its place");
    }

    #[test]
    fn the_file_of_another_result_is_found() {
        // Of the same shape and even with the same contents.
        for other in [b"abc", b"def"] {
            let scratch = Scratch::new();
            let directory = scratch.spill();
            let file = directory.write(&[b"abc"]).unwrap();
            let mine = only_file(&directory);
            let other = directory.write(&[other]).unwrap();
            let theirs = spilled_files(&directory).into_iter().find(|p| *p != mine);
            fs::copy(theirs.unwrap(), &mine).unwrap();
            let error = read(&file).unwrap_err();
            assert!(matches!(error, SpillError::Damaged { .. }), "{error:?}");
            assert!(
                error
                    .to_string()
                    .contains("begins as no file or another one")
            );
            assert!(read(&other).is_ok());
        }
    }
}
