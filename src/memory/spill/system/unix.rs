//! Unix.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Makes a directory that only this user can look into.
pub(in super::super) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Makes a file that only this user can read. It must not exist, not even as a link.
pub(in super::super) fn make_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Opens a file for reading; follows no link and waits for no pipe.
pub(in super::super) fn open_file(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// As [`open_file`], but so that it can be locked: network file systems want
/// files to be open for writing then.
pub(in super::super) fn open_lock(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    (OpenOptions::new().read(true).write(true))
        .custom_flags(flags)
        .open(path)
}

/// Locks a file until its last descriptor is closed, also in forked children.
/// `false` if it is locked already, be it by this process.
pub(in super::super) fn try_lock(file: &File) -> io::Result<bool> {
    loop {
        // SAFETY: the descriptor is open as long as `file` is borrowed.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock => return Ok(false),
            io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}

/// Whether an open file still has a name.
pub(in super::super) fn is_linked(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.nlink() > 0)
}

/// Whether something belongs to this user and to nobody else.
pub(in super::super) fn is_private(metadata: &Metadata) -> bool {
    // SAFETY: touches no memory and cannot fail.
    let user = unsafe { libc::geteuid() };
    // The bits above may be inherited from the directory that it is in.
    metadata.uid() == user && metadata.mode() & 0o777 == 0o700
}

/// The name of this machine.
pub(in super::super) fn host() -> OsString {
    let mut name = vec![0_u8; 256];
    // SAFETY: writes at most as many bytes as it is told there are.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) } != 0;
    // If the name is too long there may be no end.
    let end = name.iter().position(|&byte| byte == 0);
    name.truncate(if failed { 0 } else { end.unwrap_or(name.len()) });
    OsString::from_vec(name)
}

/// Takes the space that a file is going to need, where the file system can: a
/// full disk is told before anything is written.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(in super::super) fn preallocate(file: &File, length: u64) -> io::Result<()> {
    // Not posix_fallocate: where the file system cannot, that one writes zeros.
    let length = libc::off_t::try_from(length).map_err(io::Error::other)?;
    loop {
        // SAFETY: the descriptor is open as long as `file` is borrowed.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// There is no such call.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(in super::super) fn preallocate(_: &File, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Closes a file and says whether that went well: network file systems tell only
/// then that what was written did not arrive.
pub(in super::super) fn close(file: File) -> io::Result<()> {
    // SAFETY: the descriptor is ours alone and is not used again; it is closed
    // even if this fails.
    if unsafe { libc::close(file.into_raw_fd()) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        error => Err(error),
    }
}

/// Reads until all `places` are full; they are initialized then.
pub(in super::super) fn fill(file: &File, places: &mut [&mut [MaybeUninit<u8>]]) -> io::Result<()> {
    let vector = |place: &mut &mut [MaybeUninit<u8>]| libc::iovec {
        iov_base: place.as_mut_ptr().cast(),
        iov_len: place.len(),
    };
    let mut vectors: Vec<_> = places.iter_mut().map(vector).collect();
    let mut done = 0;
    loop {
        while vectors.get(done).is_some_and(|vector| vector.iov_len == 0) {
            done += 1;
        }
        let rest = &mut vectors[done..];
        if rest.is_empty() {
            return Ok(());
        }
        // SAFETY: each vector is the rest of one of `places`, which are borrowed
        // mutably; `read` takes fewer of them than the system's maximum.
        let read =
            unsafe { libc::readv(file.as_raw_fd(), rest.as_ptr(), rest.len() as libc::c_int) };
        let Ok(mut read) = usize::try_from(read) else {
            match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => continue,
                error => return Err(error),
            }
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for vector in rest {
            let here = read.min(vector.iov_len);
            // SAFETY: at most to the end of the place.
            vector.iov_base = unsafe { vector.iov_base.byte_add(here) };
            vector.iov_len -= here;
            read -= here;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Scratch, noise, places, until};
    use super::*;
    use std::io::Write;

    #[test]
    fn what_comes_in_bits_is_put_together() {
        // A pipe gives what there is: less than was asked for.
        let mut ends = [0; 2];
        // SAFETY: there is room for two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        let [reader, mut writer] = ends.map(|end| {
            // SAFETY: the descriptor is fresh and nobody else's.
            unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(end) }
        });
        let bytes = noise(1000);
        let mut got = [places(300), places(0), places(650), places(50)];
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for bits in bytes.chunks(7) {
                    writer.write_all(bits).unwrap();
                    std::thread::yield_now();
                }
            });
            let mut places = got.each_mut().map(|place| &mut place[..]);
            fill(&reader, &mut places).unwrap();
        });
        let got = got.concat();
        // SAFETY: filled above.
        let got = got.iter().map(|byte| unsafe { byte.assume_init() });
        assert!(got.eq(bytes));
    }

    #[test]
    fn a_lock_is_exclusive_within_a_process_and_goes_with_its_file() {
        let scratch = Scratch::new();
        let path = scratch.path().join("lock");
        let mine = make_file(&path).unwrap();
        assert!(try_lock(&mine).unwrap());
        let other = open_lock(&path).unwrap();
        assert!(!try_lock(&other).unwrap());
        drop(mine);
        until(|| try_lock(&other).unwrap());
        assert!(is_linked(&other).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!is_linked(&other).unwrap());
    }

    #[test]
    fn the_host_has_a_name_that_stays() {
        assert!(!host().is_empty());
        assert_eq!(host(), host());
    }
}
