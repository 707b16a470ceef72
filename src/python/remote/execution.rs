//! Executes objects, at once or in the background.

use super::super::capsule;
use super::super::execute::{Held, options_for, run_of};
use super::super::runner::PythonRunner;
use super::super::threads::Inside;
use super::current;
use super::object::Object;
use super::plan;
use super::store::Store;
use super::waits::{Refused, WaitedBy};
use crate::events::RunRecord;
use crate::executor::{Caller, Ended, Options, Run, in_task};
use pyo3::exceptions::{PyLookupError, PyOverflowError, PyRuntimeError, PyValueError};
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList};
use std::sync::Arc;
use std::time::{Duration, Instant};

import_exception!(concurrent.futures, CancelledError);

/// An execution that goes on in the background.
#[pyclass(frozen, module = "mars._mars")]
pub(crate) struct Execution {
    run: Arc<Run<PythonRunner>>,
    /// Tasks whose results were there before.
    known: usize,
}

/// Options of a run that no caller waits for.
pub(super) fn background(limit: usize) -> Options {
    Options {
        limit: limit.max(1),
        caller: Caller::Waits,
        rerun_on_caller: false,
    }
}

/// A run of what `objects` need and the session does not have yet. `waited_by` are the
/// objects that wait for it.
pub(super) fn prepare<'py>(
    py: Python<'py>,
    objects: &[Bound<'py, Object>],
    store: &Bound<'py, Store>,
    options: Options,
    waited_by: WaitedBy,
) -> PyResult<Arc<Run<PythonRunner>>> {
    if store.get().stopped() {
        return Err(PyValueError::new_err(
            "the session has stopped: execute in another one",
        ));
    }
    let parsed = plan::plan(py, objects, store)?;
    // Nothing is held for the caller: results are kept by the objects.
    run_of(
        py,
        parsed,
        Held::ByObjects,
        waited_by,
        options,
        store.get().memory.clone(),
    )
}

/// Executes `objects` in the session of `store`, at most `limit` tasks at a time.
///
/// Without `on_end` returns when all is done, and raises what went wrong. With it
/// returns an `Execution` at once, and calls ``on_end(error, cancelled)`` at the end.
#[pyfunction]
#[pyo3(signature = (objects, store, limit, on_main_thread, on_end=None))]
pub(crate) fn execute_objects<'py>(
    py: Python<'py>,
    objects: Vec<Bound<'py, Object>>,
    store: &Bound<'py, Store>,
    limit: usize,
    on_main_thread: bool,
    on_end: Option<Py<PyAny>>,
) -> PyResult<Option<Execution>> {
    let inside = Inside::enter(py)?;
    let Some(on_end) = on_end else {
        let options = options_for(limit, on_main_thread, false);
        let run = prepare(py, &objects, store, options, current::waiting())?;
        drop(objects); // what nobody else holds goes when it is not needed any more
        let ended = inside.outside(py, || {
            let ended = run.execute(poll(on_main_thread));
            run.await_leavers();
            ended
        });
        if let Some(remote) = run.runner().remote() {
            remote.end(py);
        }
        return ended.map_err(|ended| error(py, &run, ended)).map(|()| None);
    };
    let run = prepare(py, &objects, store, background(limit), WaitedBy::nobody())?;
    drop(objects);
    let known = run.counts().0;
    let execution = Execution {
        run: run.clone(),
        known,
    };
    inside.outside(py, || {
        run.detach(move |run, ended| {
            Inside::again(|py, inside| {
                if let Some(remote) = run.runner().remote() {
                    remote.end(py);
                }
                let was_cancelled = matches!(ended, Err(Ended::Cancelled));
                let error = ended.err().map(|ended| error(py, run, ended));
                let error = match error {
                    Some(error) => error.into_value(py).into_bound(py).into_any(),
                    None => py.None().into_bound(py),
                };
                let was_cancelled = PyBool::new(py, was_cancelled);
                if let Err(error) = inside.call(py, &on_end, &[&error, was_cancelled.as_any()]) {
                    error.write_unraisable(py, None);
                }
                drop(on_end);
            });
        });
    });
    Ok(Some(execution))
}

/// Signals are for the main thread.
fn poll(on_main_thread: bool) -> impl FnMut() -> PyResult<()> {
    move || match on_main_thread {
        true => Python::attach(|py| py.check_signals()),
        false => Ok(()),
    }
}

/// The exception for a run that did not end well.
pub(super) fn error(py: Python<'_>, run: &Run<PythonRunner>, ended: Ended<PyErr>) -> PyErr {
    match ended {
        Ended::Interrupted(error) => error,
        Ended::Cancelled => cancelled(),
        Ended::Failed {
            task,
            error,
            asked_for_by,
        } => {
            capsule::tell(py, run, &error, task, &asked_for_by);
            error
        }
    }
}

fn refused(why: Refused) -> PyErr {
    PyRuntimeError::new_err(match why {
        Refused::IsPartOfIt => "a task cannot wait for the execution that it is part of",
        Refused::IsWaitedFor => "this execution waits for the task that would wait for it",
    })
}

pub(super) fn cancelled() -> PyErr {
    CancelledError::new_err(
        "the execution was cancelled: by its session, which has stopped, or with the task that made it",
    )
}

impl Execution {
    /// What is known of its run.
    pub(in crate::python) fn record(&self) -> &RunRecord {
        self.run.record()
    }
}

#[pymethods]
impl Execution {
    /// How many tasks have finished, of how many; less those that had before.
    fn counts(&self) -> (usize, usize) {
        let (finished, total) = self.run.counts();
        (finished - self.known, total - self.known)
    }

    /// Starts nothing more.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let inside = Inside::enter(py)?;
        inside.outside(py, || self.run.cancel());
        Ok(())
    }

    /// Waits until it has ended, at most `timeout` seconds; whether it has. A thread
    /// that is not the main one helps to run the tasks, unless there is a timeout.
    ///
    /// Raises `RuntimeError` inside a task of this execution.
    #[pyo3(signature = (on_main_thread, timeout=None))]
    fn join(&self, py: Python<'_>, on_main_thread: bool, timeout: Option<f64>) -> PyResult<bool> {
        let inside = Inside::enter(py)?;
        // Those who wait for this thread wait for the execution meanwhile.
        let _joined = match self.run.runner().remote() {
            Some(remote) => Some(remote.waited_by.join(current::waiting()).map_err(refused)?),
            None => None,
        };
        let deadline = match timeout {
            None => None,
            Some(seconds) => {
                let wait = Duration::try_from_secs_f64(seconds.max(0.0))
                    .map_err(|_| PyOverflowError::new_err("timeout is too large"))?;
                Instant::now().checked_add(wait)
            }
        };
        let caller = if on_main_thread && !in_task() {
            Caller::Waits
        } else {
            Caller::Helps
        };
        inside.outside(py, || self.run.join(caller, deadline, poll(on_main_thread)))
    }
}

/// The values of `objects` in the session of `store`.
///
/// Raises `LookupError` with the first object that has none there.
#[pyfunction]
pub(crate) fn fetch_objects<'py>(
    py: Python<'py>,
    objects: Vec<Bound<'py, Object>>,
    store: &Bound<'py, Store>,
) -> PyResult<Bound<'py, PyList>> {
    let values = objects.iter().map(|object| {
        let value = object.get().value(store);
        value
            .ok_or_else(|| PyLookupError::new_err(object.clone().unbind()))?
            .value(py)
    });
    PyList::new(py, values.collect::<PyResult<Vec<_>>>()?)
}
