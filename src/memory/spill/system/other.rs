//! Systems that are not Unix: what the standard library has, and no more.
//!
//! Files are as private as the directory that they are made in. Locks are taken
//! for unsupported, so nothing is swept: what a killed process left stays until
//! somebody removes it.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::path::Path;
use std::slice;

/// Makes a directory.
pub(in super::super) fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

/// Makes a file. It must not exist.
pub(in super::super) fn make_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Opens a file for reading.
pub(in super::super) fn open_file(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// As [`open_file`].
pub(in super::super) fn open_lock(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// There is no lock here.
pub(in super::super) fn try_lock(_: &File) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nobody sweeps, so it has.
pub(in super::super) fn is_linked(_: &File) -> io::Result<bool> {
    Ok(true)
}

/// Nothing is known to be ours, so nothing is swept.
pub(in super::super) fn is_private(_: &Metadata) -> bool {
    false
}

/// Nobody asks.
pub(in super::super) fn host() -> OsString {
    OsString::new()
}

/// There is no such call.
pub(in super::super) fn preallocate(_: &File, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Closes a file.
pub(in super::super) fn close(file: File) -> io::Result<()> {
    drop(file);
    Ok(())
}

/// Reads until all `places` are full; they are initialized then.
pub(in super::super) fn fill(
    mut file: &File,
    places: &mut [&mut [MaybeUninit<u8>]],
) -> io::Result<()> {
    for place in places {
        place.fill(MaybeUninit::new(0));
        // SAFETY: every byte was initialized by the line above.
        let bytes = unsafe { slice::from_raw_parts_mut(place.as_mut_ptr().cast(), place.len()) };
        file.read_exact(bytes)?;
    }
    Ok(())
}
