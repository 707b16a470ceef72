//! The tasks of a run that have failed.

use super::ARGUMENTS;
use crate::graph::TaskId;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A call that has raised an exception.
pub(in crate::python) struct FailedCall {
    pub(super) function: Py<PyAny>,
    pub(super) arguments: Vec<Py<PyAny>>,
    /// How many there were.
    pub(super) count: usize,
    /// The names of the last of them.
    pub(super) keywords: Option<Py<PyAny>>,
}

impl FailedCall {
    /// `values` are the callable and its arguments; `names` are those of the last ones, or null.
    ///
    /// Safety: attached, with no exception set; all are live objects.
    #[cold]
    pub(in crate::python) unsafe fn new(
        py: Python<'_>,
        values: &[*mut PyObject],
        names: *mut PyObject,
    ) -> Self {
        // SAFETY: promised by the caller.
        let own = |value: &*mut PyObject| unsafe { Bound::from_borrowed_ptr(py, *value).unbind() };
        let keep = match names.is_null() {
            true => ARGUMENTS,
            false => values.len(), // the named ones are the last
        };
        FailedCall {
            function: own(&values[0]),
            arguments: values[1..].iter().take(keep).map(own).collect(),
            count: values.len() - 1,
            keywords: (!names.is_null()).then(|| own(&names)),
        }
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        FailedCall {
            function: self.function.clone_ref(py),
            arguments: self.arguments.iter().map(|a| a.clone_ref(py)).collect(),
            count: self.count,
            keywords: self.keywords.as_ref().map(|names| names.clone_ref(py)),
        }
    }
}

/// What is known of one task.
#[derive(Default)]
struct Failed {
    /// How often that was, not counting attempts after which it was promised to be run again.
    times: u32,
    call: Option<FailedCall>,
    /// A `Failure` that does not say yet who needed the task.
    captured: Option<Py<PyAny>>,
}

/// The tasks of one run that have failed. Nothing is called while the lock is held.
pub(in crate::python) struct Failures {
    tasks: Mutex<BTreeMap<TaskId, Failed>>,
    pub(super) keeps_inputs: bool,
}

impl Failures {
    pub(in crate::python) const fn new(keeps_inputs: bool) -> Self {
        Failures {
            tasks: Mutex::new(BTreeMap::new()),
            keeps_inputs,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, Failed>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes down the call in which a task failed, until [`forget_call`](Self::forget_call).
    pub(in crate::python) fn is_call(&self, task: TaskId, call: FailedCall) {
        let before = self.lock().entry(task).or_default().call.replace(call);
        drop(before);
    }

    /// The caller is attached: arguments may go with it.
    pub(in crate::python) fn forget_call(&self, _py: Python<'_>, task: TaskId) {
        let call = (self.lock().get_mut(&task)).and_then(|failed| failed.call.take());
        drop(call);
    }

    /// Counts a failure: how often that was.
    pub(in crate::python) fn has_failed(&self, task: TaskId) -> u32 {
        let mut tasks = self.lock();
        let failed = tasks.entry(task).or_default();
        failed.times += 1;
        failed.times
    }

    /// How often `task` has failed, and in which call the last time.
    pub(super) fn known(&self, py: Python<'_>, task: TaskId) -> (u32, Option<FailedCall>) {
        let tasks = self.lock();
        let Some(failed) = tasks.get(&task) else {
            return (0, None);
        };
        (failed.times, failed.call.as_ref().map(|c| c.clone_ref(py)))
    }

    pub(in crate::python) fn keep(&self, task: TaskId, captured: Py<PyAny>) {
        let before = (self.lock().entry(task).or_default())
            .captured
            .replace(captured);
        drop(before);
    }

    pub(in crate::python) fn captured(&self, py: Python<'_>, task: TaskId) -> Option<Py<PyAny>> {
        let tasks = self.lock();
        let captured = tasks.get(&task)?.captured.as_ref();
        captured.map(|captured| captured.clone_ref(py))
    }

    /// Lets go of what was captured of a task that nobody will ask for. The caller is attached.
    pub(in crate::python) fn forget(&self, _py: Python<'_>, task: TaskId) {
        let failed = self.lock().remove(&task);
        drop(failed);
    }

    /// Lets everything go. The caller is attached.
    pub(in crate::python) fn clear(&self) {
        let tasks = std::mem::take(&mut *self.lock());
        drop(tasks);
    }
}
