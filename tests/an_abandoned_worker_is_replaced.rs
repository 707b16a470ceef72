//! A worker held by a task that nobody waits for any more does not count: the
//! next run finds a pool with all its threads. Alone in its process, for it
//! looks at the one pool.

mod common;

use common::case::Case;
use common::{Door, LONG, when_a_worker_comes, within};
use mars::executor::{Caller, Ended, pool};
use mars::testing::graphs::flat;
use mars::testing::{FakeError, What, thread_number};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

const WORKERS: usize = 2;

#[test]
fn and_comes_back_when_its_task_ends() {
    within(LONG, || {
        assert_eq!(pool::size(), 0);
        let (held, go_on) = when_a_worker_comes(abandon_all_workers);
        let first = when_a_worker_comes(meet);
        assert!(first.is_disjoint(&held), "a held worker ran a task");
        assert_eq!(pool::size(), WORKERS);
        // Nothing was lost since: the same pool serves.
        assert_eq!(when_a_worker_comes(meet), first);
        go_on.open();
    });
}

/// Cancels a run that holds every worker; the threads, and what lets them go.
fn abandon_all_workers() -> Option<(HashSet<u64>, Door)> {
    let case = Case::new(flat(WORKERS), &[], WORKERS, Caller::Waits);
    let go_on = Door::default();
    let begun = Arc::new(AtomicUsize::new(0));
    let (waits, begins) = (go_on.clone(), begun.clone());
    let caller = thread_number();
    let run = case.prepare(move |task| {
        if thread_number() == caller {
            return Err(FakeError::Failed(task));
        }
        begins.fetch_add(1, Ordering::SeqCst);
        waits.wait();
        Ok(())
    });
    let result = run.execute(|| {
        if begun.load(Ordering::SeqCst) == WORKERS {
            return Err(FakeError::Interrupted);
        }
        Ok(())
    });
    if let Err(Ended::Failed { .. }) = result {
        go_on.open();
        return None;
    }
    assert!(matches!(result, Err(Ended::Interrupted(_))));
    let events = run.runner().record().events();
    Some((events.iter().map(|e| e.thread).collect(), go_on))
}

/// Runs tasks that wait for each other, and so need a thread each.
fn meet() -> Option<HashSet<u64>> {
    let case = Case::new(flat(WORKERS), &[], WORKERS, Caller::Waits);
    let barrier = Barrier::new(WORKERS);
    let outcome = case.run(move |_| {
        barrier.wait();
        Ok(())
    });
    assert!(outcome.result.is_ok());
    let events = outcome.record.events();
    let started = events.iter().filter(|e| e.what == What::Started);
    let threads: HashSet<_> = started.map(|e| e.thread).collect();
    (!threads.contains(&thread_number())).then_some(threads)
}
