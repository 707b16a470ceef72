//! With `rerun_on_caller` a task that failed is run once more on the calling
//! thread, and what comes of that counts.

mod common;

use common::case::{Case, random_cases_and_tasks};
use common::observer::Silent;
use common::{LONG, cases, id, within};
use mars::executor::{Caller, Ended, Run};
use mars::graph::TaskId;
use mars::testing::graphs::flat;
use mars::testing::{FakeError, FakeRunner, What, thread_number};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn rerunning(
    case: &Case,
    body: impl Fn(TaskId) -> Result<(), FakeError> + Send + Sync + 'static,
) -> Arc<Run<FakeRunner>> {
    let mut options = common::options(case.limit, case.caller);
    options.rerun_on_caller = true;
    Run::new(
        case.work.scheduler(),
        case.work.runner(body).allowing_runs(2),
        options,
    )
}

fn execute(case: &Case, run: &Arc<Run<FakeRunner>>) -> Result<(), Ended<FakeError>> {
    if case.observed {
        run.execute_observed(&mut Silent, || Ok(()))
    } else {
        run.execute(|| Ok(()))
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn a_second_run_that_goes_well_is_forgiven((case, task) in random_cases_and_tasks(30)) {
        let Some(shaky) = task else { return Ok(()) };
        within(LONG, move || {
            let attempts = AtomicUsize::new(0);
            let run = rerunning(&case, move |task| {
                if task == shaky && attempts.fetch_add(1, Ordering::SeqCst) == 0 {
                    return Err(FakeError::Failed(task));
                }
                Ok(())
            });
            let record = run.runner().record();
            assert!(execute(&case, &run).is_ok());
            record.assert_promises_kept();
            assert_eq!(record.tasks(What::Finished).len(), case.work.to_run().len());
            assert_eq!(record.runs(shaky), 2);
            let event = |what| {
                let events = record.events();
                *events.iter().rev().find(|e| e.task == shaky && e.what == what).unwrap()
            };
            assert_eq!(event(What::Finished).thread, thread_number());
            if case.limit == 1 {
                // Nothing comes between.
                let started = record.tasks(What::Started);
                let at = started.iter().position(|t| *t == shaky).unwrap();
                assert_eq!(started[at + 1], shaky);
            }
        });
    }

    /// An error the first time, an error or a panic the second time.
    #[test]
    fn a_second_failure_ends_the_run(
        (case, task) in random_cases_and_tasks(30), panics in any::<bool>()
    ) {
        let Some(failing) = task else { return Ok(()) };
        within(LONG, move || {
            let attempts = AtomicUsize::new(0);
            let run = rerunning(&case, move |task| {
                if task != failing {
                    return Ok(());
                }
                if attempts.fetch_add(1, Ordering::SeqCst) == 1 && panics {
                    // Without the hook, which would print it.
                    std::panic::resume_unwind(Box::new("expected"));
                }
                Err(FakeError::Failed(task))
            });
            let record = run.runner().record();
            let expected = if panics {
                FakeError::Panicked(failing)
            } else {
                FakeError::Failed(failing)
            };
            match execute(&case, &run) {
                Err(Ended::Failed { task, error, .. }) => {
                    assert_eq!((task, error), (failing, expected));
                }
                other => panic!("{other:?}"),
            }
            drop(run);
            record.wait_until_runner_is_gone();
            record.assert_promises_kept();
            assert_eq!(record.runs(failing), 2);
        });
    }
}

#[test]
fn after_a_second_failure_no_other_task_is_run_again() {
    within(LONG, || {
        for caller in [Caller::Helps, Caller::Waits] {
            let case = Case::new(flat(2), &[], 2, caller);
            // Both have failed before the caller comes to the first.
            let both = std::sync::Barrier::new(2);
            let attempts = AtomicUsize::new(0);
            let run = rerunning(&case, move |task| {
                if attempts.fetch_add(1, Ordering::SeqCst) < 2 {
                    both.wait();
                }
                Err(FakeError::Failed(task))
            });
            assert!(matches!(run.execute(|| Ok(())), Err(Ended::Failed { .. })));
            let record = run.runner().record();
            assert_eq!(record.runs(id(0)) + record.runs(id(1)), 3);
        }
    });
}
