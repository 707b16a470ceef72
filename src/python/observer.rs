//! Passes what an observed run tells on to a Python object.

use super::runner::PythonRunner;
use super::threads::Inside;
use crate::executor::{Observer, Run};
use crate::graph::TaskId;
use crate::python::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet};
use std::sync::Arc;

/// Calls the methods of a Python observer, on the calling thread.
pub(super) struct PythonObserver<'r> {
    run: &'r Arc<Run<PythonRunner>>,
    observer: Py<PyAny>,
}

impl<'r> PythonObserver<'r> {
    /// Calls `observer.begin(dependencies, known)`: each key with the set of
    /// keys it needs, and each key whose value is known, with that value.
    pub(super) fn begin(
        run: &'r Arc<Run<PythonRunner>>,
        observer: Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let py = observer.py();
        let runner = run.runner();
        let keys = runner.keys();
        let dependencies = PyDict::new(py);
        let known = PyDict::new(py);
        // A copy, because Python runs below and no lock of ours may be held.
        let graph = run.graph();
        for task in graph.tasks() {
            let key = &keys[task.index()];
            let needs = graph.dependencies(task).iter();
            dependencies.set_item(key, PySet::new(py, needs.map(|t| &keys[t.index()]))?)?;
            if let Some(value) = runner.get(py, task)? {
                known.set_item(key, value)?;
            }
        }
        observer.call_method1(intern!(py, "begin"), (dependencies, known))?;
        Ok(PythonObserver {
            run,
            observer: observer.unbind(),
        })
    }

    fn key(&self, task: TaskId) -> &Py<PyAny> {
        &self.run.runner().keys()[task.index()]
    }

    fn list<'py>(&self, py: Python<'py>, tasks: &[TaskId]) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, tasks.iter().map(|t| self.key(*t)))
    }
}

impl Observer for PythonObserver<'_> {
    type Error = PyErr;

    fn starting(&mut self, task: TaskId) -> PyResult<()> {
        Inside::again(|py, _| {
            (self.observer).call_method1(py, intern!(py, "starting"), (self.key(task),))?;
            Ok(())
        })
    }

    fn finished(
        &mut self,
        task: TaskId,
        thread: u64,
        ready: &[TaskId],
        released: &[TaskId],
    ) -> PyResult<()> {
        Inside::again(|py, _| {
            let result = self.run.runner().get(py, task)?;
            let (ready, released) = (self.list(py, ready)?, self.list(py, released)?);
            (self.observer).call_method1(
                py,
                intern!(py, "finished"),
                (self.key(task), result, thread, ready, released),
            )?;
            Ok(())
        })
    }
}
