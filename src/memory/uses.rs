//! When the result of a task is needed next.

use crate::graph::{TaskGraph, TaskId};

/// For each task, the ranks of its dependents in ascending order, and how many of them
/// have been used up.
///
/// Tasks run nearly in the order of their ranks, so that looking for the next use goes
/// forward over those that have finished, each edge once.
pub(super) struct Uses {
    ranks: Vec<u32>,
    /// `starts[t]..starts[t + 1]` are the uses of task `t`.
    starts: Vec<u32>,
    next: Vec<u32>,
}

impl Uses {
    pub(super) fn new(graph: &TaskGraph, rank: &[u32]) -> Self {
        let mut ranks = Vec::new();
        let mut starts = Vec::with_capacity(graph.len() + 1);
        starts.push(0);
        for task in graph.tasks() {
            let begin = ranks.len();
            ranks.extend(graph.dependents(task).iter().map(|d| rank[d.index()]));
            ranks[begin..].sort_unstable();
            starts.push(ranks.len() as u32);
        }
        let next = starts[..graph.len()].to_vec();
        Uses {
            ranks,
            starts,
            next,
        }
    }

    /// The rank of the first dependent of `task` that has not finished.
    pub(super) fn next(&mut self, task: TaskId, has_finished: impl Fn(u32) -> bool) -> Option<u32> {
        let i = task.index();
        let end = self.starts[i + 1];
        while self.next[i] < end && has_finished(self.ranks[self.next[i] as usize]) {
            self.next[i] += 1;
        }
        (self.next[i] < end).then(|| self.ranks[self.next[i] as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphBuilder;

    #[test]
    fn finished_uses_are_passed_over() {
        let mut b = GraphBuilder::new();
        let a = b.push(&[]).unwrap();
        for _ in 0..3 {
            b.push(&[a]).unwrap();
        }
        let mut uses = Uses::new(&b.finish().unwrap(), &[0, 3, 1, 2]);
        assert_eq!(uses.next(a, |_| false), Some(1));
        assert_eq!(uses.next(a, |rank| rank == 1), Some(2));
        assert_eq!(uses.next(a, |rank| rank <= 2), Some(3));
        assert_eq!(uses.next(a, |_| true), None);
    }
}
