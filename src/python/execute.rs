//! The scheduler call: parse, order, run, gather.

use super::errors;
use super::parse::{self, Parsed};
use super::results::Wanted;
use super::runner::PythonRunner;
use crate::executor::{Caller, Ended, Options, Run, in_task};
use crate::order as ordering;
use crate::scheduler::Scheduler;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Computes `keys` of the graph `dsk`.
///
/// At most `limit` tasks run at the same time. On the main thread the caller
/// waits, open to signals; elsewhere it helps to run its own tasks.
#[pyfunction]
#[pyo3(signature = (dsk, keys, limit, on_main_thread, rerun_exceptions_locally))]
pub(super) fn execute<'py>(
    py: Python<'py>,
    dsk: &Bound<'py, PyDict>,
    keys: &Bound<'py, PyAny>,
    limit: usize,
    on_main_thread: bool,
    rerun_exceptions_locally: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let mut wanted = Wanted::new(keys)?;
    let Parsed {
        graph,
        programs,
        keys,
        known,
        requested,
    } = parse::parse(py, dsk, &mut wanted)?;
    // SAFETY: attached.
    let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? };
    let known_tasks: Vec<_> = known.iter().map(|(task, _)| *task).collect();
    let runner = PythonRunner::new(programs, keys, known, context.unbind());
    let options = Options {
        limit: limit.max(1),
        caller: if on_main_thread && !in_task() {
            Caller::Waits
        } else {
            Caller::Helps
        },
        rerun_on_caller: rerun_exceptions_locally,
    };
    let (run, ended) = py
        .detach(|| {
            let graph = match graph.finish() {
                Ok(graph) => graph,
                Err(error) => return Err((error, runner)),
            };
            let rank = ordering::order(&graph);
            let scheduler = Scheduler::new(graph, rank, &known_tasks, &requested);
            let run = Run::new(scheduler, runner, options);
            let ended = run.execute(|| Python::attach(|py| py.check_signals()));
            Ok((run, ended))
        })
        .map_err(|(error, runner)| errors::graph(py, error, runner.keys()))?;
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
            errors::add_note(py, &error, task, &asked_for_by, run.runner().keys());
            Err(error)
        }
    }
}

/// The rank that the engine gives to each key that `keys` need: lower first.
#[pyfunction]
pub(super) fn order<'py>(
    py: Python<'py>,
    dsk: &Bound<'py, PyDict>,
    keys: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let mut wanted = Wanted::new(keys)?;
    let parsed = parse::parse(py, dsk, &mut wanted)?;
    let graph = (parsed.graph.finish()).map_err(|error| errors::graph(py, error, &parsed.keys))?;
    let ranks = PyDict::new(py);
    for (key, rank) in parsed.keys.iter().zip(ordering::order(&graph)) {
        ranks.set_item(key, rank)?;
    }
    Ok(ranks)
}
