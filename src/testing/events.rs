//! Events without runs, for what they cost.

use crate::events::{Kind, RunNumber, RunRecord, mine};
use crate::graph::TaskId;

/// Begins, ends and records so many tasks on the calling thread, as a worker does.
pub fn record_tasks(count: usize) {
    let lane = mine(0);
    let mut visit = lane.visit(RunNumber(1));
    for task in (0..count).map(TaskId::new) {
        visit.start(task);
        let ended = visit.end(task, Kind::Finished);
        visit.record(ended, None);
    }
}

/// Makes the records of so many runs.
pub fn run_records(count: usize) {
    for _ in 0..count {
        std::hint::black_box(RunRecord::new(None, 1, 0, 1));
    }
}
