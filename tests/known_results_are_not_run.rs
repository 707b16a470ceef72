//! A result that exists from the start is not made again, and is let go like
//! any other; a graph of which all is known is done before it began.

mod common;

use common::case::{Case, Work};
use common::observer::Silent;
use common::{LONG, ids, within};
use mars::executor::Caller;
use mars::testing::What;
use mars::testing::graphs::{diamonds, flat};

// [0] [1]     known
//   \ / \
//    2   3
//     \ /
//      4
#[test]
fn and_are_released_after_their_last_dependent() {
    within(LONG, || {
        for observed in [false, true] {
            let work = Work {
                graph: diamonds(),
                // Saying it twice changes nothing.
                known: ids([0, 1, 1]).to_vec(),
                requested: ids([1, 4, 4]).to_vec(),
            };
            let case = Case {
                work,
                limit: 2,
                caller: Caller::Waits,
                observed,
            };
            let outcome = case.run(|_| Ok(()));
            outcome.record.assert_promises_kept();
            assert_eq!(outcome.record.tasks(What::Started).len(), 3);
            assert!(outcome.record.tasks(What::Released).contains(&ids([0])[0]));
            assert_eq!(outcome.record.results(), ids([1, 4]));
        }
    });
}

#[test]
fn if_everything_is_known_nothing_happens() {
    within(LONG, || {
        for caller in [Caller::Waits, Caller::Helps] {
            for tasks in [0, 3] {
                let graph = flat(tasks);
                let all: Vec<_> = graph.tasks().collect();
                let work = Work {
                    graph,
                    known: all.clone(),
                    requested: all.clone(),
                };
                let case = Case {
                    work,
                    limit: 2,
                    caller,
                    observed: false,
                };
                let run = case.prepare(|_| Ok(()));
                assert!(run.execute(|| Ok(())).is_ok());
                assert!(run.execute_observed(&mut Silent, || Ok(())).is_ok());
                let record = run.runner().record();
                assert!(record.events().is_empty());
                assert_eq!(record.results(), all);
            }
        }
    });
}
