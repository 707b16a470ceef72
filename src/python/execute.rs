//! The scheduler call: parse, order, run, gather.

use super::capsule;
use super::errors;
use super::groups::{self, groups_of};
use super::memory::{Limited, Memory};
use super::observer::PythonObserver;
use super::parse::{self, Parsed};
use super::profile;
use super::remote::{self, Objects, Remote, WaitedBy};
use super::results::Wanted;
use super::runner::PythonRunner;
use super::threads::{self, Inside};
use super::tracing::Tracing;
use crate::executor::{Caller, Ended, Options, Run, in_task, nesting};
use crate::graph::{TaskGraph, TaskId};
use crate::memory::{Admission, Groups};
use crate::order::{Hints, order_with};
use crate::scheduler::Scheduler;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;

/// Computes `keys` of the graph `dsk`.
///
/// At most `limit` tasks run at the same time. On the main thread the caller
/// waits, open to signals; elsewhere it helps to run its own tasks. `observer`,
/// if not None, is told of every task: see `mars.contrib.dask._callbacks`. `memory` is
/// the limit under which it runs.
#[pyfunction]
#[pyo3(signature = (dsk, keys, limit, on_main_thread, rerun_exceptions_locally, observer=None, memory=None))]
#[expect(
    clippy::too_many_arguments,
    reason = "the keywords of a Python function"
)]
pub(super) fn execute<'py>(
    py: Python<'py>,
    dsk: &Bound<'py, PyDict>,
    keys: &Bound<'py, PyAny>,
    limit: usize,
    on_main_thread: bool,
    rerun_exceptions_locally: bool,
    observer: Option<Bound<'py, PyAny>>,
    memory: Option<Memory>,
) -> PyResult<Bound<'py, PyAny>> {
    let inside = Inside::enter(py)?;
    let mut wanted = Wanted::new(keys)?;
    let options = options_for(limit, on_main_thread, rerun_exceptions_locally);
    let run = prepare(py, dsk, &mut wanted, observer.is_some(), options, memory)?;
    // Signals are for the main thread, also where it helps in a nested run.
    let poll = || match on_main_thread {
        true => Python::attach(|py| py.check_signals()),
        false => Ok(()),
    };
    let ended = match observer {
        None => inside.outside(py, || {
            let ended = run.execute(poll);
            run.await_leavers();
            ended
        }),
        Some(observer) => {
            let mut observer = PythonObserver::begin(&run, observer)?;
            inside.outside(py, || {
                let ended = run.execute_observed(&mut observer, poll);
                run.await_leavers();
                ended
            })
        }
    };
    if let Some(remote) = run.runner().remote() {
        remote.end(py);
    }
    match ended {
        Ok(()) => wanted.gather(py, |task| run.runner().get(py, task)),
        Err(Ended::Interrupted(error)) => Err(error),
        Err(Ended::Cancelled) => Err(PyRuntimeError::new_err(
            "the computation was cancelled: the task that made it belongs to one that has ended",
        )),
        Err(Ended::Failed {
            task,
            error,
            asked_for_by,
        }) => {
            capsule::tell(py, &run, &error, task, &asked_for_by);
            Err(error)
        }
    }
}

pub(super) fn options_for(limit: usize, on_main_thread: bool, rerun_on_caller: bool) -> Options {
    let exiting = threads::is_exiting();
    Options {
        // At exit the workers are gone, and the caller is on its own.
        limit: if exiting { 1 } else { limit.max(1) },
        caller: if on_main_thread && !exiting && !in_task() {
            Caller::Waits
        } else {
            Caller::Helps
        },
        rerun_on_caller,
    }
}

/// Parses and orders the graph.
fn prepare<'py>(
    py: Python<'py>,
    dsk: &Bound<'py, PyDict>,
    wanted: &mut Wanted<'py>,
    is_observed: bool,
    options: Options,
    memory: Option<Memory>,
) -> PyResult<Arc<Run<PythonRunner>>> {
    let mut objects = Objects::new(None, 0);
    if is_observed {
        objects = objects.apart();
    }
    let parsed = parse::parse(py, dsk, objects, |keys, _| wanted.number(keys))?;
    run_of(
        py,
        parsed,
        Held::ForCaller,
        remote::waiting(),
        options,
        memory,
    )
}

/// A run of what was parsed, in a copy of the caller's context. `waited_by` are the
/// objects that wait for it; `memory` is the limit under which it runs.
pub(super) fn run_of(
    py: Python<'_>,
    parsed: Parsed,
    held: Held,
    waited_by: WaitedBy,
    options: Options,
    memory: Option<Memory>,
) -> PyResult<Arc<Run<PythonRunner>>> {
    let keeps_inputs = capsule::keeps_inputs(py)?;
    let (scheduler, parsed) = scheduler_for(py, parsed, held)?;
    // SAFETY: attached; returns a new reference or null with an exception set.
    let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? };
    let tracing = Tracing::current(py)?;
    let remote = (parsed.objects)
        .map(|pending| Remote::new(py, pending, waited_by, options.limit))
        .transpose()?;
    let groups = match memory {
        Some(_) => groups_of(py, &parsed.keys, remote.as_ref()),
        None => Groups::default(),
    };
    let limited = memory.map(|memory| Limited::new(memory, parsed.keys.len()));
    let runner = PythonRunner::new(
        parsed.programs,
        parsed.keys,
        context.unbind(),
        tracing,
        remote,
        limited,
        keeps_inputs,
    );
    let mut known = Vec::new();
    let mut lent = match runner.memory() {
        Some(_) => runner.owners_of_constants(py)?,
        None => Vec::new(),
    };
    for (task, kept) in parsed.known {
        if runner.memory().is_some() {
            lent.extend(kept.owners(py)?);
        }
        runner.keep(py, task, kept)?;
        known.extend(runner.entry_of(task).map(|entry| (task, entry)));
    }
    let run = match runner.memory() {
        None => Run::new(scheduler, runner, options),
        Some(memory) => {
            let requested = match held {
                Held::ForCaller => groups::parts(scheduler.graph(), &groups, &parsed.requested),
                Held::ByObjects => Vec::new(),
            };
            let admission = Admission::new(
                memory.account().clone(),
                &scheduler,
                nesting(),
                groups,
                &known,
                lent,
                &requested,
            );
            Run::limited(scheduler, admission, runner, options)
        }
    };
    if let Some(remote) = run.runner().remote() {
        remote.store().adopt(&run);
    }
    if crate::events::is_on() {
        profile::describe(py, &run);
    }
    Ok(run)
}

/// Who keeps the asked-for results.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// The run, until the caller takes them.
    ForCaller,
    /// The objects that they are the values of.
    ByObjects,
}

/// Orders the graph; without the interpreter lock, which may take a while to be had again.
fn scheduler_for(py: Python<'_>, mut parsed: Parsed, held: Held) -> PyResult<(Scheduler, Parsed)> {
    let builder = std::mem::take(&mut parsed.graph);
    let known: Vec<_> = parsed.known.iter().map(|(task, _)| *task).collect();
    let requested = &parsed.requested;
    let inside = Inside::enter(py)?;
    let scheduler = inside.outside(py, || {
        let graph = builder.finish()?;
        let rank = ranks(&graph, &known, requested);
        let held = match held {
            Held::ForCaller => requested.as_slice(),
            Held::ByObjects => &[],
        };
        Ok(Scheduler::new(graph, rank, &known, held))
    });
    let scheduler = scheduler.map_err(|error| errors::graph(py, error, &parsed.keys))?;
    Ok((scheduler, parsed))
}

/// The rank that the engine gives to each key that `keys` need: lower first.
#[pyfunction]
pub(super) fn order<'py>(
    py: Python<'py>,
    dsk: &Bound<'py, PyDict>,
    keys: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let mut wanted = Wanted::new(keys)?;
    let parsed = parse::parse(py, dsk, Objects::new(None, 0), |keys, _| {
        wanted.number(keys)
    })?;
    let graph = (parsed.graph.finish()).map_err(|error| errors::graph(py, error, &parsed.keys))?;
    let known: Vec<_> = parsed.known.iter().map(|(task, _)| *task).collect();
    let by_key = PyDict::new(py);
    let ranks = ranks(&graph, &known, &parsed.requested);
    for (key, rank) in parsed.keys.iter().zip(ranks) {
        by_key.set_item(key, rank)?;
    }
    Ok(by_key)
}

fn ranks(graph: &TaskGraph, known: &[TaskId], requested: &[TaskId]) -> Vec<u32> {
    order_with(graph, Hints { known, requested })
}
