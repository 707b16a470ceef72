//! A runner whose tasks are closures, and which checks what it is promised.

use super::record::{Record, What, thread_number};
use crate::executor::{Later, Ran, Runner};
use crate::graph::{TaskGraph, TaskId};
use std::any::Any;
use std::sync::Arc;

/// Why a task of a [`FakeRunner`] failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FakeError {
    /// The closure said so.
    Failed(TaskId),
    /// The closure panicked.
    Panicked(TaskId),
    /// The caller's poll, or an observer, said so.
    Interrupted,
    /// The disk is full.
    NoRoom,
    /// The asked-for results take so many bytes, more than the limit.
    DoesNotFit(u64),
}

type Body = Box<dyn Fn(TaskId, Later<'_, FakeRunner>) -> Result<Ran, FakeError> + Send + Sync>;

/// Runs a closure for each task and notes in a [`Record`] whether every promise
/// of [`Runner`] is kept: each task once, after its dependencies, none of which
/// was released yet; each release once, of a result that exists.
pub struct FakeRunner {
    record: Arc<Record>,
    body: Body,
    /// How often a task may run: 2 where failed ones are run once more.
    allowed_runs: usize,
}

impl FakeRunner {
    /// A runner for `graph`; the results of `known` are there already.
    pub fn new(
        graph: &TaskGraph,
        known: &[TaskId],
        body: impl Fn(TaskId) -> Result<(), FakeError> + Send + Sync + 'static,
    ) -> Self {
        Self::promising(graph, known, move |task, _| {
            body(task).map(|()| Ran::Finished)
        })
    }

    /// A runner whose closure may promise a result.
    pub fn promising(
        graph: &TaskGraph,
        known: &[TaskId],
        body: impl Fn(TaskId, Later<'_, Self>) -> Result<Ran, FakeError> + Send + Sync + 'static,
    ) -> Self {
        FakeRunner {
            record: Arc::new(Record::new(graph, known)),
            body: Box::new(body),
            allowed_runs: 1,
        }
    }

    /// Lets every task run this often.
    #[must_use]
    pub fn allowing_runs(mut self, runs: usize) -> Self {
        self.allowed_runs = runs;
        self
    }

    /// Puts the result of a promised task where it belongs.
    pub fn deliver(&self, task: TaskId) {
        self.record.delivers(task);
    }

    /// What happened; outlives the runner.
    pub fn record(&self) -> Arc<Record> {
        self.record.clone()
    }
}

impl Runner for FakeRunner {
    type Error = FakeError;
    type Token<'t> = ();

    fn attach<T>(&self, work: impl for<'t> FnOnce(Self::Token<'t>) -> T) -> T {
        work(())
    }

    fn thread(&self, (): ()) -> u64 {
        thread_number()
    }

    fn breathe(&self, (): ()) {
        std::thread::yield_now();
    }

    fn run(&self, (): (), task: TaskId, later: Later<'_, Self>) -> Result<Ran, FakeError> {
        self.record.starts(task, self.allowed_runs);
        let mut ending = self.record.ending(task);
        let result = (self.body)(task, later);
        ending.what = match result {
            Ok(Ran::Finished) => What::Finished,
            Ok(Ran::Promised) => What::Promised,
            Err(_) => What::Failed,
        };
        result
    }

    fn release(&self, (): (), task: TaskId) {
        self.record.releases(task);
    }

    fn panicked(&self, task: TaskId, _payload: Box<dyn Any + Send>) -> FakeError {
        FakeError::Panicked(task)
    }
}

impl Drop for FakeRunner {
    fn drop(&mut self) {
        self.record.runner_is_dropped();
    }
}
