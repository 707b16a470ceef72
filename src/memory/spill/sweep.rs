//! Removes what dead processes have left.

use super::lock::{Lock, Owner};
use super::system;
use std::fs::{self, DirEntry};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How the names of all spill directories begin.
pub(super) const PREFIX: &str = "mars-spill-";

/// How long it can take at most to make a directory.
const MAKING: Duration = Duration::from_secs(60 * 60);

/// For how long nothing has happened in a directory of another machine when it is
/// taken for dead. Where the disk is shared but its locks are not, a free lock
/// says little.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Removes the spill directories in `base` that belong to processes that are
/// dead; says how many there were.
///
/// Only what this user has made and nobody else can write to is looked at. Links
/// are not followed. Several processes may sweep at a time.
pub fn sweep(base: &Path) -> usize {
    let Ok(entries) = fs::read_dir(base) else {
        return 0;
    };
    entries.flatten().filter(sweep_one).count()
}

/// Removes one directory if it is a dead one's; says whether it was.
fn sweep_one(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
        return false;
    }
    // Of the link, if it is one.
    let Ok(metadata) = entry.metadata() else {
        return false;
    };
    if !metadata.is_dir() || !system::is_private(&metadata) {
        return false;
    }
    let path = entry.path();
    let owner = Owner::of(&path);
    let patience = match owner {
        Owner::Lives => return false,
        Owner::Nobody(_) => MAKING,
        Owner::Elsewhere(_) => FORGOTTEN,
        Owner::Dead(_) => Duration::ZERO,
    };
    if age(&path) < patience {
        return false;
    }
    // The lock that was found or, if there was none, another one is held until
    // everything is removed.
    let made = matches!(owner, Owner::Nobody(None)).then(|| Lock::new(&path));
    matches!(made, None | Some(Ok(Some(_)))) && fs::remove_dir_all(&path).is_ok()
}

/// For how long nothing was made or removed in a directory. A time in the future
/// is no age: clocks differ.
fn age(path: &Path) -> Duration {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    let age = modified.map(|then| SystemTime::now().duration_since(then).unwrap_or_default());
    age.unwrap_or_default()
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::testing::Scratch;
    use super::*;
    use std::fs::{File, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::PathBuf;

    /// A spill directory with a result in it that its owner, who lived on `host`,
    /// has left `age` ago.
    fn left(scratch: &Scratch, name: &str, host: Option<&[u8]>, age: Duration) -> PathBuf {
        let path = scratch.path().join(name);
        system::make_directory(&path).unwrap();
        fs::write(path.join("0123"), "a result").unwrap();
        if let Some(host) = host {
            fs::write(path.join("lock"), host).unwrap();
        }
        let then = SystemTime::now() - age;
        File::open(&path).unwrap().set_modified(then).unwrap();
        path
    }

    #[test]
    fn what_a_dead_process_left_goes_at_once() {
        let scratch = Scratch::new();
        let host = system::host();
        let path = left(
            &scratch,
            "mars-spill-a",
            Some(host.as_encoded_bytes()),
            MAKING / 60,
        );
        assert_eq!(sweep(scratch.path()), 1);
        assert!(!path.exists());
        assert_eq!(sweep(scratch.path()), 0);
    }

    #[test]
    fn what_is_half_made_goes_after_an_hour() {
        for host in [None, Some(&b""[..])] {
            let scratch = Scratch::new();
            let fresh = left(&scratch, "mars-spill-a", host, MAKING / 2);
            let old = left(&scratch, "mars-spill-b", host, MAKING * 2);
            assert_eq!(sweep(scratch.path()), 1);
            assert!(fresh.exists());
            assert!(!old.exists());
        }
    }

    #[test]
    fn what_another_machine_has_left_goes_after_a_week() {
        let scratch = Scratch::new();
        let fresh = left(&scratch, "mars-spill-a", Some(b"else.where"), FORGOTTEN / 2);
        let old = left(&scratch, "mars-spill-b", Some(b"else.where"), FORGOTTEN * 2);
        assert_eq!(sweep(scratch.path()), 1);
        assert!(fresh.exists());
        assert!(!old.exists());
    }

    #[test]
    fn what_is_not_ours_stays() {
        let scratch = Scratch::new();
        let host = system::host();
        let host = Some(host.as_encoded_bytes());
        let name = left(&scratch, "other-spill-a", host, FORGOTTEN * 2);
        let mode = left(&scratch, "mars-spill-b", host, FORGOTTEN * 2);
        fs::set_permissions(&mode, Permissions::from_mode(0o755)).unwrap();
        let file = scratch.path().join("mars-spill-c");
        fs::write(&file, "a file").unwrap();
        let user = left(&scratch, "mars-spill-d", host, FORGOTTEN * 2);
        let mut stay = vec![name, mode, file];
        // Only the superuser can give something away.
        if chown(&user, Some(12345), None).is_ok() {
            stay.push(user);
        } else {
            fs::remove_dir_all(user).unwrap();
        }
        assert_eq!(sweep(scratch.path()), 0);
        assert!(stay.iter().all(|path| path.exists()));
    }

    #[test]
    fn bits_inherited_from_the_base_do_not_matter() {
        let scratch = Scratch::new();
        let host = system::host();
        let path = left(
            &scratch,
            "mars-spill-a",
            Some(host.as_encoded_bytes()),
            MAKING,
        );
        fs::set_permissions(&path, Permissions::from_mode(0o2700)).unwrap();
        assert_eq!(sweep(scratch.path()), 1);
    }

    #[test]
    fn links_are_not_followed() {
        let scratch = Scratch::new();
        let host = system::host();
        let host = Some(host.as_encoded_bytes());
        // One in the place of a directory, and one inside.
        let target = left(&scratch, "precious", host, FORGOTTEN * 2);
        let link = scratch.path().join("mars-spill-a");
        symlink(&target, &link).unwrap();
        let swept = left(&scratch, "mars-spill-b", host, FORGOTTEN * 2);
        symlink(&target, swept.join("inside")).unwrap();
        assert_eq!(sweep(scratch.path()), 1);
        assert!(!swept.exists());
        assert!(link.is_symlink());
        assert!(target.join("0123").exists());
    }

    #[test]
    fn sweepers_do_not_get_in_each_others_way() {
        let scratch = Scratch::new();
        let host = system::host();
        for n in 0..50 {
            let name = format!("mars-spill-{n}");
            left(&scratch, &name, Some(host.as_encoded_bytes()), MAKING);
        }
        let swept: usize = std::thread::scope(|threads| {
            let sweepers = [(); 4].map(|()| threads.spawn(|| sweep(scratch.path())));
            sweepers
                .map(|sweeper| sweeper.join().unwrap())
                .into_iter()
                .sum()
        });
        assert_eq!(swept, 50);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn where_there_is_nothing_nothing_is_swept() {
        assert_eq!(sweep(Path::new("/nowhere/at/all")), 0);
    }
}
