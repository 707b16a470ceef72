//! Never more tasks at the same time than a run allows, however many threads
//! the pool has, and with every caller.

mod common;

use common::case::Case;
use common::{LONG, options, within};
use mars::executor::{Caller, Run};
use mars::graph::TaskId;
use mars::testing::graphs::{flat, layered};
use mars::testing::{FakeError, FakeRunner};
use std::thread::yield_now;

#[test]
fn in_a_pool_made_for_more() {
    within(LONG, || {
        let large = Case::new(flat(50), &[], 8, Caller::Waits);
        assert!(large.run(|_| Ok(())).result.is_ok());
        for limit in 1..4 {
            for caller in [Caller::Helps, Caller::Waits] {
                for observed in [false, true] {
                    let mut case = Case::new(layered(100, 10, 2, 5), &[], limit, caller);
                    case.observed = observed;
                    let outcome = case.run(|_| {
                        yield_now();
                        Ok(())
                    });
                    outcome.record.assert_promises_kept();
                    assert!(outcome.record.most_running() <= limit);
                }
            }
        }
    });
}

/// A task that is run once more counts like any other.
#[test]
fn while_failed_tasks_run_again() {
    within(LONG, || {
        for limit in 1..4 {
            for caller in [Caller::Helps, Caller::Waits] {
                let case = Case::new(flat(60), &[], limit, caller);
                let first = std::sync::Mutex::new(std::collections::HashSet::new());
                let body = move |task: TaskId| {
                    yield_now();
                    if task.index().is_multiple_of(3) && first.lock().unwrap().insert(task) {
                        return Err(FakeError::Failed(task));
                    }
                    Ok(())
                };
                let runner = FakeRunner::new(&case.work.graph, &[], body).allowing_runs(2);
                let mut options = options(limit, caller);
                options.rerun_on_caller = true;
                let run = Run::new(case.work.scheduler(), runner, options);
                assert!(run.execute(|| Ok(())).is_ok());
                let record = run.runner().record();
                record.assert_promises_kept();
                assert!(record.most_running() <= limit, "{limit} {caller:?}");
            }
        }
    });
}
