//! A worker that leaves a run for others which wait does not leave the run
//! alone: its caller, if it sleeps and may help, takes over. Alone in its
//! process, for it needs every worker of the pool.

mod common;

use common::case::Case;
use common::{Door, LONG, id, within};
use mars::executor::{Caller, pool};
use mars::testing::graphs::{flat, graph};
use mars::testing::thread_number;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

// The helper's run, and a stranger's, which ends only after it.
//
// 0   1       two tasks that
//  \ / \      wait for the
//   2   3     end of the other
//
// The caller runs one of 0 and 1 and sleeps. The worker that runs the other
// one stays until it finds the stranger waiting, and goes there for good.
#[test]
fn for_a_task_of_a_stranger() {
    within(LONG, || {
        let (worker_begins, done) = (Door::default(), Door::default());
        let caller = thread_number();
        let begins = worker_begins.clone();
        let strangers_at_work = Arc::new(AtomicUsize::new(0));
        let stranger = thread::spawn({
            let (begins, done, at_work) = (begins.clone(), done.clone(), strangers_at_work.clone());
            move || {
                begins.wait();
                let case = Case::new(flat(2), &[], 2, Caller::Waits);
                let outcome = case.run(move |_| {
                    at_work.fetch_add(1, Ordering::SeqCst);
                    done.wait();
                    Ok(())
                });
                assert!(outcome.result.is_ok());
            }
        });
        let rows = [&[][..], &[], &[0, 1], &[1]];
        let case = Case::new(graph(rows), &[id(2), id(3)], 2, Caller::Helps);
        // The worker has come before the caller can have run both.
        let both = Barrier::new(2);
        let outcome = case.run(move |task| {
            if task.index() < 2 {
                both.wait();
            }
            if task.index() < 2 && thread_number() != caller {
                worker_begins.open();
                while strangers_at_work.load(Ordering::SeqCst) == 0 {
                    thread::yield_now();
                }
                // Long enough for the worker to think of others.
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(20) {
                    thread::yield_now();
                }
            }
            Ok(())
        });
        assert!(outcome.result.is_ok());
        assert_eq!(pool::size(), 2);
        done.open();
        stranger.join().unwrap();
    });
}
