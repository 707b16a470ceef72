//! A task with all that it needs.

use crate::graph::TaskId;
use crate::python::errors;
use crate::python::eval::{self, Needed};
use crate::python::program::{Op, Programs, instructions};
use crate::python::runner::in_copy_of;
use pyo3::PyTraverseError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A task that can be run again: its program with the values of all that it needs in it.
/// It holds nothing else of the run.
#[pyclass(frozen, module = "mars._mars")]
pub(super) struct Replay {
    /// None once the garbage collector has cleared it.
    task: Mutex<Option<Arc<Task>>>,
}

struct Task {
    program: Programs,
    context: Py<PyAny>,
}

impl Replay {
    pub(super) fn new<'py>(
        py: Python<'py>,
        programs: &Programs,
        words: &[u32],
        context: &Py<PyAny>,
        value: impl Fn(TaskId) -> PyResult<Option<Bound<'py, PyAny>>>,
    ) -> PyResult<Py<Self>> {
        let mut constants: Vec<Py<PyAny>> = Vec::new();
        let mut places = HashMap::new();
        let mut add = |constant: Py<PyAny>| {
            constants.push(constant);
            constants.len() - 1
        };
        let mut copy = Vec::with_capacity(words.len());
        for (place, op) in instructions(words) {
            let op = match op {
                Op::Const(i) => Op::Const(add(programs.get(i).clone_ref(py))),
                Op::Slot(task) => Op::Const(match places.get(&task) {
                    Some(&place) => place,
                    None => {
                        let value =
                            value(task)?.ok_or_else(|| errors::internal("an input is gone"))?;
                        let place = add(value.unbind());
                        places.insert(task, place);
                        place
                    }
                }),
                op => op,
            };
            copy.push(op.encode());
            if let Op::CallKw(_) = op {
                let names = programs.get(words[place + 1] as usize).clone_ref(py);
                copy.push(add(names) as u32);
            }
        }
        let task = Task {
            program: Programs::of_one_task(copy, constants),
            context: context.clone_ref(py),
        };
        Py::new(
            py,
            Replay {
                task: Mutex::new(Some(Arc::new(task))),
            },
        )
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Task>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Replay {
    /// Runs the task in the calling thread.
    fn __call__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let task = self.lock().clone();
        let task = task.ok_or_else(|| PyRuntimeError::new_err("the inputs are gone"))?;
        let value = in_copy_of(py, &task.context, || {
            let no_slot = |_| -> PyResult<Needed> { Err(errors::internal("an input is missing")) };
            eval::run(py, &task.program, TaskId::new(0), no_slot, |_| ())
        })?;
        // SAFETY: a new reference, not null.
        Ok(unsafe { Bound::from_owned_ptr(py, value) })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Another thread is at it: it counts as used from outside then.
        let Ok(task) = self.task.try_lock() else {
            return Ok(());
        };
        if let Some(task) = &*task {
            for constant in task.program.constants() {
                visit.call(constant)?;
            }
            visit.call(&task.context)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let task = self.lock().take();
        drop(task);
    }
}
