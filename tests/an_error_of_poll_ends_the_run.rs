//! A caller that waits calls its `poll` now and then; an error from it ends
//! the run at once, whatever is running.

mod common;

use common::case::{Case, random_cases_and_tasks};
use common::{Door, LONG, cases, ids, when_a_worker_comes, within};
use mars::executor::{Caller, Ended};
use mars::testing::graphs::chain;
use mars::testing::{FakeError, What, thread_number};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

proptest! {
    // Each case waits for a poll.
    #![proptest_config(cases(30))]

    #[test]
    fn at_any_task_of_any_graph((mut case, task) in random_cases_and_tasks(20)) {
        let Some(during) = task else { return Ok(()) };
        case.caller = Caller::Waits;
        within(LONG, move || {
            let (begun, interrupted) = (Door::default(), Door::default());
            let (begins, ends) = (begun.clone(), interrupted.clone());
            let caller = thread_number();
            let run = case.prepare(move |task| {
                if task == during {
                    begins.open();
                    // A caller that no worker came to help runs the task itself.
                    if thread_number() != caller {
                        ends.wait();
                    }
                }
                Ok(())
            });
            let poll = || {
                if begun.is_open() {
                    interrupted.open();
                    return Err(FakeError::Interrupted);
                }
                Ok(())
            };
            let outcome = case.finish(run, poll, usize::MAX);
            let helped_itself = outcome.record.events().iter().any(|e| e.thread == caller);
            let all_ran = outcome.record.tasks(What::Finished).len() == case.work.to_run().len();
            match outcome.result {
                // The tasks may have come to their end before the poll to its.
                Err(Ended::Interrupted(_)) if all_ran => {}
                Err(Ended::Interrupted(FakeError::Interrupted)) => {
                    outcome.assert_stopped(&case, case.limit);
                }
                Ok(()) if helped_itself => {}
                other => panic!("{other:?}"),
            }
        });
    }
}

#[test]
fn poll_is_called_while_a_task_takes_its_time() {
    within(LONG, || {
        let case = Case::new(chain(1), &ids([0]), 1, Caller::Waits);
        let polled = Door::default();
        let (opens, caller) = (polled.clone(), thread_number());
        let run = case.prepare(move |_| {
            if thread_number() != caller {
                polled.wait();
            }
            Ok(())
        });
        let polls = Arc::new(AtomicUsize::new(0));
        let count = polls.clone();
        let poll = move || {
            if count.fetch_add(1, Ordering::SeqCst) == 2 {
                opens.open();
            }
            Ok(())
        };
        assert!(case.finish(run, poll, usize::MAX).result.is_ok());
    });
}

#[test]
fn the_caller_returns_long_before_the_task_does() {
    fn attempt() -> Option<()> {
        let case = Case::new(chain(2), &ids([1]), 1, Caller::Waits);
        let (begun, go_on) = (Door::default(), Door::default());
        let (begins, waits) = (begun.clone(), go_on.clone());
        let caller = thread_number();
        let run = case.prepare(move |task| {
            if thread_number() == caller {
                return Err(FakeError::Failed(task));
            }
            begins.open();
            waits.wait();
            Ok(())
        });
        let record = run.runner().record();
        let mut asked_at = None;
        let result = run.execute(|| {
            if begun.is_open() {
                asked_at = Some(Instant::now());
                return Err(FakeError::Interrupted);
            }
            Ok(())
        });
        if let Err(Ended::Failed { .. }) = result {
            return None;
        }
        // The task cannot have ended: nobody has opened its door.
        assert!(matches!(result, Err(Ended::Interrupted(_))));
        assert!(asked_at.unwrap().elapsed() < Duration::from_millis(200));
        go_on.open();
        drop(run);
        record.wait_until_runner_is_gone();
        assert_eq!(record.runs(ids([1])[0]), 0);
        Some(())
    }
    within(LONG, || when_a_worker_comes(attempt));
}
