//! What needs processes of its own: killed ones, forked ones, ones with little space.
#![cfg(unix)]

use super::testing::{Scratch, noise, read, spilled_files, until};
use super::{SpillDirectory, SpillError, pieces, sweep};
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A forked child that runs until it is done, killed or too late.
struct Child(libc::pid_t);

impl Child {
    /// Forks a child that does `work` and tells by its end whether it panicked.
    fn new(work: impl FnOnce()) -> Self {
        // SAFETY: the child calls our own code and the C library's allocator,
        // both made for this, and ends with `_exit` without coming back to the
        // test harness.
        match unsafe { libc::fork() } {
            -1 => panic!("{}", io::Error::last_os_error()),
            0 => {
                // SAFETY: no memory is touched; ends a child that hangs.
                unsafe { libc::alarm(60) };
                let fine = catch_unwind(AssertUnwindSafe(work)).is_ok();
                // SAFETY: ends the process at once.
                unsafe { libc::_exit(if fine { 0 } else { 1 }) }
            }
            child => Child(child),
        }
    }

    fn kill(&self) {
        // SAFETY: our own child, which was not waited for yet.
        assert_eq!(unsafe { libc::kill(self.0, libc::SIGKILL) }, 0);
    }

    /// Waits for its end: its exit code, or minus the signal that ended it.
    fn wait(self) -> i32 {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert_eq!(waited, self.0);
        if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            -libc::WTERMSIG(status)
        }
    }
}

/// Sleeps until killed.
fn sleep_for_ever() -> ! {
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn what_a_killed_process_leaves_is_swept_and_what_a_living_one_has_is_not() {
    let scratch = Scratch::new();
    let ready = scratch.path().join("ready");
    let child = Child::new(|| {
        let directory = scratch.spill();
        let file = directory.write(&[b"abc"]).unwrap();
        fs::write(&ready, directory.path().to_str().unwrap()).unwrap();
        assert!(read(&file).is_ok());
        sleep_for_ever();
    });
    until(|| fs::read(&ready).is_ok_and(|path| !path.is_empty()));
    let theirs = PathBuf::from(fs::read_to_string(&ready).unwrap());
    assert_eq!(sweep(scratch.path()), 0);
    let ours = scratch.spill();
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 2);

    child.kill();
    assert_eq!(child.wait(), -libc::SIGKILL);
    let another = scratch.spill(); // sweeps
    assert!(!theirs.exists());
    assert!(ours.path().exists() && another.path().exists());
}

/// Drops the child's copy of something that its parent has.
fn drop_copy<T>(value: &T) {
    // SAFETY: called in a child that never comes back to the owner of `value` and
    // ends with `_exit`: its copy of it is not dropped or used again.
    drop(unsafe { std::ptr::read(value) });
}

#[test]
fn a_forked_child_reads_but_neither_writes_nor_removes() {
    let scratch = Scratch::new();
    let directory = scratch.spill();
    let path = directory.path().to_owned();
    let file = directory.write(&[b"abc"]).unwrap();
    let child = Child::new(|| {
        assert_eq!(read(&file).unwrap(), [b"abc"]);
        let error = directory.write(&[b"def"]).unwrap_err();
        assert!(matches!(error, SpillError::Gone { .. }));
        assert!(error.to_string().contains("belongs to the parent process"));
        directory.remove();
        drop_copy(&file);
        drop_copy(&directory);
        // It is not swept either, and the child can have its own.
        let own = scratch.spill();
        assert!(path.exists());
        assert!(read(&own.write(&[b"ghi"]).unwrap()).is_ok());
        let own_path = own.path().to_owned();
        drop(own);
        assert!(!own_path.exists());
    });
    assert_eq!(child.wait(), 0);
    assert_eq!(read(&file).unwrap(), [b"abc"]);
    // The child has closed its descriptors, but not unlocked the lock.
    assert_eq!(sweep(scratch.path()), 0);
    assert!(directory.write(&[b"def"]).is_ok());
    assert_eq!((directory.files(), spilled_files(&directory).len()), (1, 1));
}

#[test]
fn a_child_is_told_that_its_parent_has_removed_a_result() {
    let scratch = Scratch::new();
    let directory = scratch.spill();
    let file = directory.write(&[b"abc"]).unwrap();
    let child = Child::new(|| {
        until(|| !directory.path().exists());
        let error = read(&file).unwrap_err();
        assert!(matches!(error, SpillError::Gone { .. }));
        assert!(error.to_string().contains("which has removed the result"));
    });
    directory.remove();
    assert_eq!(child.wait(), 0);
}

#[test]
fn a_fork_in_the_midst_of_writing_does_no_harm() {
    let scratch = Scratch::new();
    let directory = scratch.spill();
    let kept = directory.write(&[b"abc"]).unwrap();
    let bytes = noise(3 * pieces::PIECE);
    let done = AtomicBool::new(false);
    thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let file = directory.write(&[&bytes]).unwrap();
                    assert!(read(&file).unwrap() == [&bytes[..]]);
                }
            });
        }
        for _ in 0..20 {
            let child = Child::new(|| {
                assert_eq!((directory.files() > 0, directory.limit()), (true, None));
                assert_eq!(read(&kept).unwrap(), [b"abc"]);
                drop_copy(&kept);
                drop_copy(&directory);
            });
            assert_eq!(child.wait(), 0);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(directory.files(), 1);
}

#[test]
fn of_a_file_that_could_not_be_finished_nothing_is_left() {
    let scratch = Scratch::new();
    let child = Child::new(|| {
        let most = 2 * pieces::PIECE as u64 + 12_345;
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        // SAFETY: `limit` outlives the call; it and the signal are this child's.
        unsafe {
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        }
        let directory = scratch.spill();
        let bytes = noise(4 * pieces::PIECE);
        // The third piece is written in part only, and then no more.
        match directory.write(&[&bytes]).unwrap_err() {
            SpillError::Io { doing, source, .. } => {
                assert_eq!(doing, "writing");
                assert_eq!(source.raw_os_error(), Some(libc::EFBIG));
            }
            error => panic!("{error:?}"),
        }
        assert!(spilled_files(&directory).is_empty());
        assert_eq!((directory.files(), directory.on_disk()), (0, 0));
        assert_eq!(directory.written(), 0);
        assert!(directory.write(&[&bytes[..1000]]).is_ok());
    });
    assert_eq!(child.wait(), 0);
}

/// Makes a disk of 4 MiB over `path` that only this process sees; says whether it may.
#[cfg(target_os = "linux")]
fn mount_small_disk(path: &std::path::Path) -> bool {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let none = std::ptr::null();
    // SAFETY: all strings end with a zero and outlive the calls.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                none,
                c"/".as_ptr(),
                none,
                libc::MS_REC | libc::MS_PRIVATE,
                none.cast(),
            ) == 0
            && libc::mount(
                c"none".as_ptr(),
                path.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                c"size=4m".as_ptr().cast(),
            ) == 0
    }
}

/// Needs a superuser; passes without a look for others.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_and_space_comes_back() {
    let scratch = Scratch::new();
    let disk = scratch.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let child = Child::new(|| {
        if !mount_small_disk(&disk) {
            return;
        }
        let directory = SpillDirectory::create(&disk, None).unwrap();
        // Told before, told in the middle of a piece.
        for length in [5 * pieces::PIECE, pieces::PIECE - 100] {
            let bytes = noise(length);
            let mut files = Vec::new();
            let error = loop {
                match directory.write(&[&bytes]) {
                    Ok(file) => files.push(file),
                    Err(error) => break error,
                }
            };
            match &error {
                SpillError::Full { wanted, .. } => assert!(*wanted > length as u64),
                error => panic!("{error:?}"),
            }
            assert!(error.to_string().starts_with("no space left to spill "));
            assert_eq!(spilled_files(&directory).len(), files.len());
            assert_eq!(directory.files(), files.len());
            for file in &files {
                assert!(read(file).unwrap() == [&bytes[..]]);
            }
        }
        assert!(directory.write(&[&noise(3 * pieces::PIECE)]).is_ok());
    });
    assert_eq!(child.wait(), 0);
}

/// How fast it is beside the plain functions of the standard library:
///
/// ```text
/// cargo test --release --no-default-features --lib -- spill::tests::speed --ignored --nocapture
/// ```
#[test]
#[ignore = "a measurement"]
fn speed() {
    let megabytes = 64;
    let bytes = noise(megabytes << 20);
    let scratch = Scratch::new();
    let directory = scratch.spill();
    let plain = scratch.path().join("plain");
    let mut best = [0.0_f64; 4];
    for _ in 0..15 {
        let rates = &mut best.iter_mut();
        let mut note = |begin: Instant| {
            let rate = bytes.len() as f64 / begin.elapsed().as_secs_f64() / 1e9;
            let best = rates.next().unwrap();
            *best = best.max(rate);
        };
        let begin = Instant::now();
        let file = directory.write(&[&bytes]).unwrap();
        note(begin);
        let begin = Instant::now();
        let mut into = super::testing::places(bytes.len());
        file.read_into(&mut [&mut into]).unwrap();
        note(begin);
        drop((file, into));
        let begin = Instant::now();
        fs::write(&plain, &bytes).unwrap();
        note(begin);
        let begin = Instant::now();
        let read = fs::read(&plain).unwrap();
        note(begin);
        drop(read);
        fs::remove_file(&plain).unwrap();
    }
    for (what, rate) in ["write", "read", "fs::write", "fs::read"].iter().zip(best) {
        println!("{what:>10}: {rate:.2} GB/s");
    }
}
