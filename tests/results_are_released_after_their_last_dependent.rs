//! A result goes at the moment its last dependent has finished: before the
//! thread that ran it starts another task, and never if it was asked for.

mod common;

use common::case::{Case, random_cases, random_work};
use common::{LONG, cases, ids, within};
use mars::executor::Caller;
use mars::graph::TaskId;
use mars::testing::graphs::{chain, diamonds};
use mars::testing::{Event, What};
use proptest::prelude::*;
use std::collections::HashMap;

fn what_happened(events: &[Event]) -> Vec<(What, TaskId)> {
    let events = events.iter().filter(|e| e.what != What::Started);
    events.map(|e| (e.what, e.task)).collect()
}

// 0   1
//  \ / \
//   2   3
//    \ /
//     4
#[test]
fn each_in_its_turn() {
    use What::{Finished, Released};
    within(LONG, || {
        let case = Case::new(diamonds(), &ids([4]), 1, Caller::Helps);
        let events = case.run(|_| Ok(())).record.events();
        let [a, b, c, d, e] = ids([0, 1, 2, 3, 4]);
        let order = |tasks: [TaskId; 5]| tasks.map(|t| (Finished, t));
        let [a, b, c, d, e] = order([a, b, c, d, e]);
        let gone = |t: (What, TaskId)| (Released, t.1);
        // Which of 2 and 3 comes first is a matter of the order.
        let left_first = vec![a, b, c, gone(a), d, gone(b), e, gone(c), gone(d)];
        let right_first = [
            vec![b, d, a, c, gone(a), gone(b), e, gone(c), gone(d)],
            vec![a, b, d, c, gone(a), gone(b), e, gone(c), gone(d)],
            vec![b, a, c, gone(a), d, gone(b), e, gone(c), gone(d)],
            vec![b, a, d, c, gone(a), gone(b), e, gone(c), gone(d)],
        ];
        let happened = what_happened(&events);
        assert!(
            happened == left_first || right_first.contains(&happened),
            "{happened:#?}"
        );
    });
}

// 0 → 1 → 2 → … : two results at any time, the one read and the one made.
#[test]
fn a_chain_keeps_two_results() {
    within(LONG, || {
        for (limit, caller) in [(1, Caller::Helps), (1, Caller::Waits)] {
            let case = Case::new(chain(200), &ids([199]), limit, caller);
            assert_eq!(case.run(|_| Ok(())).record.peak(), 2);
        }
    });
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn with_one_thread_exactly_as_the_model_says(work in random_work(40)) {
        within(LONG, move || {
            let mut model = work.model();
            let case = Case { work, limit: 1, caller: Caller::Helps, observed: false };
            let events = case.run(|_| Ok(())).record.events();
            let mut due = Vec::new();
            for event in events {
                match event.what {
                    What::Started => {
                        assert!(due.is_empty(), "{due:?} were to go before {event:?}");
                        model.start(event.task);
                    }
                    What::Finished => due = model.finish(event.task).1,
                    What::Released => {
                        let i = due.iter().position(|t| *t == event.task);
                        due.swap_remove(i.unwrap_or_else(|| panic!("too early: {event:?}")));
                    }
                    What::Promised | What::Failed => panic!("{event:?}"),
                }
            }
            assert!(due.is_empty());
        });
    }

    /// With several threads nobody can tell which one comes last; but the one
    /// that lets a result go has just run a task that read it, or made it.
    #[test]
    fn by_a_thread_that_has_just_read_it(mut case in random_cases(40)) {
        case.observed = false;
        within(LONG, move || {
            let record = case.run(|_| Ok(())).record;
            record.assert_promises_kept();
            let mut last: HashMap<u64, TaskId> = HashMap::new();
            for event in record.events() {
                if event.what == What::Finished {
                    last.insert(event.thread, event.task);
                }
                if event.what == What::Released {
                    let last = last[&event.thread];
                    let read = case.work.graph.dependencies(last).contains(&event.task);
                    assert!(read || last == event.task, "{event:?} after {last:?}");
                }
            }
            assert_eq!(record.results(), case.work.requested);
        });
    }
}
