//! What the tests of the core share.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod case;
pub mod limited;
pub mod model;
pub mod observer;
pub mod programs;

use mars::executor::{Caller, Options};
use mars::graph::TaskId;
use proptest::test_runner::Config;
use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What no test comes near unless it hangs, on however busy a machine.
pub const LONG: Duration = Duration::from_secs(30);

/// Runs `test` on a thread of its own, and panics if it does not come to an
/// end: what hangs is left behind, and the test fails rather than the suite.
pub fn within<T: Send + 'static>(limit: Duration, test: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = channel();
    let thread = thread::spawn(move || {
        let value = test();
        let _ = done.send(());
        value
    });
    match ended.recv_timeout(limit) {
        Err(RecvTimeoutError::Timeout) => panic!("still not done after {limit:?}"),
        // Without a word the thread has panicked: its panic is the test's.
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        }
    }
}

/// Repeats `attempt` until it says something. A caller that should wait helps
/// when no worker comes in time, as happens on a busy machine; a test about
/// its waiting then has to try again.
pub fn when_a_worker_comes<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(value) = attempt() {
            return value;
        }
    }
}

/// Closed at first; whoever waits at it goes on once it was opened.
#[derive(Clone, Default)]
pub struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    pub fn wait(&self) {
        let mut open = self.0.0.lock().unwrap();
        while !*open {
            open = self.0.1.wait(open).unwrap();
        }
    }
}

/// As many cases as keep the suite short; a failing one is printed, not stored.
pub fn cases(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        max_shrink_time: 20_000,
        ..Config::default()
    }
}

/// The options of a run that runs nothing twice.
pub fn options(limit: usize, caller: Caller) -> Options {
    Options {
        limit,
        caller,
        rerun_on_caller: false,
    }
}

/// The task with number `i`.
pub fn id(i: usize) -> TaskId {
    TaskId::new(i)
}

/// The tasks with these numbers.
pub fn ids<const N: usize>(numbers: [usize; N]) -> [TaskId; N] {
    numbers.map(TaskId::new)
}

/// `tasks`, in ascending order.
pub fn sorted(mut tasks: Vec<TaskId>) -> Vec<TaskId> {
    tasks.sort_unstable();
    tasks
}
