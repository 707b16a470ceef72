//! Counts the holders of every result.

use crate::graph::{TaskGraph, TaskId};

/// For each task, the holders its result still has.
///
/// Holders are the dependents that have not finished, and the caller if it
/// asked for the result. A result without holders is released; it is never
/// held again.
#[derive(Debug)]
pub struct Ledger {
    holders: Vec<u32>,
}

impl Ledger {
    /// The ledger of a run that has not begun: every dependent is a holder.
    pub fn new(graph: &TaskGraph) -> Self {
        Ledger {
            holders: graph
                .tasks()
                .map(|task| graph.dependents(task).len() as u32)
                .collect(),
        }
    }

    /// The caller holds `task`: its result outlives the run.
    pub fn hold(&mut self, task: TaskId) {
        self.holders[task.index()] += 1;
    }

    /// One holder of `task` is done. Says whether it was the last one.
    #[inline]
    pub fn let_go(&mut self, task: TaskId) -> bool {
        let holders = &mut self.holders[task.index()];
        debug_assert!(*holders > 0, "{task:?} has no holder left to let go");
        *holders -= 1;
        *holders == 0
    }

    /// How many holders `task` still has.
    #[inline]
    pub fn holders(&self, task: TaskId) -> u32 {
        self.holders[task.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphBuilder;

    #[test]
    fn the_last_holder_is_told() {
        //   0
        //  / \
        // 1   2
        let mut b = GraphBuilder::new();
        let a = b.push(&[]).unwrap();
        b.push(&[a]).unwrap();
        b.push(&[a]).unwrap();
        let mut ledger = Ledger::new(&b.finish().unwrap());
        assert_eq!(ledger.holders(a), 2);
        assert!(!ledger.let_go(a));
        assert!(ledger.let_go(a));
    }

    #[test]
    fn a_result_that_the_caller_holds_outlives_its_dependents() {
        let mut b = GraphBuilder::new();
        let a = b.push(&[]).unwrap();
        b.push(&[a]).unwrap();
        let mut ledger = Ledger::new(&b.finish().unwrap());
        ledger.hold(a);
        assert!(!ledger.let_go(a));
        assert_eq!(ledger.holders(a), 1);
    }
}
