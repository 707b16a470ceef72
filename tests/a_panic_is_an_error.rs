//! A task that panics fails like one that returns an error: the run ends, the
//! thread and the pool live on.

mod common;

use common::case::random_cases_and_tasks;
use common::{LONG, cases, within};
use mars::executor::Ended;
use mars::testing::FakeError;
use proptest::prelude::*;
use std::panic;

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn at_any_task_of_any_graph((case, task) in random_cases_and_tasks(30)) {
        let Some(panicking) = task else { return Ok(()) };
        within(LONG, move || {
            let outcome = case.run(move |task| {
                if task == panicking {
                    // Without the hook, which would print it.
                    panic::resume_unwind(Box::new("expected"));
                }
                Ok(())
            });
            let Err(Ended::Failed { task, error, .. }) = &outcome.result else {
                panic!("{:?}", outcome.result)
            };
            assert_eq!((*task, error), (panicking, &FakeError::Panicked(panicking)));
            outcome.assert_stopped(&case, case.limit - 1);
        });
    }
}
