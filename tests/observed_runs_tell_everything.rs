//! An observer hears of each task, on the caller's thread: before it starts,
//! and after it has finished, with what that makes ready and lets go.

mod common;

use common::case::{Case, random_cases};
use common::observer::Follower;
use common::{LONG, cases, id, ids, sorted, within};
use mars::executor::{Caller, Ended, Observer};
use mars::graph::TaskId;
use mars::testing::graphs::chain;
use mars::testing::{FakeError, What, thread_number};
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

proptest! {
    #![proptest_config(cases(200))]

    /// [`Follower`] checks each call against a model.
    #[test]
    fn of_any_graph(case in random_cases(40)) {
        within(LONG, move || {
            let run = case.prepare(|_| Ok(()));
            let record = run.runner().record();
            let mut follower = Follower::new(case.work.model());
            assert!(run.execute_observed(&mut follower, || Ok(())).is_ok());
            record.assert_promises_kept();
            assert_eq!(sorted(follower.started.clone()), case.work.to_run());
            assert!(follower.open().is_empty());
            for (task, thread) in &follower.finished {
                let ran = |e: &mars::testing::Event| e.task == *task && e.what == What::Finished;
                let event = record.events().into_iter().find(ran).unwrap();
                assert_eq!(event.thread, *thread, "{task:?}");
            }
            // The caller lets results go, after it has told so.
            let caller = thread_number();
            let released = |e: &mars::testing::Event| e.what == What::Released;
            assert!(record.events().into_iter().filter(released).all(|e| e.thread == caller));
            assert_eq!(record.results(), case.work.requested);
        });
    }

    #[test]
    fn an_error_at_any_call_ends_the_run(mut case in random_cases(30), call in any::<Index>()) {
        case.observed = true;
        let calls = 2 * case.work.to_run().len();
        if calls == 0 { return Ok(()) }
        within(LONG, move || {
            let run = case.prepare(|_| Ok(()));
            let patience = call.index(calls);
            let outcome = case.finish(run, || Ok(()), patience);
            assert!(matches!(outcome.result, Err(Ended::Interrupted(_))), "{:?}", outcome.result);
            // After the last call of all nothing is left to be stopped.
            if patience + 1 < calls {
                outcome.assert_stopped(&case, case.limit);
            }
        });
    }
}

/// Counts its calls, for the tasks to look at.
struct Counter(Arc<AtomicUsize>);

impl Observer for Counter {
    type Error = FakeError;

    fn starting(&mut self, _: TaskId) -> Result<(), FakeError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn finished(&mut self, _: TaskId, _: u64, _: &[TaskId], _: &[TaskId]) -> Result<(), FakeError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

// 0 → 1 → 2
#[test]
fn each_task_is_told_before_it_runs_and_settled_before_the_next() {
    within(LONG, || {
        for caller in [Caller::Helps, Caller::Waits] {
            let case = Case::new(chain(3), &ids([2]), 2, caller);
            let told = Arc::new(AtomicUsize::new(0));
            let calls = told.clone();
            let run = case.prepare(move |task| {
                assert_eq!(calls.load(Ordering::SeqCst), 2 * task.index() + 1);
                Ok(())
            });
            assert!(
                run.execute_observed(&mut Counter(told.clone()), || Ok(()))
                    .is_ok()
            );
            assert_eq!(told.load(Ordering::SeqCst), 6);
            assert_eq!(run.runner().record().results(), [id(2)]);
        }
    });
}
