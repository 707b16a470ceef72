//! Runs tasks by running their programs, and keeps the results.

use super::capsule::Failures;
use super::errors;
use super::eval::{self, Needed};
use super::memory::{self, Kept, Limited, Memory};
use super::program::Programs;
use super::remote::{self, Remote};
use super::threads::{self, Inside, interpreter_call};
use super::tracing::Tracing;
use crate::executor::{self, Later, Ran, Runner};
use crate::graph::TaskId;
use crate::memory::EntryId;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use std::any::Any;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The programs, keys and results of one computation.
pub(super) struct PythonRunner {
    programs: Programs,
    keys: Arc<Vec<Py<PyAny>>>,
    /// One place a task: null, or a reference of our own.
    results: Box<[AtomicPtr<PyObject>]>,
    /// The caller's context variables.
    context: Py<PyAny>,
    tracing: Tracing,
    /// What it knows of objects, if there are any in the graph.
    remote: Option<Remote>,
    /// Under a memory limit: the results that are counted.
    limited: Option<Limited>,
    /// What is known of tasks that have failed.
    failures: Failures,
}

impl PythonRunner {
    /// A runner for what was parsed, without results yet. `context` is what tasks find as context
    /// variables: a copy each. Workers use the hooks of `tracing`. `keeps_inputs`: a task that has
    /// failed can be run again as long as its error lives.
    pub(super) fn new(
        programs: Programs,
        keys: Vec<Py<PyAny>>,
        context: Py<PyAny>,
        tracing: Tracing,
        remote: Option<Remote>,
        limited: Option<Limited>,
        keeps_inputs: bool,
    ) -> Self {
        let results: Box<[AtomicPtr<PyObject>]> = (0..keys.len())
            .map(|_| AtomicPtr::new(ptr::null_mut()))
            .collect();
        PythonRunner {
            programs,
            keys: Arc::new(keys),
            results,
            context,
            tracing,
            remote,
            limited,
            failures: Failures::new(keeps_inputs),
        }
    }

    pub(super) fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    pub(super) fn failures(&self) -> &Failures {
        &self.failures
    }

    pub(super) fn programs(&self) -> &Programs {
        &self.programs
    }

    pub(super) fn context(&self) -> &Py<PyAny> {
        &self.context
    }

    pub(super) fn keys(&self) -> &Arc<Vec<Py<PyAny>>> {
        &self.keys
    }

    /// What a person calls `task`.
    pub(super) fn name(&self, py: Python<'_>, task: TaskId) -> String {
        let object = self.remote.as_ref().and_then(|r| r.object(py, task));
        match object {
            Some(object) => object.get().name(py),
            None => errors::shown(self.keys[task.index()].bind(py)),
        }
    }

    /// Keeps the result of a task.
    pub(super) fn keep(&self, py: Python<'_>, task: TaskId, kept: Kept) -> PyResult<()> {
        let value = match (kept, &self.limited) {
            (Kept::Value(value), _) => value,
            (Kept::Cell(cell), Some(limited)) if cell.memory().is(limited.memory()) => {
                limited.keep(task, cell);
                return Ok(());
            }
            // It belongs to another limit, or there is none here.
            (kept @ Kept::Cell(_), _) => kept.value(py)?,
        };
        self.results[task.index()].store(value.into_ptr(), Ordering::Release);
        Ok(())
    }

    /// The same for a task that has run, or found its result elsewhere.
    pub(super) fn deliver(&self, py: Python<'_>, task: TaskId, kept: Kept) -> PyResult<()> {
        self.keep(py, task, kept)?;
        if let Some(remote) = &self.remote {
            drop(remote.take(py, task));
        }
        Ok(())
    }

    /// The limit under which it runs.
    pub(super) fn memory(&self) -> Option<&Memory> {
        self.limited.as_ref().map(Limited::memory)
    }

    /// Who owns the memory of what stands in the programs as it is.
    pub(super) fn owners_of_constants(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        let mut owners = Vec::new();
        for constant in self.programs.constants() {
            owners.extend(memory::owners(constant.bind(py))?);
        }
        Ok(owners)
    }

    /// What stands for the result of `task` in the account.
    pub(super) fn entry_of(&self, task: TaskId) -> Option<EntryId> {
        self.limited.as_ref()?.entry(task)
    }

    /// Runs the program of `task` and returns its result.
    pub(super) fn run_program<'py>(
        &self,
        py: Python<'py>,
        task: TaskId,
    ) -> PyResult<Bound<'py, PyAny>> {
        let value = self.run_in_context(py, task)?;
        // SAFETY: a new reference, not null.
        Ok(unsafe { Bound::from_owned_ptr(py, value) })
    }

    /// The result of `task`, borrowed; null if there is none.
    #[inline]
    fn result(&self, task: TaskId) -> *mut PyObject {
        self.results[task.index()].load(Ordering::Acquire)
    }

    /// The result of a finished task, read from the disk if it is there.
    pub(super) fn get<'py>(
        &self,
        py: Python<'py>,
        task: TaskId,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Some(cell) = self.limited.as_ref().and_then(|limited| limited.cell(task)) {
            return Ok(Some(Kept::Cell(cell).value(py)?.into_bound(py)));
        }
        // SAFETY: a place holds null or a reference that nobody takes away
        // while the caller, who asked for this task, still holds it.
        Ok(unsafe { Bound::from_borrowed_ptr_or_opt(py, self.result(task)) })
    }

    /// The result of a task that one which runs now depends on.
    #[inline]
    fn needed(&self, py: Python<'_>, task: TaskId) -> PyResult<Needed> {
        let value = self.result(task);
        if value.is_null()
            && let Some(limited) = &self.limited
            && let Some(cell) = limited.cell(task)
        {
            return Ok(Needed::Owned(cell.bring_back(py)?.into_ptr()));
        }
        Ok(Needed::Borrowed(value))
    }

    /// The same, as a reference of its own. It is read from the disk only if `reads`, else None if it is there.
    pub(super) fn input<'py>(
        &self,
        py: Python<'py>,
        task: TaskId,
        reads: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let value = self.result(task);
        if value.is_null()
            && let Some(limited) = &self.limited
            && let Some(cell) = limited.cell(task)
        {
            return match reads {
                true => cell.bring_back(py).map(Some),
                false => Ok(cell.in_memory(py)),
            }
            .map(|value| value.map(|value| value.into_bound(py)));
        }
        // SAFETY: null or alive, as long as a task that depends on it runs.
        Ok(unsafe { Bound::from_borrowed_ptr_or_opt(py, value) })
    }

    fn run_in_context(&self, py: Python<'_>, task: TaskId) -> PyResult<*mut PyObject> {
        in_copy_of(py, &self.context, || {
            eval::run(
                py,
                &self.programs,
                task,
                |task| self.needed(py, task),
                |call| self.failures.is_call(task, call),
            )
        })
    }

    /// Notes down what is known of a task that has failed, unless it is going to be run again.
    #[cold]
    fn has_failed(
        &self,
        py: Python<'_>,
        task: TaskId,
        error: PyErr,
        later: Later<'_, Self>,
    ) -> PyErr {
        let times = self.failures.has_failed(task);
        let is_first = times == 1;
        let is_told = !executor::is_stopped();
        let is_rerun = is_first && later.reruns_on_caller();
        if is_told && !is_rerun {
            // The first time it is most likely run again when there is more memory.
            let keeps = !(is_first && self.is_out_of_memory(py, task, &error));
            self.capture(py, task, keeps);
            if executor::is_stopped() {
                self.failures.forget(py, task);
            }
        }
        self.failures.forget_call(py, task);
        error
    }
}

/// Calls `work` in a copy of `context`.
pub(super) fn in_copy_of(
    py: Python<'_>,
    context: &Py<PyAny>,
    work: impl FnOnce() -> PyResult<*mut PyObject>,
) -> PyResult<*mut PyObject> {
    // SAFETY: attached; `context` is a context object, checked by
    // `PyContext_Copy` itself.
    let context =
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_Copy(context.as_ptr()))? };
    // SAFETY: attached; a context just made is entered nowhere else.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
        return Err(PyErr::fetch(py));
    }
    let result = work();
    // SAFETY: attached; entered above, by this thread.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } != 0 {
        let error = PyErr::fetch(py);
        if let Ok(value) = result {
            // SAFETY: a new reference that nobody else has.
            unsafe { interpreter_call::decref(value) };
        }
        return Err(error);
    }
    result
}

impl Runner for PythonRunner {
    type Error = PyErr;
    type Token<'t> = Python<'t>;

    fn attach<T>(&self, work: impl for<'t> FnOnce(Python<'t>) -> T) -> T {
        threads::park_at_exit();
        Python::attach(|py| {
            if threads::is_worker() {
                self.tracing.during(py, || work(py))
            } else {
                work(py) // a thread of the program's own has its own hooks
            }
        })
    }

    fn thread(&self, _py: Python<'_>) -> u64 {
        threads::ident()
    }

    fn breathe(&self, py: Python<'_>) {
        interpreter_call::breathe(py);
    }

    #[inline]
    fn run(&self, py: Python<'_>, task: TaskId, later: Later<'_, Self>) -> PyResult<Ran> {
        if let Some(remote) = &self.remote
            && let Some(object) = remote.object(py, task)
        {
            return remote::run(self, remote, object, task, &later)
                .map_err(|error| self.has_failed(py, task, error, later));
        }
        if let Some(limited) = &self.limited {
            let before = limited.size_before();
            let value = (self.run_program(py, task))
                .map_err(|error| self.has_failed(py, task, error, later))?;
            self.keep(py, task, limited.count(value, before)?)?;
            later.is_counted();
            return Ok(Ran::Finished);
        }
        let value = (self.run_in_context(py, task))
            .map_err(|error| self.has_failed(py, task, error, later))?;
        self.results[task.index()].store(value, Ordering::Release);
        Ok(Ran::Finished)
    }

    #[inline]
    fn release(&self, _py: Python<'_>, task: TaskId) {
        let value = self.results[task.index()].swap(ptr::null_mut(), Ordering::AcqRel);
        if !value.is_null() {
            // SAFETY: attached; the place held one reference, now ours alone.
            unsafe { interpreter_call::decref(value) };
        } else if let Some(limited) = &self.limited {
            drop(limited.take(task));
        }
    }

    fn entry(&self, task: TaskId) -> Option<EntryId> {
        self.entry_of(task)
    }

    fn output_bytes(&self, py: Python<'_>, task: TaskId) -> Option<u64> {
        let value = self.result(task);
        if value.is_null() {
            return Some(self.limited.as_ref()?.cell(task)?.bytes());
        }
        // SAFETY: a result just made, which nobody lets go of before it is settled.
        let value = unsafe { Bound::from_borrowed_ptr(py, value) };
        memory::bytes_of(&value)
    }

    fn trim(&self, py: Python<'_>) {
        memory::trim(py);
    }

    fn is_out_of_memory(&self, py: Python<'_>, task: TaskId, error: &PyErr) -> bool {
        self.limited.is_some()
            && memory::is_out_of_memory(py, error)
            // A function that was spawned is called as often as it was asked to be.
            && (self.remote.as_ref()).is_none_or(|remote| remote.object(py, task).is_none())
    }

    fn will_not_fit(&self, py: Python<'_>, projected: u64, limit: u64) {
        memory::report_will_not_fit(py, projected, limit);
    }

    fn does_not_fit(&self, bytes: u64, finished: u64, count: u64, limit: u64) -> PyErr {
        memory::does_not_fit(bytes, finished, count, limit)
    }

    fn panicked(&self, task: TaskId, payload: Box<dyn Any + Send>) -> PyErr {
        let what = payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        PyRuntimeError::new_err(format!(
            "dask-on-mars: internal error while running {task:?}: {what}"
        ))
    }
}

impl Drop for PythonRunner {
    fn drop(&mut self) {
        if !threads::may_attach() {
            return;
        }
        // The last one to leave a run need not be attached.
        Inside::again(|py, _| {
            if let Some(remote) = &self.remote {
                remote.clear(py);
            }
            if let Some(limited) = &self.limited {
                limited.clear();
            }
            for result in &mut self.results {
                let value = std::mem::replace(result.get_mut(), ptr::null_mut());
                if !value.is_null() {
                    // SAFETY: attached; the place held one reference.
                    unsafe { interpreter_call::decref(value) };
                }
            }
            self.failures.clear();
            self.keys = Arc::default();
            self.programs = Programs::new();
        });
    }
}
