//! On any graph, run in any way: each task runs once, after its dependencies;
//! what was asked for is there in the end, and nothing else.

mod common;

use common::case::random_cases;
use common::{LONG, cases, sorted, within};
use mars::testing::What;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn everything_runs_once_and_only_what_was_asked_for_stays(case in random_cases(40)) {
        let (case, outcome) = within(LONG, move || {
            let outcome = case.run(|_| Ok(()));
            (case, outcome)
        });
        let (work, record) = (&case.work, &outcome.record);
        prop_assert!(outcome.result.is_ok(), "{:?}", outcome.result);
        record.assert_promises_kept();
        prop_assert_eq!(sorted(record.tasks(What::Finished)), work.to_run());
        prop_assert!(record.most_running() <= case.limit);
        let requested = work.requested.iter();
        prop_assert!(requested.clone().all(|t| outcome.results_at_end.contains(t)));
        prop_assert!(requested.eq(&record.results()));
        prop_assert!(outcome.open.is_empty());
    }
}
