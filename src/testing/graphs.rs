//! Graphs to run: from rows written beside a drawing, and shapes of any size.

use crate::graph::{GraphBuilder, TaskGraph, TaskId};

/// The graph in which task `i` depends on the tasks of row `i`.
///
/// # Panics
///
/// If the rows have a cycle, or name a task that has no row.
pub fn graph<Row: AsRef<[usize]>>(rows: impl IntoIterator<Item = Row>) -> TaskGraph {
    let mut builder = GraphBuilder::new();
    for row in rows {
        let row: Vec<_> = row.as_ref().iter().copied().map(TaskId::new).collect();
        if let Err(error) = builder.push(&row) {
            panic!("{error}");
        }
    }
    match builder.finish() {
        Ok(graph) => graph,
        Err(error) => panic!("{error}"),
    }
}

/// Two results that meet, one of them shared.
///
/// ```text
/// 0   1
///  \ / \
///   2   3
///    \ /
///     4
/// ```
pub fn diamonds() -> TaskGraph {
    graph([&[][..], &[], &[0, 1], &[1], &[2, 3]])
}

/// Tasks that have nothing to do with each other: `0  1  2  …`.
pub fn flat(tasks: usize) -> TaskGraph {
    graph((0..tasks).map(|_| []))
}

/// Each task needs the one before: `0 → 1 → 2 → …`.
pub fn chain(tasks: usize) -> TaskGraph {
    graph((0..tasks).map(|i| if i == 0 { vec![] } else { vec![i - 1] }))
}

/// A reduction of pairs; task 0 is the root, the later half are leaves.
///
/// ```text
/// 3 4 5 6
///  \| |/
///   1 2
///    \|
///     0
/// ```
pub fn tree(tasks: usize) -> TaskGraph {
    graph((0..tasks).map(|i| {
        let children = 2 * i + 1..=2 * i + 2;
        children.filter(|child| *child < tasks).collect::<Vec<_>>()
    }))
}

/// Layers of `width` tasks; each task needs `fan_in` of the layer before,
/// chosen by `seed`. The same arguments give the same graph.
pub fn layered(tasks: usize, width: usize, fan_in: usize, seed: u64) -> TaskGraph {
    let mut random = SplitMix(seed);
    graph((0..tasks).map(|i| {
        let layer = i / width;
        let picks = if layer == 0 { 0 } else { fan_in };
        (0..picks)
            .map(|_| (layer - 1) * width + random.below(width))
            .collect::<Vec<_>>()
    }))
}

/// The tasks that nothing depends on.
pub fn outputs(graph: &TaskGraph) -> Vec<TaskId> {
    (graph.tasks())
        .filter(|task| graph.dependents(*task).is_empty())
        .collect()
}

/// Numbers that look random and are the same every time.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(i: usize) -> TaskId {
        TaskId::new(i)
    }

    #[test]
    fn shapes_are_what_their_drawings_show() {
        assert_eq!(diamonds().dependents(id(1)), [id(2), id(3)]);
        assert_eq!(outputs(&flat(3)).len(), 3);
        assert_eq!(chain(3).dependencies(id(2)), [id(1)]);
        assert_eq!(tree(7).dependencies(id(1)), [id(3), id(4)]);
        assert_eq!(outputs(&tree(7)), [id(0)]);
    }

    #[test]
    fn a_layer_needs_only_the_one_before() {
        let graph = layered(50, 10, 3, 7);
        for task in graph.tasks() {
            for dependency in graph.dependencies(task) {
                assert_eq!(dependency.index() / 10 + 1, task.index() / 10);
            }
        }
        let again = layered(50, 10, 3, 7);
        assert!(
            graph
                .tasks()
                .all(|t| graph.dependencies(t) == again.dependencies(t))
        );
    }
}
