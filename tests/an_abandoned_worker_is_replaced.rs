//! A worker held by a task that nobody waits for any more does not count: the
//! next run finds a pool with all its threads. Alone in its process, for it
//! looks at the one pool.

mod common;

use common::case::Case;
use common::{Door, LONG, within};
use mars::executor::{Caller, pool};
use mars::testing::graphs::flat;
use mars::testing::{What, thread_number};
use std::collections::HashSet;
use std::sync::{Arc, Barrier};
use std::thread;

const WORKERS: usize = 2;

#[test]
fn and_comes_back_when_its_task_ends() {
    within(LONG, || {
        assert_eq!(pool::size(), 0);
        let (held, go_on) = abandon_all_workers();
        let first = meet();
        assert!(first.is_disjoint(&held), "a held worker ran a task");
        assert_eq!(pool::size(), WORKERS);
        // Nothing was lost since: the same pool serves.
        assert_eq!(meet(), first);
        go_on.open();
    });
}

/// Cancels a run that holds every worker; the threads, and what lets them go.
fn abandon_all_workers() -> (HashSet<u64>, Door) {
    let case = Case::new(flat(WORKERS), &[], WORKERS, Caller::Waits);
    let go_on = Door::default();
    let all_begun = Arc::new(Barrier::new(WORKERS + 1));
    let (waits, begins) = (go_on.clone(), all_begun.clone());
    let caller = thread_number();
    let run = case.prepare(move |_| {
        assert_ne!(thread_number(), caller);
        begins.wait();
        waits.wait();
        Ok(())
    });
    let cancels = run.clone();
    let other = thread::spawn(move || {
        all_begun.wait();
        cancels.cancel();
    });
    assert!(run.execute(|| Ok(())).is_err());
    other.join().unwrap();
    let events = run.runner().record().events();
    (events.iter().map(|e| e.thread).collect(), go_on)
}

/// Runs tasks that wait for each other, and so need a thread each.
fn meet() -> HashSet<u64> {
    let case = Case::new(flat(WORKERS), &[], WORKERS, Caller::Waits);
    let barrier = Barrier::new(WORKERS);
    let outcome = case.run(move |_| {
        barrier.wait();
        Ok(())
    });
    assert!(outcome.result.is_ok());
    let events = outcome.record.events();
    let started = events.iter().filter(|e| e.what == What::Started);
    started.map(|e| e.thread).collect()
}
