//! Runs under a memory limit, which share an account.

use super::observer::Silent;
use mars::executor::{Caller, Ended, Later, Options, Ran, Run, nesting};
use mars::graph::{TaskGraph, TaskId};
use mars::memory::{Admission, EntryId, Groups};
use mars::order::order;
use mars::scheduler::Scheduler;
use mars::testing::{FakeCell, FakeError, FakeMemory, FakeResult, LimitedRunner, Reading, Record};
use std::sync::Arc;

/// A graph with a size for each result, to be run with one worker unless said otherwise.
#[derive(Clone)]
pub struct Limited {
    pub graph: TaskGraph,
    pub requested: Vec<TaskId>,
    pub known: Vec<(TaskId, Arc<FakeCell>)>,
    pub results: Vec<FakeResult>,
    /// The prefix of each task's key.
    pub prefixes: Vec<String>,
    pub ranks: Vec<u32>,
    pub options: Options,
    pub observed: bool,
}

impl Limited {
    /// Task `i` has a result of `sizes[i]` bytes; tasks of one size have one prefix.
    pub fn new(graph: TaskGraph, sizes: &[u64]) -> Self {
        assert_eq!(graph.len(), sizes.len());
        Limited {
            ranks: order(&graph),
            graph,
            requested: Vec::new(),
            known: Vec::new(),
            results: sizes.iter().map(|bytes| FakeResult::of(*bytes)).collect(),
            prefixes: sizes.iter().map(|bytes| format!("size-{bytes}")).collect(),
            options: super::options(1, Caller::Helps),
            observed: false,
        }
    }

    pub fn groups(&self) -> Groups {
        let mut prefixes: Vec<String> = Vec::new();
        let of = self.prefixes.iter().map(|prefix| {
            let known = prefixes.iter().position(|other| other == prefix);
            known.unwrap_or_else(|| {
                prefixes.push(prefix.clone());
                prefixes.len() - 1
            }) as u32
        });
        Groups {
            of: of.collect(),
            prefixes,
        }
    }

    /// A run that has not begun.
    pub fn prepare_promising(
        &self,
        memory: &Arc<FakeMemory>,
        body: impl Fn(TaskId, Later<'_, LimitedRunner>, Reading) -> Result<Ran, FakeError>
        + Send
        + Sync
        + 'static,
    ) -> Arc<Run<LimitedRunner>> {
        let known: Vec<_> = self.known.iter().map(|(task, _)| *task).collect();
        let scheduler = Scheduler::new(
            self.graph.clone(),
            self.ranks.clone(),
            &known,
            &self.requested,
        );
        let entries = self.known.iter();
        let entries: Vec<(TaskId, EntryId)> = entries
            .filter_map(|(task, cell)| Some((*task, cell.entry()?)))
            .collect();
        let admission = Admission::new(
            memory.account().clone(),
            &scheduler,
            nesting(),
            self.groups(),
            &entries,
            Vec::new(),
            &self.requested,
        );
        let runner =
            LimitedRunner::promising(&self.graph, memory, self.results.clone(), &self.known, body);
        Run::limited(scheduler, admission, runner.allowing_runs(9), self.options)
    }

    pub fn prepare(
        &self,
        memory: &Arc<FakeMemory>,
        body: impl Fn(TaskId) -> Result<(), FakeError> + Send + Sync + 'static,
    ) -> Arc<Run<LimitedRunner>> {
        self.prepare_promising(memory, move |task, _, _| body(task).map(|()| Ran::Finished))
    }

    pub fn execute(&self, run: &Arc<Run<LimitedRunner>>) -> Result<(), Ended<FakeError>> {
        if self.observed {
            run.execute_observed(&mut Silent, || Ok(()))
        } else {
            run.execute(|| Ok(()))
        }
    }

    /// Runs every task with `body`, and waits until the last thread has left.
    pub fn run(
        &self,
        memory: &Arc<FakeMemory>,
        body: impl Fn(TaskId) -> Result<(), FakeError> + Send + Sync + 'static,
    ) -> (Result<(), Ended<FakeError>>, Arc<Record>) {
        let run = self.prepare(memory, body);
        let record = run.runner().record();
        let result = self.execute(&run);
        drop(run);
        record.wait_until_runner_is_gone();
        record.assert_promises_kept();
        (result, record)
    }
}
