//! What is kept of a task that has failed.
//!
//! On the error path only, in two steps. While the task still counts as running, so that its
//! inputs are alive, it is described ([`capture`]); where that is asked for, a [`replay`] of it is
//! made as well. When the run has ended with this error, [`tell`] adds who needed the task, and
//! puts it all on the exception. What a `mars.Failure` is and how values are described is said
//! in Python: `mars._failure`.

mod capture;
mod failures;
mod replay;

pub(super) use failures::{FailedCall, Failures};

use super::errors;
use super::runner::PythonRunner;
use crate::executor::Run;
use crate::graph::TaskId;
use crate::python::once::Once;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Names of so many tasks are kept of a chain, and of dependencies.
const NAMES: usize = 64;
/// So many arguments are described.
const ARGUMENTS: usize = 64;

/// Functions of `mars._failure`.
struct PythonSide {
    capture: Py<PyAny>,
    attach: Py<PyAny>,
    keeps_inputs: Py<PyAny>,
}

impl PythonSide {
    fn get(py: Python<'_>) -> PyResult<&'static Self> {
        static PYTHON_SIDE: Once<PythonSide> = Once::new();
        PYTHON_SIDE.get_or_try_init(py, || {
            let module = py.import("mars._failure")?;
            let function = |name: &str| module.getattr(name).map(Bound::unbind);
            Ok(PythonSide {
                capture: function("capture")?,
                attach: function("attach")?,
                keeps_inputs: function("keeps_inputs")?,
            })
        })
    }
}

/// What the setting says of inputs; fails if that makes no sense.
pub(super) fn keeps_inputs(py: Python<'_>) -> PyResult<bool> {
    PythonSide::get(py)?
        .keeps_inputs
        .bind(py)
        .call0()?
        .extract()
}

/// Tells by its exception why a run failed: in a note, and as a `mars.Failure`.
pub(super) fn tell(
    py: Python<'_>,
    run: &Run<PythonRunner>,
    error: &PyErr,
    task: TaskId,
    asked_for_by: &[TaskId],
) {
    let runner = run.runner();
    errors::add_note(py, error, task, asked_for_by, |task| runner.name(py, task));
    // An exception without it is as good as before.
    not_so_well(py, attach(py, run, error, task, asked_for_by));
    // A task that never ends would keep the run, and so inputs, longer than the exception lives.
    runner.failures().clear();
}

/// Passes over an error in what is only told beside that of the task; but not over Ctrl-C, which
/// the main thread meets again when it is back in Python.
fn not_so_well(py: Python<'_>, done: PyResult<()>) {
    if let Err(error) = done
        && error.is_instance_of::<PyKeyboardInterrupt>(py)
    {
        // SAFETY: attached.
        unsafe { ffi::PyErr_SetInterrupt() };
    }
}

fn attach(
    py: Python<'_>,
    run: &Run<PythonRunner>,
    error: &PyErr,
    task: TaskId,
    asked_for_by: &[TaskId],
) -> PyResult<()> {
    let runner = run.runner();
    let captured = match runner.failures().captured(py, task) {
        Some(captured) => captured,
        None => {
            // The task has not raised it itself: there was no room for it or its result.
            runner.capture_without_inputs(py, task)?;
            (runner.failures().captured(py, task))
                .ok_or_else(|| errors::internal("a failure is gone"))?
        }
    };
    let mut chain: Vec<String> = (asked_for_by.iter().take(NAMES))
        .map(|&task| runner.name(py, task))
        .collect();
    if let (Some(&last), true) = (asked_for_by.last(), asked_for_by.len() > NAMES) {
        chain.truncate(NAMES - 2);
        chain.push(format!("({} more)", asked_for_by.len() - NAMES + 1));
        chain.push(runner.name(py, last));
    }
    let (this, outer) = (
        run.record().number.0,
        run.record().outer.map(|outer| outer.0),
    );
    let attach = PythonSide::get(py)?.attach.bind(py);
    attach.call1((
        error.value(py),
        captured,
        PyTuple::new(py, chain)?,
        outer,
        this,
    ))?;
    Ok(())
}
