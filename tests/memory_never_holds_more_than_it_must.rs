//! With sizes known, one worker starts a task that does not fit only if nothing is left
//! that could leave memory; and what several runs need is there for each of them.

mod common;

use common::case::random_work;
use common::limited::Limited;
use common::{LONG, cases, id, within};
use mars::executor::Caller;
use mars::graph::TaskId;
use mars::testing::graphs::graph;
use mars::testing::{FakeMemory, FakeResult, Writing};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;
use std::thread;

/// Sizes of results, one a group; the last one cannot be written.
const SIZES: [u64; 6] = [0, 500, 10_000, 30_000, 90_000, 20_000];

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn of_one_run(
        work in random_work(30),
        groups in vec(0..SIZES.len(), 30),
        limit in 1..200_000u64,
        observed in any::<bool>(),
    ) {
        within(LONG, move || {
            let n = work.graph.len();
            let sizes: Vec<u64> = groups[..n].iter().map(|group| SIZES[*group]).collect();
            let mut limited = Limited::new(work.graph, &sizes);
            for (result, group) in limited.results.iter_mut().zip(&groups) {
                if *group == SIZES.len() - 1 {
                    result.writing = Writing::Fails;
                }
            }
            limited.observed = observed;
            let memory = FakeMemory::new(limit);
            // In the first run all sizes become known.
            assert!(limited.run(&memory, |_| Ok(())).0.is_ok());
            let (sees, results) = (memory.clone(), limited.results.clone());
            let (result, _) = limited.run(&memory, move |task| {
                let makes = results[task.index()].total();
                let fits = sees.held() + makes <= limit;
                let could_leave = sees.could_leave();
                assert!(makes == 0 || fits || could_leave.is_empty(), "{could_leave:?}");
                let totals = sees.account().totals();
                assert_eq!((totals.resident, totals.reserved), (sees.held(), makes));
                Ok(())
            });
            assert!(result.is_ok(), "{result:?}");
            memory.assert_empty();
        });
    }
}

/// Each of them reads the same results, which do not fit, in an order of its own.
#[test]
fn of_runs_that_share_results() {
    within(LONG, || {
        let memory = FakeMemory::new(100_000);
        let known: Vec<(TaskId, _)> = (0..8)
            .map(|i| (id(i), memory.keep(id(i), FakeResult::of(30_000))))
            .collect();
        let known = Arc::new(known);
        let callers = (0..4usize).map(|caller| {
            let (memory, known) = (memory.clone(), known.clone());
            thread::spawn(move || {
                let reads = |i: usize| vec![i, (i + caller + 1) % 8];
                let rows = (0..16).map(|i| if i < 8 { vec![] } else { reads(i - 8) });
                let mut limited = Limited::new(graph(rows), &[10_000; 16]);
                limited.known = known.to_vec();
                limited.options = common::options(1 + caller % 2, Caller::Helps);
                limited.observed = caller == 3;
                for _ in 0..10 {
                    assert!(limited.run(&memory, |_| Ok(())).0.is_ok());
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.join().unwrap();
        }
        assert!(!memory.moves().is_empty());
        // All known ones were put there, without asking.
        assert!(memory.peak() <= 8 * 30_000 + 6 * 70_000);
        drop(known);
        memory.assert_empty();
    });
}
