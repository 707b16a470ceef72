//! `Run::cancel`, from any thread and at any point, ends the run: nothing more
//! starts, no result is forgotten, and the pool goes on.

mod common;

use common::case::{Case, Outcome, random_cases, random_cases_and_tasks};
use common::{LONG, cases, ids, within};
use mars::executor::{Caller, Ended, Run};
use mars::graph::TaskId;
use mars::testing::graphs::chain;
use mars::testing::{FakeRunner, What};
use proptest::prelude::*;
use std::sync::{Arc, Mutex, Weak};
use std::thread;

/// Runs `case`; when `task` runs, another thread cancels the run meanwhile.
fn cancelled_during(case: &Case, task: TaskId) -> (Outcome, usize) {
    // Weak, or the run would hold the closure and the closure the run.
    let slot: Arc<Mutex<Weak<Run<FakeRunner>>>> = Arc::default();
    let seen = Arc::new(Mutex::new(0));
    let (place, started) = (slot.clone(), seen.clone());
    let run = case.prepare(move |now| {
        if now == task {
            let run = place.lock().unwrap().upgrade().unwrap();
            let record = run.runner().record();
            thread::spawn(move || run.cancel()).join().unwrap();
            *started.lock().unwrap() = record.tasks(What::Started).len();
        }
        Ok(())
    });
    *slot.lock().unwrap() = Arc::downgrade(&run);
    let outcome = case.finish(run, || Ok(()), usize::MAX);
    let seen = *seen.lock().unwrap();
    (outcome, seen)
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn at_any_task_of_any_graph((case, task) in random_cases_and_tasks(30)) {
        let Some(task) = task else { return Ok(()) };
        within(LONG, move || {
            let (outcome, seen) = cancelled_during(&case, task);
            assert!(matches!(outcome.result, Err(Ended::Cancelled)), "{:?}", outcome.result);
            let started = outcome.record.tasks(What::Started).len();
            assert!(started < seen + case.limit, "{started} tasks started, {seen} before");
            outcome.assert_stopped(&case, case.limit - 1);
        });
    }

    #[test]
    fn before_it_began(case in random_cases(20)) {
        within(LONG, move || {
            let run = case.prepare(|_| Ok(()));
            run.cancel();
            let outcome = case.finish(run, || Ok(()), usize::MAX);
            if case.work.to_run().is_empty() {
                assert!(outcome.result.is_ok());
            } else {
                assert!(matches!(outcome.result, Err(Ended::Cancelled)));
                assert!(outcome.record.events().iter().all(|e| e.what == What::Released));
                assert!(outcome.record.results().is_empty());
            }
        });
    }

    /// The cancel comes from outside, whenever it happens to.
    #[test]
    fn at_no_particular_moment(case in random_cases(40)) {
        within(LONG, move || {
            let run = case.prepare(|_| Ok(()));
            let cancels = run.clone();
            let other = thread::spawn(move || cancels.cancel());
            let outcome = case.finish(run, || Ok(()), usize::MAX);
            other.join().unwrap();
            match outcome.result {
                Ok(()) => assert_eq!(outcome.record.results(), case.work.requested),
                Err(Ended::Cancelled) => outcome.assert_stopped(&case, case.limit),
                Err(other) => panic!("{other:?}"),
            }
        });
    }
}

// 0 → 1 → 2 cancels → 3
#[test]
fn what_is_being_read_and_made_stays_until_the_run_is_dropped() {
    within(LONG, || {
        for caller in [Caller::Helps, Caller::Waits] {
            let case = Case::new(chain(4), &ids([0, 3]), 1, caller);
            let (outcome, _) = cancelled_during(&case, ids([2])[0]);
            assert_eq!(outcome.record.tasks(What::Started), ids([0, 1, 2]));
            assert_eq!(outcome.record.tasks(What::Released), ids([0]));
            assert_eq!(outcome.record.results(), ids([1, 2]));
        }
    });
}

#[test]
fn after_the_end_it_changes_nothing() {
    within(LONG, || {
        let case = Case::new(chain(3), &ids([2]), 2, Caller::Waits);
        let run = case.prepare(|_| Ok(()));
        assert!(run.execute(|| Ok(())).is_ok());
        run.cancel();
        assert_eq!(run.runner().record().results(), ids([2]));
    });
}
