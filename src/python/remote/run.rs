//! Runs the task of an object.

use super::super::memory::{Kept, Memory};
use super::super::runner::PythonRunner;
use super::super::threads::{Inside, interpreter_call};
use super::capture::Covered;
use super::claim::{Claim, Waiter};
use super::current;
use super::execution;
use super::object::{Object, Retry};
use super::plan::PendingObjects;
use super::python_side::PythonSide;
use super::spawning;
use super::store::Store;
use super::tracking::{is_scalar, track};
use super::waits::{Ticket, WaitedBy};
use crate::executor::{self, Ended, Later, Promise, Ran, Run};
use crate::graph::TaskId;
use crate::memory::resident;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::PyInt;
use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// No pause between two attempts is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a run knows of the objects among its tasks.
pub(crate) struct Remote {
    store: Py<Store>,
    /// By task: the object it has to run, or null; a reference of our own.
    objects: Box<[AtomicPtr<PyObject>]>,
    /// Those whose Dask collections are part of the graph: they are claimed for the
    /// whole of the run, so that no other computes the same.
    held: Mutex<HashMap<usize, Py<Object>>>,
    /// Whether there were any.
    holds: bool,
    /// How often a task has failed and was run again.
    attempts: Mutex<HashMap<TaskId, u32>>,
    pub(super) waited_by: WaitedBy,
    /// At most so many tasks run at the same time.
    limit: usize,
    /// What ends the capture of what functions print.
    capture: Mutex<Option<Py<PyAny>>>,
}

impl Remote {
    pub(in crate::python) fn new(
        py: Python<'_>,
        mut pending: PendingObjects,
        waited_by: WaitedBy,
        limit: usize,
    ) -> PyResult<Self> {
        // From here on until `end`.
        let capture = interpreter_call::call(py, &PythonSide::get(py)?.begin_capture, &[])?;
        let held: HashMap<_, _> = (pending.claims.take().into_iter())
            .map(|object| (object.as_ptr() as usize, object))
            .collect();
        // Who waits for these waits for the run.
        waited_by.add(held.keys().copied());
        let objects = pending.by_task.into_iter().map(|object| {
            AtomicPtr::new(object.map_or(ptr::null_mut(), |object| object.into_ptr()))
        });
        Ok(Remote {
            store: pending.store,
            objects: objects.collect(),
            holds: !held.is_empty(),
            held: Mutex::new(held),
            attempts: Mutex::default(),
            waited_by,
            limit,
            capture: Mutex::new(Some(capture.unbind())),
        })
    }

    pub(in crate::python) fn store(&self) -> &Store {
        self.store.get()
    }

    /// Whether `object` is claimed already, for its task to run.
    fn take_claim(&self, object: &Bound<'_, Object>) -> bool {
        if !self.holds {
            return false;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = held.remove(&(object.as_ptr() as usize));
        drop(held);
        claim.is_some()
    }

    /// Gives up the claims that no task has made use of.
    pub(super) fn give_up(&self, py: Python<'_>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let objects = std::mem::take(&mut *held);
        drop(held);
        for object in objects.values() {
            let waiters = object.get().give_up(self.store.bind(py));
            waiters.into_iter().for_each(Waiter::try_itself);
        }
    }

    /// The object that `task` has to run.
    pub(in crate::python) fn object<'py>(
        &self,
        py: Python<'py>,
        task: TaskId,
    ) -> Option<Bound<'py, Object>> {
        let object = self.objects[task.index()].load(Ordering::Acquire);
        // SAFETY: a place holds null or a reference, which is taken away only
        // by `take`, after the task has run; whoever asks runs it or explains
        // why it failed.
        let object = unsafe { Bound::from_borrowed_ptr_or_opt(py, object) }?;
        object.cast_into_exact::<Object>().ok()
    }

    /// Takes the object of a task that has a result.
    pub(in crate::python) fn take(&self, py: Python<'_>, task: TaskId) -> Option<Py<PyAny>> {
        let object = self.objects[task.index()].swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: the place held a reference, now ours alone.
        unsafe { Bound::from_owned_ptr_or_opt(py, object) }.map(Bound::unbind)
    }

    /// The run has ended: what it has claimed is others' to run, and what functions print
    /// is not kept any more on its account. The caller is attached.
    pub(in crate::python) fn end(&self, py: Python<'_>) {
        self.give_up(py);
        let capture = (self.capture.lock().unwrap_or_else(PoisonError::into_inner)).take();
        let Some(capture) = capture else {
            return;
        };
        let ended = PythonSide::get(py)
            .and_then(|ours| interpreter_call::call(py, &ours.end_capture, &[capture.bind(py)]));
        if let Err(error) = ended {
            error.write_unraisable(py, None);
        }
    }

    /// Lets everything go. The caller is attached.
    pub(in crate::python) fn clear(&self, py: Python<'_>) {
        self.end(py);
        for task in (0..self.objects.len()).map(TaskId::new) {
            drop(self.take(py, task));
        }
    }

    /// How often `task` has failed and was run again.
    pub(in crate::python) fn repeats(&self, task: TaskId) -> u32 {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.get(&task).copied().unwrap_or_default()
    }

    /// Counts a failure of `task`: the number of the next attempt, of how many, and
    /// how long to wait before it. None if there shall be none.
    fn pause(&self, task: TaskId, retry: Retry) -> Option<(u32, u32, Duration)> {
        let store = self.store.get();
        let allowed = match retry {
            Retry::Never => return None,
            Retry::AsConfigured => store.retries,
            Retry::Times(times) => times,
        };
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = attempts.entry(task).or_default();
        if *failed >= allowed {
            return None;
        }
        *failed += 1;
        let factor = 2f64.powi((*failed - 1).min(1000) as i32);
        let pause = (store.retry_delay * factor).min(LONGEST_PAUSE.as_secs_f64());
        Some((*failed, allowed, Duration::from_secs_f64(pause)))
    }
}

/// An object that this task runs; given up if it is dropped, by a panic say.
struct Claimed<'py> {
    object: Option<Bound<'py, Object>>,
    store: Bound<'py, Store>,
}

impl<'py> Claimed<'py> {
    /// Keeps the result, and tells those who wait.
    fn finish(mut self, value: &Kept) {
        let py = self.store.py();
        if let Some(object) = self.object.take() {
            if !matches!(value, Kept::Value(value) if is_scalar(value.bind(py))) {
                track(&object);
            }
            let waiters = object.get().finish(&self.store, value.clone_ref(py));
            for waiter in waiters {
                waiter.finished(py, value);
            }
        }
    }

    /// Gives it up.
    fn give_up(mut self) -> Vec<Waiter> {
        let object = self.object.take();
        object.map_or_else(Vec::new, |object| object.get().give_up(&self.store))
    }

    /// Keeps it claimed beyond the life of this value.
    fn keep(mut self) -> Option<Py<Object>> {
        self.object.take().map(Bound::unbind)
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            let waiters = object.get().give_up(&self.store);
            waiters.into_iter().for_each(Waiter::try_itself);
        }
    }
}

/// Runs `object`, or finds its result, or promises it.
pub(in crate::python) fn run(
    runner: &PythonRunner,
    remote: &Remote,
    object: Bound<'_, Object>,
    task: TaskId,
    later: &Later<'_, PythonRunner>,
) -> PyResult<Ran> {
    let py = object.py();
    let outer = Inside::enter(py)?;
    let store = remote.store.bind(py).clone();
    let on = object.as_ptr() as usize;
    let claim = if remote.take_claim(&object) {
        Claim::Granted
    } else {
        (object.get()).claim(
            &store,
            || later.promise(),
            || Ticket::new(&remote.waited_by, on),
        )
    };
    match claim {
        Claim::Granted => {}
        Claim::Promised => return Ok(Ran::Promised),
        Claim::Finished(value) => {
            runner.deliver(py, task, value)?;
            return Ok(Ran::Finished);
        }
        Claim::WouldWaitForItself => {
            return Err(PyRuntimeError::new_err(format!(
                "{} waits for itself: its function wants a result that is made from its own",
                object.get().__repr__()
            )));
        }
    }
    let claimed = Claimed {
        object: Some(object.clone()),
        store: store.clone(),
    };
    let before = (runner.memory().is_some_and(Memory::watches_growth)).then(resident);
    let result = {
        let covered = Covered::now(py)?;
        let inside = current::Inside::enter(object.as_unbound(), &remote.waited_by);
        let result = outer.while_outside(|| runner.run_program(py, task));
        drop(inside);
        covered.end(py);
        result
    };
    let outcome = result.and_then(|value| match spawning::returned(&value)? {
        Some(returned) => Ok(Outcome::Returned(returned)),
        None => checked(&object, value.unbind()).map(Outcome::Value),
    });
    match outcome {
        Err(error) => failed(runner, remote, claimed, &object, task, error, later),
        Ok(Outcome::Returned(returned)) => resolve(runner, remote, claimed, returned, task, later),
        Ok(Outcome::Value(value)) => {
            let memory = store.get().memory.as_ref();
            let value = Kept::new(value.into_bound(py), memory, before)?;
            later.is_counted();
            claimed.finish(&value);
            runner.deliver(py, task, value)?;
            Ok(Ran::Finished)
        }
    }
}

/// What a function returned.
enum Outcome<'py> {
    Value(Py<PyAny>),
    /// An object, the value of which is meant.
    Returned(Bound<'py, Object>),
}

/// The value of an object, as a list if it has to be so many.
fn checked(object: &Bound<'_, Object>, value: Py<PyAny>) -> PyResult<Py<PyAny>> {
    let py = object.py();
    match object.get().outputs {
        None => Ok(value),
        Some(count) => {
            let count = PyInt::new(py, count);
            let outputs = &PythonSide::get(py)?.outputs;
            interpreter_call::call(py, outputs, &[value.bind(py), count.as_any()])
                .map(Bound::unbind)
        }
    }
}

/// The same for a value that another object has as well.
fn checked_kept(object: &Bound<'_, Object>, value: Kept) -> PyResult<Kept> {
    if object.get().outputs.is_none() {
        return Ok(value);
    }
    checked(object, value.value(object.py())?).map(Kept::Value)
}

fn failed(
    runner: &PythonRunner,
    remote: &Remote,
    claimed: Claimed<'_>,
    object: &Bound<'_, Object>,
    task: TaskId,
    error: PyErr,
    later: &Later<'_, PythonRunner>,
) -> PyResult<Ran> {
    let py = object.py();
    if executor::is_stopped() {
        // What stopped this run may have made it fail; others have to see for themselves.
        let waiters = claimed.give_up();
        waiters.into_iter().for_each(Waiter::try_itself);
        return Err(error);
    }
    let again = (error.is_instance_of::<PyException>(py))
        .then(|| remote.pause(task, object.get().retry))
        .flatten();
    let waiters = claimed.give_up();
    let Some((attempt, allowed, pause)) = again else {
        tell_failure(py, runner, task, &error, waiters);
        return Err(error);
    };
    runner.failures().forget_call(py, task);
    let told = (attempt, allowed, pause.as_secs_f64()).into_pyobject(py)?;
    let told = interpreter_call::call(
        py,
        &PythonSide::get(py)?.report_retry,
        &[object.as_any(), error.value(py).as_any(), told.as_any()],
    );
    if let Err(error) = told {
        error.write_unraisable(py, Some(object));
    }
    waiters.into_iter().for_each(Waiter::try_itself);
    later.promise().again_after(pause);
    Ok(Ran::Promised)
}

/// Tells the tasks of other runs that wait for the object of `task` that it has failed.
fn tell_failure(
    py: Python<'_>,
    runner: &PythonRunner,
    task: TaskId,
    error: &PyErr,
    waiters: Vec<Waiter>,
) {
    if waiters.is_empty() {
        return;
    }
    runner.capture(py, task, true);
    for waiter in waiters {
        waiter.failed(py, error, runner.failures().captured(py, task));
    }
}

/// The function returned an object: its value is the result. It is made by a run
/// of its own, and this thread goes on with other tasks.
fn resolve(
    runner: &PythonRunner,
    remote: &Remote,
    claimed: Claimed<'_>,
    returned: Bound<'_, Object>,
    task: TaskId,
    later: &Later<'_, PythonRunner>,
) -> PyResult<Ran> {
    let py = returned.py();
    let store = claimed.store.clone();
    if let Some(value) = returned.get().value(&store)
        && let Some(object) = &claimed.object
    {
        let value = checked_kept(object, value)?;
        claimed.finish(&value);
        runner.deliver(py, task, value)?;
        return Ok(Ran::Finished);
    }
    let waited_by = WaitedBy::new(
        (claimed.object.iter()).map(|object| object.as_ptr() as usize),
        [remote.waited_by.clone()],
    );
    let prepared = execution::prepare(
        py,
        std::slice::from_ref(&returned),
        &store,
        execution::background(remote.limit),
        waited_by,
    );
    let run = match prepared {
        Ok(run) => run,
        Err(error) => {
            tell_failure(py, runner, task, &error, claimed.give_up());
            return Err(error);
        }
    };
    let resolution = Resolution {
        object: claimed.keep(),
        returned: returned.unbind(),
        store: store.unbind(),
        promise: later.promise(),
    };
    py.detach(|| {
        run.link_to_outer();
        run.detach(move |run, ended| Inside::again(|py, _| resolution.end(py, run, ended)));
    });
    Ok(Ran::Promised)
}

/// What is to be done when a returned object has been run.
struct Resolution {
    object: Option<Py<Object>>,
    returned: Py<Object>,
    store: Py<Store>,
    promise: Promise<PythonRunner>,
}

impl Resolution {
    fn end(self, py: Python<'_>, run: &Run<PythonRunner>, ended: Result<(), Ended<PyErr>>) {
        let claimed = Claimed {
            object: self.object.map(|object| object.into_bound(py)),
            store: self.store.into_bound(py),
        };
        if let Some(remote) = run.runner().remote() {
            remote.end(py);
        }
        let was_cancelled = matches!(ended, Err(Ended::Cancelled));
        let value = match ended {
            Ok(()) => match self.returned.get().value(&claimed.store) {
                Some(value) => match &claimed.object {
                    Some(object) => checked_kept(object, value),
                    None => Ok(value),
                },
                None => Err(execution::cancelled()),
            },
            Err(ended) => Err(execution::error(py, run, ended)),
        };
        match value {
            Ok(value) => {
                claimed.finish(&value);
                if let Some(run) = self.promise.run() {
                    let delivered = run.runner().deliver(py, self.promise.task(), value);
                    self.promise.settle(delivered);
                }
            }
            Err(error) => {
                let waiters = claimed.give_up();
                if was_cancelled {
                    waiters.into_iter().for_each(Waiter::try_itself);
                } else if let Some(run) = self.promise.run() {
                    let task = self.promise.task();
                    run.runner().failures().has_failed(task);
                    run.runner().capture(py, task, true);
                    tell_failure(py, run.runner(), task, &error, waiters);
                } else {
                    (waiters.into_iter()).for_each(|waiter| waiter.failed(py, &error, None));
                }
                self.promise.settle(Err(error));
            }
        }
    }
}
