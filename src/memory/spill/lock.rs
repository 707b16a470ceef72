//! How a living process is told from a dead one.
//!
//! A directory has a file `lock` that its process keeps locked until it ends,
//! however it ends, and that tells the machine. A sweeper takes the same lock
//! before it removes anything. So a directory and its sweeper cannot both
//! believe that it is theirs: who comes second finds the file locked or, once
//! it has the lock, the file removed.

use super::system;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

const NAME: &str = "lock";

/// Keeps a directory from being swept.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    /// The directory itself. Locked too, it is left alone by systemd-tmpfiles,
    /// which otherwise removes what lies about in /tmp for days.
    _directory: Option<File>,
}

impl Lock {
    /// Locks a directory that has no lock: one that was just made, or one that is
    /// to be swept since nobody has ever finished making it. `None` if somebody
    /// else is about to sweep it or to use it.
    pub(super) fn new(directory: &Path) -> io::Result<Option<Lock>> {
        let mut file = match system::make_file(&directory.join(NAME)) {
            Ok(file) => file,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists => Ok(None),
                    _ => Err(error),
                };
            }
        };
        // A file system without locks is none where a sweeper could get one.
        if let Ok(false) = system::try_lock(&file) {
            return Ok(None);
        }
        if !system::is_linked(&file)? {
            return Ok(None);
        }
        file.write_all(system::host().as_encoded_bytes())?;
        let directory = system::open_file(directory).ok();
        Ok(Some(Lock {
            _directory: directory.filter(|d| matches!(system::try_lock(d), Ok(true))),
            _file: file,
        }))
    }
}

/// What the lock of somebody's directory tells.
#[derive(Debug)]
pub(super) enum Owner {
    /// Its process lives, or nothing can be said.
    Lives,
    /// No process has finished making it, or it is half removed. If there is a
    /// lock it is ours now.
    Nobody(Option<File>),
    /// Its process lived on this machine and is dead. The lock is ours now.
    Dead(#[allow(dead_code, reason = "held, not read")] File),
    /// Its process lived on another machine, and is dead if locks reach so far.
    Elsewhere(#[allow(dead_code, reason = "held, not read")] File),
}

impl Owner {
    /// Asks for the lock of a directory, and keeps it if it is free.
    pub(super) fn of(directory: &Path) -> Owner {
        let mut file = match system::open_lock(&directory.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Owner::Nobody(None),
            Err(_) => return Owner::Lives,
        };
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if !is_file || !matches!(system::try_lock(&file), Ok(true)) {
            return Owner::Lives;
        }
        if !matches!(system::is_linked(&file), Ok(true)) {
            return Owner::Lives; // another sweeper was here meanwhile
        }
        let mut host = Vec::new();
        if file.read_to_end(&mut host).is_err() {
            return Owner::Lives;
        }
        if host.is_empty() {
            Owner::Nobody(Some(file))
        } else if host == system::host().as_encoded_bytes() {
            Owner::Dead(file)
        } else {
            Owner::Elsewhere(file)
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::testing::{Scratch, until};
    use super::*;
    use std::fs;

    #[test]
    fn the_owner_of_a_locked_directory_lives() {
        let scratch = Scratch::new();
        let lock = Lock::new(scratch.path()).unwrap();
        assert!(lock.is_some());
        assert!(matches!(Owner::of(scratch.path()), Owner::Lives));
        drop(lock);
        until(|| matches!(Owner::of(scratch.path()), Owner::Dead(_)));
    }

    #[test]
    fn of_two_sweepers_one_gets_the_lock() {
        let scratch = Scratch::new();
        drop(Lock::new(scratch.path()).unwrap());
        let mut first = Owner::Lives;
        until(|| {
            first = Owner::of(scratch.path());
            matches!(first, Owner::Dead(_))
        });
        assert!(matches!(Owner::of(scratch.path()), Owner::Lives));
    }

    #[test]
    fn the_lock_of_another_machine_is_told_apart() {
        let scratch = Scratch::new();
        fs::write(scratch.path().join(NAME), "somewhere.else").unwrap();
        assert!(matches!(Owner::of(scratch.path()), Owner::Elsewhere(_)));
    }

    #[test]
    fn who_has_not_said_where_it_lives_is_nobody_yet() {
        let scratch = Scratch::new();
        assert!(matches!(Owner::of(scratch.path()), Owner::Nobody(None)));
        // Between the making of the file and its locking.
        fs::write(scratch.path().join(NAME), "").unwrap();
        let owner = Owner::of(scratch.path());
        assert!(matches!(owner, Owner::Nobody(Some(_))));
        assert!(matches!(Owner::of(scratch.path()), Owner::Lives));
    }

    #[test]
    fn something_else_than_a_file_is_no_lock() {
        let scratch = Scratch::new();
        std::os::unix::fs::symlink("/etc/hosts", scratch.path().join(NAME)).unwrap();
        assert!(matches!(Owner::of(scratch.path()), Owner::Lives));
        fs::remove_file(scratch.path().join(NAME)).unwrap();
        fs::create_dir(scratch.path().join(NAME)).unwrap();
        assert!(matches!(Owner::of(scratch.path()), Owner::Lives));
    }

    #[test]
    fn a_directory_that_was_swept_while_it_was_made_is_given_up() {
        let scratch = Scratch::new();
        let path = scratch.path().join("swept");
        assert!(Lock::new(&path).unwrap().is_none());
        // Or is being swept: the sweeper has made the lock first.
        system::make_directory(&path).unwrap();
        let sweeper = Lock::new(&path).unwrap();
        assert!(sweeper.is_some());
        assert!(Lock::new(&path).unwrap().is_none());
    }
}
