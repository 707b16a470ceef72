//! A task may make a run of its own and wait for it, to any depth and on all
//! workers at once: whoever waits works on the tasks of that run.

mod common;

use common::case::Case;
use common::{LONG, id, within};
use mars::executor::{Caller, in_task, pool};
use mars::graph::TaskId;
use mars::testing::graphs::{diamonds, flat};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Each task of a graph runs such a graph itself, `depth` times over.
fn nest(depth: usize, tasks: usize, limit: usize, leaves: &Arc<AtomicUsize>) {
    let case = Case::new(flat(tasks), &[], limit, Caller::Helps);
    let leaves = leaves.clone();
    let outcome = case.run(move |_| {
        assert!(in_task());
        if depth == 0 {
            leaves.fetch_add(1, Ordering::SeqCst);
        } else {
            nest(depth - 1, tasks, limit, &leaves);
        }
        Ok(())
    });
    assert!(outcome.result.is_ok());
    outcome.record.assert_promises_kept();
}

#[test]
fn to_any_depth() {
    within(LONG, || {
        assert!(!in_task());
        for (depth, tasks, limit) in [(5, 3, 2), (5, 3, 1), (3, 5, 4), (100, 1, 2)] {
            let leaves = Arc::new(AtomicUsize::new(0));
            nest(depth, tasks, limit, &leaves);
            let expected = tasks.pow(depth as u32 + 1);
            assert_eq!(leaves.load(Ordering::SeqCst), expected);
        }
        // Depth starts no threads.
        assert_eq!(pool::size(), 4);
    });
}

/// The outermost caller only waits, and every worker is in a task that waits.
#[test]
fn below_a_caller_that_waits() {
    within(LONG, || {
        let case = Case::new(flat(20), &[], 2, Caller::Waits);
        let leaves = Arc::new(AtomicUsize::new(0));
        let count = leaves.clone();
        let outcome = case.run(move |_| {
            nest(2, 2, 2, &count);
            Ok(())
        });
        assert!(outcome.result.is_ok());
        assert_eq!(leaves.load(Ordering::SeqCst), 20 * 8);
    });
}

// 0   1
//  \ / \
//   2   3   each is again such a graph, observed
//    \ /
//     4
#[test]
fn inside_observed_runs() {
    fn observed(depth: usize) {
        let mut case = Case::new(diamonds(), &[id(4)], 2, Caller::Helps);
        case.observed = true;
        let body = move |_: TaskId| {
            if depth > 0 {
                observed(depth - 1);
            }
            Ok(())
        };
        let outcome = case.run(body);
        assert!(outcome.result.is_ok());
        outcome.record.assert_promises_kept();
    }
    within(LONG, || observed(3));
}
