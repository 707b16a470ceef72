//! Builds a [`TaskGraph`] row by row; a task may name tasks not yet added.

use super::cycle::find_cycle;
use super::{GraphError, Rows, TaskGraph, TaskId};

/// Collects the dependencies of one task after another.
///
/// Rows are added in task order. A row may refer to a later task (that is how
/// a graph looks when it is walked from its outputs), as long as that task is
/// added before [`GraphBuilder::finish`].
#[derive(Debug)]
pub struct GraphBuilder {
    starts: Vec<u32>,
    items: Vec<TaskId>,
}

impl Default for GraphBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl GraphBuilder {
    /// A builder without tasks.
    pub fn new() -> Self {
        GraphBuilder {
            starts: vec![0],
            items: Vec::new(),
        }
    }

    /// How many tasks were added so far.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether no task was added yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the next task; `dependencies` may repeat, the row keeps each once.
    pub fn push(&mut self, dependencies: &[TaskId]) -> Result<TaskId, GraphError> {
        let task = self.len();
        if task + 1 > TaskId::MAX_TASKS {
            return Err(GraphError::TooLarge);
        }
        let start = self.items.len();
        self.items.extend_from_slice(dependencies);
        let row = &mut self.items[start..];
        if row.len() > 1 && !row.is_sorted_by(|a, b| a < b) {
            row.sort_unstable();
            let mut kept = start + 1;
            for i in start + 1..self.items.len() {
                if self.items[i] != self.items[kept - 1] {
                    self.items[kept] = self.items[i];
                    kept += 1;
                }
            }
            self.items.truncate(kept);
        }
        self.starts
            .push(u32::try_from(self.items.len()).map_err(|_| GraphError::TooLarge)?);
        Ok(TaskId::new(task))
    }

    /// The dependencies of a task already added.
    pub fn dependencies(&self, task: TaskId) -> &[TaskId] {
        let i = task.index();
        &self.items[self.starts[i] as usize..self.starts[i + 1] as usize]
    }

    /// Builds the table of dependents and checks that there is no cycle.
    ///
    /// # Panics
    ///
    /// If a row refers to a task that was never added: that is a mistake of the
    /// calling code, not of the user's graph.
    pub fn finish(mut self) -> Result<TaskGraph, GraphError> {
        let n = self.len();
        self.starts.shrink_to_fit();
        self.items.shrink_to_fit();
        // Counting sort of the edges by their dependency. `starts` is shifted
        // by one while filling, so that it ends up as the row starts.
        let mut starts = vec![0u32; n + 1];
        for dependency in &self.items {
            assert!(dependency.index() < n, "{dependency:?} was never added");
            starts[dependency.index() + 1] += 1;
        }
        for i in 0..n {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut items = vec![TaskId::new(0); self.items.len()];
        for task in 0..n {
            let row = self.starts[task] as usize..self.starts[task + 1] as usize;
            for dependency in &self.items[row] {
                let slot = &mut next[dependency.index()];
                items[*slot as usize] = TaskId::new(task);
                *slot += 1;
            }
        }
        let graph = TaskGraph {
            dependencies: Rows {
                starts: self.starts,
                items: self.items,
            },
            dependents: Rows { starts, items },
        };
        match find_cycle(&graph) {
            Some(cycle) => Err(GraphError::Cycle(cycle)),
            None => Ok(graph),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(i: usize) -> TaskId {
        TaskId::new(i)
    }

    #[test]
    fn rows_keep_each_dependency_once() {
        let mut b = GraphBuilder::new();
        b.push(&[id(2), id(1), id(2), id(1)]).unwrap();
        b.push(&[]).unwrap();
        b.push(&[id(1), id(1)]).unwrap();
        let g = b.finish().unwrap();
        assert_eq!(g.dependencies(id(0)), [id(1), id(2)]);
        assert_eq!(g.dependencies(id(2)), [id(1)]);
        assert_eq!(g.dependents(id(1)), [id(0), id(2)]);
        assert_eq!(g.dependents(id(2)), [id(0)]);
        assert!(g.dependents(id(0)).is_empty());
    }

    #[test]
    fn empty_graph() {
        let g = GraphBuilder::new().finish().unwrap();
        assert!(g.is_empty());
        assert_eq!(g.tasks().len(), 0);
    }

    #[test]
    fn a_task_that_needs_itself_is_a_cycle() {
        let mut b = GraphBuilder::new();
        b.push(&[id(0)]).unwrap();
        assert_eq!(b.finish().unwrap_err(), GraphError::Cycle(vec![id(0)]));
    }

    #[test]
    fn a_cycle_is_reported_in_dependency_order() {
        // 0 -> 1 -> 2 -> 3 -> 1
        let mut b = GraphBuilder::new();
        for deps in [&[id(1)][..], &[id(2)], &[id(3)], &[id(1)]] {
            b.push(deps).unwrap();
        }
        let Err(GraphError::Cycle(cycle)) = b.finish() else {
            panic!("expected a cycle")
        };
        assert_eq!(cycle.len(), 3);
        let g = [vec![1], vec![2], vec![3], vec![1]];
        for (i, task) in cycle.iter().enumerate() {
            let next = cycle[(i + 1) % cycle.len()];
            assert!(g[task.index()].contains(&next.index()));
        }
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let n = 1_000_000;
        let mut b = GraphBuilder::new();
        for i in 0..n {
            let deps = if i + 1 < n { vec![id(i + 1)] } else { vec![] };
            b.push(&deps).unwrap();
        }
        assert_eq!(b.finish().unwrap().len(), n);
    }
}
