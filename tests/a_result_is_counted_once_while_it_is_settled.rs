//! The room that was kept for an output is not kept any more when the output is there,
//! even if nobody has heard yet that its task has ended.

mod common;

use common::limited::Limited;
use common::{Door, LONG, id, ids, within};
use mars::executor::{Caller, Observer};
use mars::graph::TaskId;
use mars::testing::graphs::{flat, graph};
use mars::testing::{FakeError, FakeMemory};
use std::sync::Arc;
use std::thread;

const LARGE: u64 = 40_000;

/// Goes on to start task 2 when the result of task 1 is in memory.
struct Slow(Door, Arc<FakeMemory>);

impl Observer for Slow {
    type Error = FakeError;

    fn starting(&mut self, task: TaskId) -> Result<(), FakeError> {
        if task == id(2) {
            self.0.open();
            while self.1.held() == 0 {
                thread::yield_now();
            }
        }
        Ok(())
    }

    fn finished(&mut self, _: TaskId, _: u64, _: &[TaskId], _: &[TaskId]) -> Result<(), FakeError> {
        Ok(())
    }
}

// 0          of no size
// |\
// 2 3  1     all three fit
//  \|/
//   4
#[test]
fn so_that_nothing_leaves_that_fits() {
    within(LONG, || {
        let memory = FakeMemory::new(3 * LARGE + LARGE / 2);
        // Sizes become known.
        assert!(
            Limited::new(flat(1), &[LARGE])
                .run(&memory, |_| Ok(()))
                .0
                .is_ok()
        );
        let rows: [&[usize]; 5] = [&[], &[], &[0], &[0], &[1, 2, 3]];
        let mut limited = Limited::new(graph(rows), &[0, LARGE, LARGE, LARGE, 0]);
        limited.ranks = (0..5).collect();
        limited.requested = ids([4]).to_vec();
        limited.options = common::options(3, Caller::Waits);
        let door = Door::default();
        let waits = door.clone();
        let run = limited.prepare(&memory, move |task| {
            if task == id(1) {
                waits.wait();
            }
            Ok(())
        });
        let mut observer = Slow(door, memory.clone());
        assert!(run.execute_observed(&mut observer, || Ok(())).is_ok());
        assert_eq!(memory.moves(), []);
    });
}
