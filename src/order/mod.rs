//! Which task to run first: a rank for every task, computed once per graph.
//!
//! What decides the memory of a run is how many results are live at once, so
//! the order is made by playing the run and counting them. Three moves, tried
//! in this order, make one walk through the graph ([`walk`]):
//!
//! 1. **Free**: a ready task that is the last user of an input runs at once. It
//!    adds one result and releases at least one: nothing is won by waiting.
//! 2. **Group** ([`groups`]): tasks *within reach*, which need no further source to
//!    be started, run together if all of them release at least what they add.
//!    One by one none of them pays: of a chunk with three uses, only the last
//!    use releases it, and only the reductions behind them make up for their
//!    results. This is what keeps chunks from piling up until the second and
//!    third reduction come to them.
//! 3. **Forced**: what an output needs, depth first, so that what was begun is
//!    finished before more is started. Of several dependencies the one that
//!    needs most room ([`need`]) goes first, while nothing else is held: Sethi
//!    and Ullman's order, the best there is if the graph is a tree.
//!
//! On graphs that are no trees each rule can be led astray (the best order is
//! NP-hard to find), so four walks with different tastes are made and the one
//! with the lowest peak is taken; of equal ones that with the lowest sum of live
//! results over time. A walk is given up as soon as its peak is higher than the
//! best one's, and where the first is known to be best, it is the only one.
//! Each walk touches every edge a few times; only rows and groups are sorted.
//!
//! Ties go by task number, so the same graph always gets the same ranks. It
//! helps if numbers follow the order in which a person would write the tasks
//! down: neighbours in a row of arguments are mostly neighbours in space.

mod groups;
mod need;
mod walk;

use crate::graph::{TaskGraph, TaskId};
use need::Needs;
use walk::{Dependencies, Outputs, Start, Taste, Walk};

/// What is known of a graph beside its edges.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hints<'a> {
    /// Tasks whose results exist before anything runs: they cost nothing and
    /// keep nothing waiting.
    pub known: &'a [TaskId],
    /// Tasks whose results are held to the end. Those that nothing depends on
    /// are, in any case.
    pub requested: &'a [TaskId],
}

/// A rank for each task, indexed by task: lower runs first. The ranks are a
/// permutation of `0..graph.len()`.
///
/// ```
/// use mars::graph::GraphBuilder;
/// use mars::order::order;
///
/// // 0   2
/// // |   |
/// // 1   3
/// //  \ /
/// //   4
/// let mut builder = GraphBuilder::new();
/// let a = builder.push(&[])?;
/// let b = builder.push(&[a])?;
/// let c = builder.push(&[])?;
/// let d = builder.push(&[c])?;
/// builder.push(&[b, d])?;
/// assert_eq!(order(&builder.finish()?), [0, 1, 2, 3, 4]);
/// # Ok::<(), mars::graph::GraphError>(())
/// ```
pub fn order(graph: &TaskGraph) -> Vec<u32> {
    order_with(graph, Hints::default())
}

/// Like [`order`], told which results exist already and which are held.
pub fn order_with(graph: &TaskGraph, hints: Hints<'_>) -> Vec<u32> {
    let start = Start::new(graph, hints);
    let needs = Needs::new(graph, &start.known);
    let walk = |taste, most| Walk::new(graph, &start, &needs).go(&taste, most);

    let first = Taste {
        outputs: Outputs::LargestFirst,
        dependencies: Dependencies::HungriestFirst,
        groups: None,
    };
    let Some(first) = walk(first, u32::MAX) else {
        unreachable!("no walk has more live results than that")
    };
    let base = ranks(&first.sequence);
    if start.is_forest || first.peak <= start.least_peak {
        return base;
    }
    let mut best = (first.peak, first.area);
    let mut best_sequence = None;
    let tastes = [
        (Outputs::SmallestFirst, Dependencies::Reversed, None),
        (Outputs::InOrder, Dependencies::HungriestFirst, Some(&base)),
        (Outputs::Reversed, Dependencies::InOrder, Some(&base)),
    ];
    for (outputs, dependencies, base) in tastes {
        let taste = Taste {
            outputs,
            dependencies,
            groups: base.map(Vec::as_slice),
        };
        let walked = walk(taste, best.0);
        if let Some(walked) = walked.filter(|w| (w.peak, w.area) < best) {
            best = (walked.peak, walked.area);
            best_sequence = Some(walked.sequence);
        }
    }
    best_sequence.map_or(base, |sequence| ranks(&sequence))
}

/// The place of every task in `sequence`.
fn ranks(sequence: &[TaskId]) -> Vec<u32> {
    let mut ranks = vec![0; sequence.len()];
    for (rank, task) in sequence.iter().enumerate() {
        ranks[task.index()] = rank as u32;
    }
    ranks
}

#[cfg(test)]
mod tests;
