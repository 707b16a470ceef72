//! As many ready tasks run at the same time as the limit allows: a thread that
//! has nothing to do is woken for each.

mod common;

use common::case::Case;
use common::observer::Silent;
use common::{LONG, within};
use mars::executor::Caller;
use mars::graph::TaskGraph;
use mars::testing::graphs::graph;
use std::sync::Barrier;

/// Stages of `width` tasks between tasks that all wait for:
///
/// ```text
///   0        4
///  /|\      /|\
/// 1 2 3 →  5 6 7  → …
/// ```
fn stages(stages: usize, width: usize) -> TaskGraph {
    graph((0..stages * (width + 1)).map(|i| {
        let stage = i / (width + 1) * (width + 1);
        if i > stage {
            vec![stage]
        } else {
            (stage.saturating_sub(width)..stage).collect::<Vec<_>>()
        }
    }))
}

/// The tasks of a stage meet at a barrier: run one by one, they never end.
fn tasks_of_a_stage_meet(width: usize, caller: Caller, observed: bool) {
    let case = Case::new(stages(300, width), &[], width, caller);
    let barrier = Barrier::new(width);
    let run = case.prepare(move |task| {
        if task.index() % (width + 1) != 0 {
            barrier.wait();
        }
        Ok(())
    });
    let ended = if observed {
        run.execute_observed(&mut Silent, || Ok(()))
    } else {
        run.execute(|| Ok(()))
    };
    assert!(ended.is_ok());
    let record = run.runner().record();
    record.assert_promises_kept();
    assert_eq!(record.most_running(), width);
}

// One test, because two of them would fight for the workers of one pool.
#[test]
fn whoever_runs_them() {
    for width in [2, 3, 4] {
        for caller in [Caller::Helps, Caller::Waits] {
            for observed in [false, true] {
                println!("{width} {caller:?}, observed: {observed}");
                within(LONG, move || tasks_of_a_stage_meet(width, caller, observed));
            }
        }
    }
}
