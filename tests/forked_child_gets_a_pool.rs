//! A forked child has none of its parent's threads: its first run makes a
//! pool, and the parent's goes on. Alone in its process, for it forks.

mod common;

use common::case::Case;
use common::{Door, LONG, within};
use mars::executor::{Caller, pool};
use mars::testing::graphs::{diamonds, flat};
use mars::testing::thread_number;
use std::panic::catch_unwind;
use std::thread;

const WORKERS: usize = 2;

#[test]
fn while_the_parents_workers_are_busy() {
    within(LONG, || {
        compute();
        let (begun, go_on) = (Door::default(), Door::default());
        let holder = thread::spawn({
            let (begun, go_on) = (begun.clone(), go_on.clone());
            move || {
                let case = Case::new(flat(4), &[], WORKERS, Caller::Waits);
                let outcome = case.run(move |_| {
                    begun.open();
                    go_on.wait();
                    Ok(())
                });
                assert!(outcome.result.is_ok());
            }
        });
        begun.wait();
        assert_eq!(in_child(), 0, "the child's exit code");
        assert_eq!(in_child(), 0, "a second child's");
        go_on.open();
        holder.join().unwrap();
        compute();
    });
}

/// Computes in a forked child; its exit code, or minus the signal that ended it.
fn in_child() -> i32 {
    // SAFETY: the child calls our own code and glibc's allocator, both made
    // for this, and ends with `_exit` without coming back to the test harness.
    match unsafe { libc::fork() } {
        -1 => panic!("{}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: no memory is touched; ends a child that hangs.
            unsafe { libc::alarm(LONG.as_secs() as u32 / 2) };
            let fine = catch_unwind(|| {
                assert_eq!(pool::size(), 0);
                compute();
                assert_eq!(pool::size(), WORKERS);
                compute();
            });
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(fine.is_err())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(waited, child);
            if libc::WIFEXITED(status) {
                libc::WEXITSTATUS(status)
            } else {
                -libc::WTERMSIG(status)
            }
        }
    }
}

/// Runs that need the workers, from callers that wait and that help.
fn compute() {
    for caller in [Caller::Waits, Caller::Helps] {
        let meeting = std::sync::Barrier::new(WORKERS);
        let case = Case::new(flat(WORKERS), &[], WORKERS, caller);
        let outcome = case.run(move |_| {
            meeting.wait();
            Ok(())
        });
        assert!(outcome.result.is_ok());
        let threads = outcome.record.events();
        assert!(threads.iter().any(|e| e.thread != thread_number()));
        assert!(
            Case::new(diamonds(), &[], WORKERS, caller)
                .run(|_| Ok(()))
                .result
                .is_ok()
        );
    }
}
