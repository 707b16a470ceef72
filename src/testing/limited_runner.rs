//! A runner whose results take memory, and are counted.

use super::FakeError;
use super::memory::{FakeCell, FakeMemory, FakeResult};
use super::record::{Record, What, thread_number};
use crate::executor::{Later, Ran, Runner};
use crate::graph::{TaskGraph, TaskId};
use crate::memory::EntryId;
use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Body =
    Box<dyn Fn(TaskId, Later<'_, LimitedRunner>, Reading) -> Result<Ran, FakeError> + Send + Sync>;

/// As [`FakeRunner`](super::FakeRunner), under a limit: each task reads what it depends on
/// as long as its closure runs, and leaves a result of a given size in a [`FakeMemory`].
pub struct LimitedRunner {
    graph: TaskGraph,
    record: Arc<Record>,
    memory: Arc<FakeMemory>,
    results: Vec<FakeResult>,
    /// By task. Results of no bytes are not counted.
    cells: Box<[Mutex<Option<Arc<FakeCell>>>]>,
    told: Arc<Mutex<Vec<u64>>>,
    body: Body,
    allowed_runs: usize,
}

/// What a task reads, until this is dropped.
pub struct Reading(Vec<Arc<FakeCell>>);

impl Drop for Reading {
    fn drop(&mut self) {
        for cell in &self.0 {
            cell.is_read();
        }
    }
}

impl LimitedRunner {
    /// A runner for `graph` with a result for each task; `known` are there already.
    pub fn new(
        graph: &TaskGraph,
        memory: &Arc<FakeMemory>,
        results: Vec<FakeResult>,
        known: &[(TaskId, Arc<FakeCell>)],
        body: impl Fn(TaskId) -> Result<(), FakeError> + Send + Sync + 'static,
    ) -> Self {
        Self::promising(graph, memory, results, known, move |task, _, _| {
            body(task).map(|()| Ran::Finished)
        })
    }

    /// A runner whose closure may promise a result. It has to drop the [`Reading`]
    /// before it hands its promise over.
    pub fn promising(
        graph: &TaskGraph,
        memory: &Arc<FakeMemory>,
        results: Vec<FakeResult>,
        known: &[(TaskId, Arc<FakeCell>)],
        body: impl Fn(TaskId, Later<'_, Self>, Reading) -> Result<Ran, FakeError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let cells: Box<[_]> = graph.tasks().map(|_| Mutex::default()).collect();
        for (task, cell) in known {
            *lock(&cells[task.index()]) = Some(cell.clone());
        }
        let known: Vec<_> = known.iter().map(|(task, _)| *task).collect();
        LimitedRunner {
            graph: graph.clone(),
            record: Arc::new(Record::new(graph, &known)),
            memory: memory.clone(),
            results,
            cells,
            told: Arc::default(),
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
        self.keep(task);
        self.record.delivers(task);
    }

    /// What happened; outlives the runner.
    pub fn record(&self) -> Arc<Record> {
        self.record.clone()
    }

    /// What [`Runner::will_not_fit`] was called with; outlives the runner.
    pub fn told(&self) -> Arc<Mutex<Vec<u64>>> {
        self.told.clone()
    }

    fn keep(&self, task: TaskId) {
        let result = &self.results[task.index()];
        if result.total() > 0 {
            let cell = self.memory.keep(task, result.clone());
            *lock(&self.cells[task.index()]) = Some(cell);
        }
    }

    fn cell(&self, task: TaskId) -> Option<Arc<FakeCell>> {
        lock(&self.cells[task.index()]).clone()
    }

    fn take(&self, task: TaskId) -> Option<Arc<FakeCell>> {
        lock(&self.cells[task.index()]).take()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner for LimitedRunner {
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
        let reads = self.graph.dependencies(task).iter();
        let reading = Reading(reads.filter_map(|read| self.cell(*read)).collect());
        for cell in &reading.0 {
            cell.read();
        }
        let result = (self.body)(task, later, reading);
        if result == Ok(Ran::Finished) {
            self.keep(task);
            later.is_counted();
        }
        ending.what = match result {
            Ok(Ran::Finished) => What::Finished,
            Ok(Ran::Promised) => What::Promised,
            Err(_) => What::Failed,
        };
        result
    }

    fn release(&self, (): (), task: TaskId) {
        self.record.releases(task);
        drop(self.take(task));
    }

    fn entry(&self, task: TaskId) -> Option<EntryId> {
        lock(&self.cells[task.index()]).as_ref()?.entry()
    }

    fn will_not_fit(&self, (): (), projected: u64, _limit: u64) {
        lock(&self.told).push(projected);
    }

    fn does_not_fit(&self, bytes: u64, _finished: u64, _count: u64, _limit: u64) -> FakeError {
        FakeError::DoesNotFit(bytes)
    }

    fn panicked(&self, task: TaskId, _payload: Box<dyn Any + Send>) -> FakeError {
        FakeError::Panicked(task)
    }
}

impl Drop for LimitedRunner {
    fn drop(&mut self) {
        for task in self.graph.tasks() {
            drop(self.take(task));
        }
        self.record.runner_is_dropped();
    }
}
