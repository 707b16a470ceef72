//! What goes on now, for progress bars and reports.

use super::memory::Memory;
use super::prefix;
use super::remote::Execution;
use super::runner::PythonRunner;
use crate::events::{self, Doing, Lane, RunNumber, Stamp, Watched};
use crate::executor::Run;
use crate::graph::TaskId;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// Of those that wait for a task so many are named.
const NAMED: usize = 5;

/// Counts the tasks of the computations that begin while it is open.
#[pyclass(frozen, module = "mars._mars")]
pub(super) struct Watch(events::Watch);

#[pymethods]
impl Watch {
    #[new]
    #[pyo3(signature = (execution=None))]
    fn new(execution: Option<&Bound<'_, Execution>>) -> Self {
        Watch(match execution {
            None => events::Watch::from_now_on(),
            Some(execution) => events::Watch::of(execution.get().record()),
        })
    }

    /// How many tasks have finished, how many there are, and how many computations go on.
    fn counts(&self) -> (u64, u64, usize) {
        let counts = self.0.counts();
        (counts.finished, counts.total, counts.live)
    }
}

/// A computation that goes on.
#[pyclass(frozen, get_all, module = "mars._mars")]
pub(super) struct Computation {
    /// 1, 2, 3, … in the order in which they began.
    id: u32,
    /// That in whose task it was begun.
    outer: Option<u32>,
    /// Since it began.
    seconds: f64,
    /// Tasks that have been run.
    finished: usize,
    /// Tasks that have to be run.
    total: usize,
    /// Tasks that may start.
    ready: usize,
    /// At most so many tasks at the same time.
    workers: usize,
    /// It has failed or was cancelled; what runs still runs to its end.
    stopping: bool,
    /// Ready tasks wait for the memory limit.
    holds: bool,
    /// Since a task ended or started last.
    idle_seconds: f64,
    /// The limit that it runs under.
    memory: Option<Memory>,
    /// What runs now.
    running: Vec<Py<RunningTask>>,
}

/// A task that runs now.
#[pyclass(frozen, get_all, module = "mars._mars")]
pub(super) struct RunningTask {
    /// Dask's key; None for an object of mars.remote.
    key: Py<PyAny>,
    /// What errors call it.
    name: String,
    /// What its key begins with, or its function.
    prefix: String,
    /// The number of the thread, as `threading.get_ident` gives it.
    thread: u64,
    /// What the system calls the thread; empty if it has no name.
    worker: String,
    /// Since it started.
    seconds: f64,
    /// The names of some of the tasks that wait for it.
    dependents: Vec<String>,
    /// How many there are.
    dependent_count: usize,
}

/// The computations that go on now, the oldest first.
#[pyfunction]
pub(super) fn computations(py: Python<'_>) -> PyResult<Vec<Py<Computation>>> {
    events::seconds(1); // before anything is looked at: the first call may take a moment
    let mut doing: HashMap<RunNumber, Vec<(Arc<Lane>, Doing)>> = HashMap::new();
    for lane in events::lanes() {
        for what in lane.doing() {
            doing
                .entry(what.run)
                .or_default()
                .push((lane.clone(), what));
        }
    }
    let runs = live();
    let now = Stamp::now();
    (runs.iter())
        .map(|run| {
            let at_work = doing
                .get(&run.record().number)
                .map_or(&[][..], Vec::as_slice);
            Py::new(py, computation(py, run, at_work, now)?)
        })
        .collect()
}

/// The runs of Python tasks that go on.
pub(super) fn live() -> Vec<Arc<Run<PythonRunner>>> {
    let live = events::live();
    live.into_iter()
        .filter_map(|run| run.as_any().downcast().ok())
        .collect()
}

fn computation(
    py: Python<'_>,
    run: &Arc<Run<PythonRunner>>,
    at_work: &[(Arc<Lane>, Doing)],
    now: Stamp,
) -> PyResult<Computation> {
    let (record, standing) = (run.record(), run.standing());
    let last = at_work.iter().map(|(_, doing)| doing.since).max();
    let running = at_work.iter().filter_map(|(lane, doing)| {
        let task = doing.task?;
        let seconds = now.seconds_since(doing.since);
        Some(Py::new(py, running_task(py, run, task, lane, seconds)))
    });
    Ok(Computation {
        id: record.number.0,
        outer: record.outer.map(|outer| outer.0),
        seconds: now.seconds_since(record.begun),
        finished: standing.finished,
        total: record.total,
        ready: standing.ready,
        workers: record.limit,
        stopping: standing.stopping,
        holds: standing.holds,
        idle_seconds: now.seconds_since(record.last_end().max(last.unwrap_or_default())),
        memory: run.runner().memory().cloned(),
        running: running.collect::<PyResult<_>>()?,
    })
}

fn running_task(
    py: Python<'_>,
    run: &Run<PythonRunner>,
    task: TaskId,
    lane: &Lane,
    seconds: f64,
) -> RunningTask {
    let runner = run.runner();
    let key = runner.keys()[task.index()].clone_ref(py);
    let function = runner.remote().and_then(|remote| {
        let object = remote.object(py, task)?;
        object.get().function_name(py)
    });
    let (dependents, dependent_count) = run.dependents(task, NAMED);
    RunningTask {
        name: runner.name(py, task),
        prefix: match function {
            Some(function) => function,
            None => prefix::prefix(key.bind(py)),
        },
        key,
        thread: lane.thread,
        worker: lane.name.clone(),
        seconds,
        dependents: dependents
            .into_iter()
            .map(|task| runner.name(py, task))
            .collect(),
        dependent_count,
    }
}
