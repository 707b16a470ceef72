//! When a pool is replaced because abandoned tasks hold its workers, runs that
//! had asked for a worker before that get one too. Alone in its process, for
//! it holds every worker.

mod common;

use common::case::Case;
use common::{Door, LONG, when_a_worker_comes, within};
use mars::executor::{Caller, Ended};
use mars::testing::graphs::flat;
use mars::testing::{FakeError, thread_number};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

const WORKERS: usize = 2;

#[test]
fn behind_tasks_of_an_abandoned_run() {
    within(LONG, || when_a_worker_comes(attempt));
}

fn attempt() -> Option<()> {
    let (go_on, has_asked) = (Door::default(), Door::default());
    let held = Arc::new(AtomicUsize::new(0));
    let (waits, holds) = (go_on.clone(), held.clone());
    let caller = thread_number();
    let abandoned = Case::new(flat(WORKERS), &[], WORKERS, Caller::Waits).prepare(move |task| {
        if thread_number() == caller {
            return Err(FakeError::Failed(task));
        }
        holds.fetch_add(1, Ordering::SeqCst);
        waits.wait();
        Ok(())
    });
    let mut patient = None;
    let result = abandoned.execute(|| {
        if held.load(Ordering::SeqCst) < WORKERS {
            return Ok(());
        }
        // Every worker is held now: what is asked for from here on waits.
        let asks = has_asked.clone();
        patient = Some(thread::spawn(move || meet(Caller::Helps, &asks)));
        has_asked.wait();
        Err(FakeError::Interrupted)
    });
    if let Err(Ended::Failed { .. }) = result {
        go_on.open();
        return None;
    }
    assert!(matches!(result, Err(Ended::Interrupted(_))));
    // The next run makes the new pool; the patient one gets its worker, and
    // not instead of those that the next one asked for.
    meet(Caller::Waits, &Door::default());
    patient.unwrap().join().unwrap();
    go_on.open();
    Some(())
}

/// Two tasks that meet, and so need a worker beside the caller, or two.
fn meet(caller: Caller, asked: &Door) {
    let (asks, meeting) = (asked.clone(), Barrier::new(2));
    let outcome = Case::new(flat(2), &[], 2, caller).run(move |_| {
        asks.open();
        meeting.wait();
        Ok(())
    });
    assert!(outcome.result.is_ok());
}
