//! Which task to run first: a rank for every task, computed once per graph.

mod labels;
mod walk;

use crate::graph::{TaskGraph, TaskId};

/// What is known of a graph beside its edges.
pub struct Hints<K, R> {
    /// Whether the result exists already.
    pub known: K,
    /// Whether the result is held to the end.
    pub requested: R,
}

/// A rank for each task, indexed by task: lower runs first. The ranks are a
/// permutation of `0..graph.len()`.
pub fn order(graph: &TaskGraph) -> Vec<u32> {
    order_with(
        graph,
        &Hints {
            known: |_| false,
            requested: |_| false,
        },
    )
}

/// Like [`order`], knowing which results exist and which are held.
pub fn order_with<K: Fn(TaskId) -> bool, R: Fn(TaskId) -> bool>(
    graph: &TaskGraph,
    hints: &Hints<K, R>,
) -> Vec<u32> {
    let labels = labels::labels(graph, &hints.known);
    let mut best: Option<walk::Walk> = None;
    for (child, target) in [(0, 3), (4, 0)] {
        let mut walk = walk::Walk::new(
            graph,
            walk::Plan { child, target },
            &hints.known,
            &hints.requested,
        );
        walk.go(&labels);
        if best
            .as_ref()
            .is_none_or(|b| (walk.peak, walk.area) < (b.peak, b.area))
        {
            best = Some(walk);
        }
    }
    let Some(best) = best else { return Vec::new() };
    let mut rank = vec![0; graph.len()];
    for (i, t) in best.sequence.iter().enumerate() {
        rank[t.index()] = i as u32;
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphBuilder;

    #[test]
    fn ranks_are_a_permutation_that_respects_dependencies() {
        let mut b = GraphBuilder::new();
        for i in 0..50usize {
            let row: Vec<_> = (0..i)
                .filter(|j| (i * 7 + j * 3) % 5 == 0)
                .map(TaskId::new)
                .collect();
            b.push(&row).unwrap();
        }
        let graph = b.finish().unwrap();
        let rank = order(&graph);
        let mut sorted = rank.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().enumerate().all(|(i, &r)| i as u32 == r));
        for t in graph.tasks() {
            for d in graph.dependencies(t) {
                assert!(rank[d.index()] < rank[t.index()]);
            }
        }
    }
}
