//! What the tests of this module share.

use super::{SpillDirectory, SpillError, SpillFile, name, system};
use std::fs;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(unix)]
use std::time::{Duration, Instant};

/// A place for a test; removed in the end.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        let name = format!("mars-test-of-spill-{}", name::hex(name::random()));
        let path = std::env::temp_dir().join(name);
        system::make_directory(&path).unwrap();
        Scratch(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// A spill directory without a limit in it.
    pub(super) fn spill(&self) -> Arc<SpillDirectory> {
        SpillDirectory::create(&self.0, None).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Bytes without a pattern.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Memory to read into.
pub(super) fn places(length: usize) -> Vec<MaybeUninit<u8>> {
    let mut places = Vec::with_capacity(length);
    // SAFETY: there is room for so many, and they need no initialization.
    unsafe { places.set_len(length) };
    places
}

/// All parts of a file.
pub(super) fn read(file: &SpillFile) -> Result<Vec<Vec<u8>>, SpillError> {
    let mut parts: Vec<_> = file.lengths().iter().map(|&n| places(n)).collect();
    let mut into: Vec<_> = parts.iter_mut().map(|part| &mut part[..]).collect();
    file.read_into(&mut into)?;
    // SAFETY: initialized by `read_into`.
    let init = |byte: MaybeUninit<u8>| unsafe { byte.assume_init() };
    let init = |part: Vec<_>| part.into_iter().map(init).collect();
    Ok(parts.into_iter().map(init).collect())
}

/// The only spilled file in a directory.
pub(super) fn only_file(directory: &SpillDirectory) -> PathBuf {
    let files: Vec<_> = spilled_files(directory);
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// The spilled files in a directory.
pub(super) fn spilled_files(directory: &SpillDirectory) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.file_name().unwrap() != "lock")
        .collect()
}

/// Waits for something that another process does. For one, the children that other
/// tests fork have the locks of this one too until they end.
#[cfg(unix)]
pub(super) fn until(mut what: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !what() {
        assert!(begin.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(2));
    }
}
