//! A runner whose tasks are closures, and which checks what it is promised.

use crate::executor::Runner;
use crate::graph::{TaskGraph, TaskId};
use std::any::Any;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

/// Why a task of a [`FakeRunner`] failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FakeError {
    /// The closure said so.
    Failed(TaskId),
    /// The closure panicked.
    Panicked(TaskId),
    /// The caller's poll said so.
    Interrupted,
}

const ABSENT: u8 = 0;
const PRESENT: u8 = 1;
const RELEASED: u8 = 2;

type Body = Box<dyn Fn(TaskId) -> Result<(), FakeError> + Send + Sync>;

/// Runs a closure for each task and checks that every promise of
/// [`Runner`] is kept: each task once, after its dependencies, which were not
/// released yet; each release once, of a result that exists.
pub struct FakeRunner {
    graph: TaskGraph,
    body: Body,
    results: Vec<AtomicU8>,
    runs: Vec<AtomicU32>,
    live: AtomicUsize,
    peak: AtomicUsize,
    /// How often a task may run: 2 where failed ones are run once more.
    allowed_runs: u32,
}

impl FakeRunner {
    /// A runner for `graph`; the results of `known` are there already.
    pub fn new(
        graph: &TaskGraph,
        known: &[TaskId],
        body: impl Fn(TaskId) -> Result<(), FakeError> + Send + Sync + 'static,
    ) -> Self {
        let results: Vec<_> = graph.tasks().map(|_| AtomicU8::new(ABSENT)).collect();
        for task in known {
            results[task.index()].store(PRESENT, Ordering::Relaxed);
        }
        FakeRunner {
            runs: graph.tasks().map(|_| AtomicU32::new(0)).collect(),
            graph: graph.clone(),
            body: Box::new(body),
            results,
            live: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            allowed_runs: 1,
        }
    }

    /// Lets every task run this often.
    #[must_use]
    pub fn allowing_runs(mut self, runs: u32) -> Self {
        self.allowed_runs = runs;
        self
    }

    /// How often `task` ran.
    pub fn runs(&self, task: TaskId) -> u32 {
        self.runs[task.index()].load(Ordering::SeqCst)
    }

    /// Whether the result of `task` is there.
    pub fn has_result(&self, task: TaskId) -> bool {
        self.results[task.index()].load(Ordering::SeqCst) == PRESENT
    }

    /// Whether the result of `task` was released.
    pub fn was_released(&self, task: TaskId) -> bool {
        self.results[task.index()].load(Ordering::SeqCst) == RELEASED
    }

    /// The most results of tasks that were there at the same time.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::SeqCst)
    }
}

impl Runner for FakeRunner {
    type Error = FakeError;
    type Token<'t> = ();

    fn attach<T>(&self, work: impl for<'t> FnOnce(Self::Token<'t>) -> T) -> T {
        work(())
    }

    fn thread(&self, (): ()) -> u64 {
        use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
        BuildHasherDefault::<DefaultHasher>::default().hash_one(std::thread::current().id())
    }

    fn breathe(&self, (): ()) {
        std::thread::yield_now();
    }

    fn run(&self, (): (), task: TaskId) -> Result<(), FakeError> {
        let runs = self.runs[task.index()].fetch_add(1, Ordering::SeqCst) + 1;
        assert!(runs <= self.allowed_runs, "{task:?} ran {runs} times");
        for &dependency in self.graph.dependencies(task) {
            assert!(
                self.has_result(dependency),
                "{task:?} ran without the result of {dependency:?}"
            );
        }
        (self.body)(task)?;
        for &dependency in self.graph.dependencies(task) {
            assert!(
                self.has_result(dependency),
                "the result of {dependency:?} went while {task:?} ran"
            );
        }
        self.results[task.index()].store(PRESENT, Ordering::SeqCst);
        let live = self.live.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(live, Ordering::SeqCst);
        Ok(())
    }

    fn release(&self, (): (), task: TaskId) {
        let was = self.results[task.index()].swap(RELEASED, Ordering::SeqCst);
        assert_eq!(was, PRESENT, "{task:?} was released without a result");
        self.live.fetch_sub(1, Ordering::SeqCst);
    }

    fn panicked(&self, task: TaskId, _payload: Box<dyn Any + Send>) -> FakeError {
        FakeError::Panicked(task)
    }
}
