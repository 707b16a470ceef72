//! Which task to run first: a rank for every task, computed once per graph.

use crate::graph::TaskGraph;

/// A rank for each task, indexed by task: lower runs first. The ranks are a
/// permutation of `0..graph.len()`.
pub fn order(graph: &TaskGraph) -> Vec<u32> {
    (0..graph.len() as u32).rev().collect()
}
