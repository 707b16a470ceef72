//! As long as everything fits, one worker under a limit follows the ranks. When memory is
//! full, tasks that were ready from the start wait, and what lets go of most goes first.

mod common;

use common::case::random_work;
use common::limited::Limited;
use common::{LONG, cases, id, ids, within};
use mars::graph::TaskId;
use mars::testing::graphs::graph;
use mars::testing::{FakeMemory, What};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

/// The order in which one worker starts the tasks.
fn started(limited: &Limited, memory: &Arc<FakeMemory>) -> Vec<TaskId> {
    let (result, record) = limited.run(memory, |_| Ok(()));
    assert!(result.is_ok(), "{result:?}");
    record.tasks(What::Started)
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn what_fits_runs_in_the_order_of_the_ranks(
        work in random_work(30), sizes in vec(0..100_000u64, 30), observed in any::<bool>()
    ) {
        within(LONG, move || {
            let n = work.graph.len();
            let mut limited = Limited::new(work.graph, &sizes[..n]);
            limited.requested = work.requested;
            limited.observed = observed;
            let memory = FakeMemory::new(sizes.iter().sum::<u64>() + 1);
            // Sizes are known the second time.
            for _ in 0..2 {
                let ranks = limited.ranks.clone();
                let started = started(&limited, &memory);
                assert!(started.is_sorted_by_key(|task| ranks[task.index()]));
                assert_eq!(started.len(), n);
            }
            assert_eq!(memory.moves(), []);
            memory.assert_empty();
        });
    }
}

// 0   1   2   3   4   5   large
// |   |   |   |   |   |
// 6   7   8   9  10  11   of no size, and ranked last
#[test]
fn roots_wait_while_memory_is_full() {
    within(LONG, || {
        let rows = (0..12).map(|i| if i < 6 { vec![] } else { vec![i - 6] });
        let sizes: Vec<u64> = (0..12).map(|i| if i < 6 { 40_000 } else { 0 }).collect();
        let mut limited = Limited::new(graph(rows), &sizes);
        limited.ranks = (0..12).collect();
        for observed in [false, true] {
            limited.observed = observed;
            let memory = FakeMemory::new(100_000);
            let order = started(&limited, &memory);
            let expected = [0, 1, 6, 2, 7, 3, 8, 4, 9, 5, 10, 11];
            assert_eq!(order, ids(expected), "{observed}");
            assert_eq!((memory.peak(), memory.moves()), (80_000, vec![]));
        }
    });
}

// 0     1     both large
// |\    |
// | 2   3     2 is large and lets nothing go, 3 is small and the last to read 1
// |/
// 4
#[test]
fn what_lets_most_go_is_first_when_memory_is_full() {
    within(LONG, || {
        let rows: [&[usize]; 5] = [&[], &[], &[0], &[1], &[0, 2]];
        let mut limited = Limited::new(graph(rows), &[40_000, 40_000, 40_000, 10, 0]);
        limited.ranks = (0..5).collect();
        limited.requested = vec![id(3)];
        let full = FakeMemory::new(90_000);
        assert_eq!(started(&limited, &full), ids([0, 1, 3, 2, 4]));
        let roomy = FakeMemory::new(130_000);
        for _ in 0..2 {
            assert_eq!(started(&limited, &roomy), ids([0, 1, 2, 3, 4]));
        }
        assert_eq!((full.moves(), roomy.moves()), (vec![], vec![]));
    });
}

// 0   1   2   3   4   5   large, each of another kind
// |   |   |   |   |   |
// 6   7   8   9  10  11   of no size, and ranked last
#[test]
fn what_is_of_unknown_size_waits_as_well() {
    within(LONG, || {
        let rows = (0..12).map(|i| if i < 6 { vec![] } else { vec![i - 6] });
        let sizes: Vec<u64> = (0..12).map(|i| if i < 6 { 40_000 } else { 0 }).collect();
        let mut limited = Limited::new(graph(rows), &sizes);
        limited.ranks = (0..12).collect();
        limited.prefixes = (0..12).map(|i| format!("prefix-{i}")).collect();
        let memory = FakeMemory::new(100_000);
        started(&limited, &memory);
        // The third is the first that does not fit.
        assert!(memory.peak() <= 120_000, "{}", memory.peak());
        memory.assert_empty();
    });
}
