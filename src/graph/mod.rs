//! The graph as the core sees it: dense task numbers and two adjacency tables.
//!
//! A [`TaskGraph`] is immutable once built. Tasks are numbered `0..len` in the
//! order in which they were added; dependencies and dependents are stored in
//! compressed sparse rows, each row without duplicates. Nothing here knows what
//! a task does or which key it had.

mod builder;
mod cycle;

pub use builder::GraphBuilder;

use std::fmt;

/// The number of a task within one graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct TaskId(u32);

impl TaskId {
    /// The largest number of tasks one graph may have. The upper bits of a
    /// word are left free so that a task number fits into a tagged operation.
    pub const MAX_TASKS: usize = 1 << 28;

    /// The id for position `index`.
    ///
    /// The caller keeps `index` below [`TaskId::MAX_TASKS`]; [`GraphBuilder`]
    /// refuses larger graphs before any id beyond it is made.
    #[inline]
    pub fn new(index: usize) -> Self {
        debug_assert!(index < Self::MAX_TASKS);
        TaskId(index as u32)
    }

    /// The position in tables that have one entry a task.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What is wrong with a graph, found before anything runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphError {
    /// The tasks of one cycle: each depends on the next, the last on the first.
    Cycle(Vec<TaskId>),
    /// More than [`TaskId::MAX_TASKS`] tasks, or edges beyond what a table holds.
    TooLarge,
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GraphError::Cycle(tasks) => write!(f, "cycle through {tasks:?}"),
            GraphError::TooLarge => write!(f, "graph too large"),
        }
    }
}

impl std::error::Error for GraphError {}

/// Rows of task numbers, all in one allocation.
#[derive(Debug, Clone, Default)]
struct Rows {
    /// `starts[i]..starts[i + 1]` is row `i` in `items`.
    starts: Vec<u32>,
    items: Vec<TaskId>,
}

impl Rows {
    #[inline]
    fn row(&self, task: TaskId) -> &[TaskId] {
        let i = task.index();
        &self.items[self.starts[i] as usize..self.starts[i + 1] as usize]
    }
}

/// An acyclic graph of tasks.
///
/// ```
/// use mars::graph::GraphBuilder;
///
/// //   0   1
/// //    \ /
/// //     2
/// let mut builder = GraphBuilder::new();
/// let a = builder.push(&[])?;
/// let b = builder.push(&[])?;
/// let c = builder.push(&[a, b])?;
/// let graph = builder.finish()?;
/// assert_eq!(graph.dependencies(c), [a, b]);
/// assert_eq!(graph.dependents(a), [c]);
/// # Ok::<(), mars::graph::GraphError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct TaskGraph {
    dependencies: Rows,
    dependents: Rows,
}

impl TaskGraph {
    /// How many tasks there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.dependencies.starts.len().saturating_sub(1)
    }

    /// Whether there is no task at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All tasks, in the order in which they were added.
    pub fn tasks(&self) -> impl ExactSizeIterator<Item = TaskId> + use<> {
        (0..self.len()).map(TaskId::new)
    }

    /// The tasks whose results `task` needs, each once.
    #[inline]
    pub fn dependencies(&self, task: TaskId) -> &[TaskId] {
        self.dependencies.row(task)
    }

    /// The tasks that need the result of `task`, each once, in ascending order.
    #[inline]
    pub fn dependents(&self, task: TaskId) -> &[TaskId] {
        self.dependents.row(task)
    }
}
