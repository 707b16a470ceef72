//! How much room each task needs, as if the graph were a tree.

use crate::graph::{TaskGraph, TaskId};

/// Labels of all tasks, from their dependencies upward.
pub(super) struct Needs {
    /// The fewest live results with which the task can be reached from nothing:
    /// Sethi and Ullman's register number. Shared results count once for every
    /// use, so this is exact for trees and a hint elsewhere.
    pub room: Vec<u32>,
    /// The number of tasks behind it, shared ones counted once for every use.
    pub size: Vec<u32>,
}

impl Needs {
    pub fn new(graph: &TaskGraph, known: &[bool]) -> Self {
        let n = graph.len();
        let mut room = vec![0u32; n];
        let mut size = vec![0u32; n];
        let mut missing: Vec<u32> = graph
            .tasks()
            .map(|t| graph.dependencies(t).len() as u32)
            .collect();
        let mut ready: Vec<TaskId> = graph.tasks().filter(|t| missing[t.index()] == 0).collect();
        let mut row = Vec::new();
        // A stack, not a queue: neighbours in the graph are then neighbours in
        // time, and mostly in the cache.
        while let Some(task) = ready.pop() {
            let i = task.index();
            if !known[i] {
                (room[i], size[i]) = match graph.dependencies(task) {
                    [] => (1, 1),
                    [one] if room[one.index()] > 0 => {
                        let one = one.index();
                        (room[one].max(2), size[one].saturating_add(1))
                    }
                    many => {
                        row.clear();
                        row.extend(many.iter().map(|d| room[d.index()]).filter(|&r| r > 0));
                        let total = many
                            .iter()
                            .fold(1u32, |sum, d| sum.saturating_add(size[d.index()]));
                        (room_for(&mut row), total)
                    }
                };
            }
            for dependent in graph.dependents(task) {
                let count = &mut missing[dependent.index()];
                *count -= 1;
                if *count == 0 {
                    ready.push(*dependent);
                }
            }
        }
        Needs { room, size }
    }
}

/// The room for a task whose dependencies need `row`, hungriest first: while
/// the `i`th is reached, `i` results are held already.
fn room_for(row: &mut [u32]) -> u32 {
    row.sort_unstable_by(|a, b| b.cmp(a));
    let at_most = row.iter().zip(0u32..).map(|(&r, held)| r + held).max();
    at_most.unwrap_or(0).max(row.len() as u32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphBuilder;

    #[test]
    fn a_binary_tree_needs_one_more_result_with_every_level() {
        let mut b = GraphBuilder::new();
        let mut level: Vec<TaskId> = (0..64).map(|_| b.push(&[]).unwrap()).collect();
        while level.len() > 1 {
            level = level.chunks(2).map(|c| b.push(c).unwrap()).collect();
        }
        let graph = b.finish().unwrap();
        let needs = Needs::new(&graph, &vec![false; graph.len()]);
        // 1 for a leaf, 3 for a pair (two inputs and the result), then one more
        // each time.
        assert_eq!(needs.room[level[0].index()], 8);
        assert_eq!(needs.size[level[0].index()], 127);
    }

    #[test]
    fn known_results_need_nothing() {
        //  k   k
        //   \ /
        //    2
        let mut b = GraphBuilder::new();
        let k = [b.push(&[]).unwrap(), b.push(&[]).unwrap()];
        b.push(&k).unwrap();
        let needs = Needs::new(&b.finish().unwrap(), &[true, true, false]);
        assert_eq!(needs.room, [0, 0, 1]);
        assert_eq!(needs.size, [0, 0, 1]);
    }
}
