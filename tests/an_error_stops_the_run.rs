//! A task that fails ends its run: the caller is told which task, with what,
//! and who asked for it; nothing more starts, and no result is forgotten.

mod common;

use common::case::{Case, random_cases_and_tasks};
use common::{LONG, cases, id, ids, within};
use mars::executor::{Caller, Ended};
use mars::testing::graphs::diamonds;
use mars::testing::{FakeError, What};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn at_any_task_of_any_graph((case, task) in random_cases_and_tasks(30)) {
        let Some(failing) = task else { return Ok(()) };
        within(LONG, move || {
            let outcome = case.run(move |task| {
                if task == failing { Err(FakeError::Failed(task)) } else { Ok(()) }
            });
            let Err(Ended::Failed { task, error, .. }) = &outcome.result else {
                panic!("{:?}", outcome.result)
            };
            assert_eq!((*task, error), (failing, &FakeError::Failed(failing)));
            outcome.assert_stopped(&case, case.limit - 1);
        });
    }
}

// 0   1
//  \ / \
//   2   3 fails
//    \ /
//     4
#[test]
fn with_one_worker_everything_is_released() {
    within(LONG, || {
        for caller in [Caller::Helps, Caller::Waits] {
            let case = Case::new(diamonds(), &ids([0, 4]), 1, caller);
            let outcome = case.run(|task| {
                if task == id(3) {
                    Err(FakeError::Failed(task))
                } else {
                    Ok(())
                }
            });
            let Err(Ended::Failed { asked_for_by, .. }) = &outcome.result else {
                panic!("{:?}", outcome.result)
            };
            assert_eq!(*asked_for_by, [id(4)]);
            assert!(outcome.record.results().is_empty());
            assert!(!outcome.record.tasks(What::Started).contains(&id(4)));
        }
    });
}
