//! The hooks run on every worker thread, before its first task and after its
//! last. Alone in its process, for the hooks are set once.

mod common;

use common::case::Case;
use common::{LONG, within};
use mars::executor::Caller;
use mars::executor::pool::{self, ThreadHooks};
use mars::testing::graphs::flat;
use mars::testing::thread_number;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Condvar, Mutex};

static BEGUN: AtomicUsize = AtomicUsize::new(0);
static ENDED: Mutex<usize> = Mutex::new(0);
static ONE_ENDED: Condvar = Condvar::new();

thread_local! {
    static HOOKED: Cell<bool> = const { Cell::new(false) };
}

fn begin() {
    HOOKED.set(true);
    BEGUN.fetch_add(1, Ordering::SeqCst);
}

fn end() {
    assert!(HOOKED.replace(false));
    *ENDED.lock().unwrap() += 1;
    ONE_ENDED.notify_all();
}

/// A run that has work for `workers` threads at the same time.
fn compute_with(workers: usize) {
    let caller = thread_number();
    let meeting = Barrier::new(workers);
    let outcome = Case::new(flat(workers), &[], workers, Caller::Waits).run(move |_| {
        meeting.wait();
        assert!(HOOKED.get() || thread_number() == caller);
        Ok(())
    });
    assert!(outcome.result.is_ok());
}

#[test]
fn on_each_of_them() {
    within(LONG, || {
        pool::set_thread_hooks(ThreadHooks { begin, end });
        compute_with(2);
        assert!(BEGUN.load(Ordering::SeqCst) <= 2);
        // A larger run replaces the pool: the threads of the old one end.
        compute_with(3);
        let mut ended = ENDED.lock().unwrap();
        while *ended < 2 {
            ended = ONE_ENDED.wait(ended).unwrap();
        }
        assert_eq!(*ended, 2);
        assert!(BEGUN.load(Ordering::SeqCst) <= 2 + 3);
    });
}
