//! The handle of a lazy call.

use super::super::runner::PythonRunner;
use super::super::threads::interpreter_call;
use super::drops::drop_flat;
use super::key::Key;
use super::python_side::PythonSide;
use super::store::{Place, Store};
use super::template::Template;
use super::tracking;
use super::waits::Ticket;
use crate::executor::Promise;
use crate::executor::fork;
use pyo3::PyTraverseError;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString, PyWeakrefReference};
use smallvec::SmallVec;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What an object is the result of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// A spawned function, or one of its outputs.
    RemoteFunction,
    /// A Dask collection.
    DaskCollection,
}

/// How often and how soon a function that failed is called again.
#[derive(Clone, Copy)]
pub(super) enum Retry {
    Never,
    /// As often as the session says.
    AsConfigured,
    /// This often.
    Times(u32),
}

/// The objects that one depends on.
pub(super) type Dependencies = SmallVec<[Py<Object>; 2]>;
type WeakDependencies = SmallVec<[Py<PyWeakrefReference>; 1]>;

/// A lazy call, and where its result is once it was executed.
#[pyclass(frozen, weakref, module = "mars.remote", name = "Object")]
pub(crate) struct Object {
    key: Key,
    pub(super) operation: Operation,
    pub(super) retry: Retry,
    /// So many values its function has to return.
    pub(super) outputs: Option<usize>,
    /// Whether a Dask collection has to be computed for it.
    pub(super) reaches_collection: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    template: Template,
    /// Where the objects it depends on may still be found, once it has let go
    /// of them: what was executed does not keep alive what it was made from.
    former: Option<WeakDependencies>,
    /// Not yet executed, unless it says otherwise for a session.
    sessions: SmallVec<[InSession; 1]>,
    /// What the function printed; shared by all outputs of one call.
    log: Option<Py<PyAny>>,
    /// The collection that it stands for.
    collection: Option<Py<PyAny>>,
}

struct InSession {
    store: Py<Store>,
    state: State,
}

enum State {
    /// A task runs it.
    Claimed {
        generation: u32,
        waiters: Vec<Waiter>,
    },
    Finished(Place),
}

/// A task of another run that wants the result.
pub(super) struct Waiter {
    promise: Promise<PythonRunner>,
    _ticket: Ticket,
}

/// What a task finds that is to run an object.
pub(super) enum Claim {
    /// It is this task's to run.
    Granted,
    /// There is a result.
    Finished(Py<PyAny>),
    /// Another task runs it, and will tell.
    Promised,
    /// That task waits for this one.
    WouldWaitForItself,
}

/// Where an object stands in a session.
pub(super) enum Standing {
    Finished(Py<PyAny>),
    Claimed,
    /// Never executed here, or it failed.
    Pending,
}

impl Object {
    pub(super) fn new(
        operation: Operation,
        retry: Retry,
        template: Template,
        log: Option<Py<PyAny>>,
        collection: Option<Py<PyAny>>,
    ) -> Self {
        let reaches_collection = collection.is_some()
            || (template.dependencies.iter()).any(|object| object.get().reaches_collection);
        Object {
            key: Key::new(),
            operation,
            retry,
            outputs: None,
            reaches_collection,
            inner: Mutex::new(Inner {
                template,
                former: None,
                sessions: SmallVec::new(),
                log,
                collection,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hex_key(&self) -> String {
        self.key.hex()
    }

    /// Calls `read` with the template and what it depends on; None where it has let go
    /// of that. `read` must not run Python code.
    pub(super) fn with_template<T>(
        &self,
        read: impl FnOnce(&Template, &[Py<Object>]) -> T,
    ) -> Option<T> {
        let inner = self.lock();
        let template = &inner.template;
        inner
            .former
            .is_none()
            .then(|| read(template, &template.dependencies))
    }

    /// Calls `read` with the template, and with these as what it depends on.
    pub(super) fn with_template_and<T>(
        &self,
        dependencies: &[Py<Object>],
        read: impl FnOnce(&Template, &[Py<Object>]) -> T,
    ) -> T {
        read(&self.lock().template, dependencies)
    }

    /// Its value in the session of `store`, or what `read` makes of its template, or
    /// None where it has let go of what it depends on. `read` is as above.
    pub(super) fn value_or<T>(
        &self,
        store: &Bound<'_, Store>,
        read: impl FnOnce(&Template, &[Py<Object>]) -> T,
    ) -> Option<Result<Py<PyAny>, T>> {
        let inner = self.lock();
        if let Some(State::Finished(place)) = inner.state(store)
            && let Some(value) = store.get().get(store.py(), *place)
        {
            return Some(Ok(value));
        }
        let template = &inner.template;
        inner
            .former
            .is_none()
            .then(|| Err(read(template, &template.dependencies)))
    }

    /// What it depends on, after it has let go of that; fails if one of it is gone.
    pub(super) fn former_dependencies(&self, py: Python<'_>) -> PyResult<Dependencies> {
        let former: Vec<_> = {
            let inner = self.lock();
            let former = inner.former.iter().flatten();
            former.map(|weak| weak.clone_ref(py)).collect()
        };
        let alive: Option<Dependencies> = (former.iter())
            .map(|weak| {
                let object = weak.bind(py).upgrade()?;
                object.cast_into_exact::<Object>().ok().map(Bound::unbind)
            })
            .collect();
        alive.ok_or_else(|| {
            PyValueError::new_err(format!(
                "{} was executed in another session and has let go of the objects in its arguments since; \
                 fetch it in that session, or spawn it again",
                self.__repr__()
            ))
        })
    }

    /// What a person calls it: its function and its key.
    pub(in crate::python) fn name(&self, py: Python<'_>) -> String {
        let functions: Vec<_> = {
            let inner = self.lock();
            (inner.template.constants.iter().take(2))
                .map(|constant| constant.clone_ref(py))
                .collect()
        };
        let name = (functions.iter())
            .find(|function| !PythonSide::is_ours(function.bind(py)))
            .and_then(|function| {
                let name = function.bind(py).getattr_opt(intern!(py, "__qualname__"));
                name.ok().flatten()?.extract::<String>().ok()
            });
        match name {
            Some(name) => format!("{name}: {}", self.__repr__()),
            None => self.__repr__(),
        }
    }

    pub(super) fn collection(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let inner = self.lock();
        inner.collection.as_ref().map(|c| c.clone_ref(py))
    }

    /// Whether there is a result in `store`.
    pub(super) fn is_finished(&self, store: &Bound<'_, Store>) -> bool {
        let inner = self.lock();
        matches!(inner.state(store), Some(State::Finished(_)))
    }

    pub(super) fn standing(&self, store: &Bound<'_, Store>) -> Standing {
        let inner = self.lock();
        match inner.state(store) {
            Some(State::Finished(place)) => match store.get().get(store.py(), *place) {
                Some(value) => Standing::Finished(value),
                None => Standing::Pending,
            },
            Some(State::Claimed { generation, .. }) if *generation == fork::generation() => {
                Standing::Claimed
            }
            _ => Standing::Pending,
        }
    }

    /// Asks to run it. `promise` is kept if another task is at it already; it
    /// then waits with `ticket`, which is None where that would never end.
    pub(super) fn claim(
        &self,
        store: &Bound<'_, Store>,
        promise: impl FnOnce() -> Promise<PythonRunner>,
        ticket: impl FnOnce() -> Option<Ticket>,
    ) -> Claim {
        let mut inner = self.lock();
        let here = inner.sessions.iter().position(|s| s.store.is(store));
        let claimed = State::Claimed {
            generation: fork::generation(),
            waiters: Vec::new(),
        };
        let Some(here) = here else {
            let gone = inner.forget_stopped();
            inner.sessions.push(InSession {
                store: store.clone().unbind(),
                state: claimed,
            });
            drop(inner);
            drop(gone);
            return Claim::Granted;
        };
        match &mut inner.sessions[here].state {
            State::Finished(place) => match store.get().get(store.py(), *place) {
                Some(value) => Claim::Finished(value),
                None => Claim::Granted, // the session has stopped; nobody will ask
            },
            State::Claimed {
                generation,
                waiters,
            } if *generation == fork::generation() => match ticket() {
                Some(_ticket) => {
                    waiters.push(Waiter {
                        promise: promise(),
                        _ticket,
                    });
                    Claim::Promised
                }
                None => Claim::WouldWaitForItself,
            },
            // Claimed by a thread of the parent process, which is not here.
            state @ State::Claimed { .. } => {
                *state = claimed;
                Claim::Granted
            }
        }
    }

    /// Claims it for a run that is being planned, of which its value will be a part.
    /// Says whether it was neither finished nor claimed.
    pub(super) fn claim_for_run(&self, store: &Bound<'_, Store>) -> bool {
        let mut inner = self.lock();
        let claimed = State::Claimed {
            generation: fork::generation(),
            waiters: Vec::new(),
        };
        match inner.sessions.iter_mut().find(|s| s.store.is(store)) {
            None => inner.sessions.push(InSession {
                store: store.clone().unbind(),
                state: claimed,
            }),
            Some(InSession { state, .. }) => match state {
                State::Claimed { generation, .. } if *generation != fork::generation() => {
                    *state = claimed;
                }
                _ => return false,
            },
        }
        true
    }

    /// Keeps the result; those who waited are to be told.
    pub(super) fn finish(&self, store: &Bound<'_, Store>, value: Py<PyAny>) -> Vec<Waiter> {
        let py = store.py();
        let weak = self.weak_dependencies(py);
        let place = store.get().put(value);
        let mut inner = self.lock();
        let waiters = inner.end_claim(store, place.map(State::Finished));
        // A result that came after the end of its session is no result. Without memory
        // for weak references it cannot be executed elsewhere.
        let mut dependencies = Dependencies::new();
        if place.is_some() && !inner.template.dependencies.is_empty() {
            dependencies = std::mem::take(&mut inner.template.dependencies);
            inner.former = Some(weak.unwrap_or_default());
        }
        drop(inner);
        drop_objects(dependencies);
        waiters
    }

    fn weak_dependencies(&self, py: Python<'_>) -> PyResult<WeakDependencies> {
        let dependencies: Dependencies = {
            let inner = self.lock();
            let dependencies = inner.template.dependencies.iter();
            dependencies.map(|object| object.clone_ref(py)).collect()
        };
        (dependencies.iter())
            .map(|object| tracking::weakref(object.bind(py)))
            .collect()
    }

    /// Gives the claim up: it has no result. Those who waited are to be told.
    pub(super) fn give_up(&self, store: &Bound<'_, Store>) -> Vec<Waiter> {
        self.lock().end_claim(store, None)
    }
}

impl Waiter {
    /// Tells that there is a result.
    pub(super) fn finished(self, py: Python<'_>, value: &Py<PyAny>) {
        if let Some(run) = self.promise.run() {
            run.runner()
                .deliver(py, self.promise.task(), value.clone_ref(py));
            drop(self._ticket);
            self.promise.settle(Ok(()));
        }
    }

    /// Tells that it failed.
    pub(super) fn failed(self, py: Python<'_>, error: &PyErr) {
        drop(self._ticket);
        self.promise.settle(Err(error.clone_ref(py)));
    }

    /// Lets the task try for itself.
    pub(super) fn try_itself(self) {
        drop(self._ticket);
        self.promise.again();
    }
}

impl Inner {
    fn state(&self, store: &Bound<'_, Store>) -> Option<&State> {
        let here = self.sessions.iter().find(|s| s.store.is(store))?;
        Some(&here.state)
    }

    fn end_claim(&mut self, store: &Bound<'_, Store>, state: Option<State>) -> Vec<Waiter> {
        let Some(here) = self.sessions.iter().position(|s| s.store.is(store)) else {
            return Vec::new();
        };
        let before = match state {
            Some(state) => std::mem::replace(&mut self.sessions[here].state, state),
            None => self.sessions.swap_remove(here).state,
        };
        match before {
            State::Claimed { waiters, .. } => waiters,
            State::Finished(_) => Vec::new(),
        }
    }

    /// Takes out what stands for sessions that have stopped.
    fn forget_stopped(&mut self) -> SmallVec<[InSession; 1]> {
        let mut gone = SmallVec::new();
        let mut i = 0;
        while i < self.sessions.len() {
            let session = &self.sessions[i];
            if matches!(session.state, State::Finished(_)) && session.store.get().stopped() {
                gone.push(self.sessions.swap_remove(i));
            } else {
                i += 1;
            }
        }
        gone
    }
}

fn drop_objects(objects: impl IntoIterator<Item = Py<Object>>) {
    drop_flat(objects.into_iter().map(Py::into_any));
}

impl Drop for Object {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut references: SmallVec<[Py<PyAny>; 4]> = SmallVec::new();
        for session in &inner.sessions {
            if let State::Finished(place) = session.state {
                references.extend(session.store.get().take(place));
            }
        }
        // Constants too may lead to objects, hidden in partials and closures.
        let template = std::mem::take(&mut inner.template);
        references.extend(template.dependencies.into_iter().map(Py::into_any));
        references.extend(template.constants);
        references.extend(inner.collection.take());
        if !references.is_empty() {
            drop_flat(references);
        }
    }
}

/// Calls a function of `mars.remote._object` that stands for a method.
fn in_python<'py>(
    slf: &Bound<'py, Object>,
    name: &Bound<'py, PyString>,
    rest: &[&Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    let function = (py.import(intern!(py, "mars.remote._object"))?).getattr(name)?;
    let arguments: SmallVec<[_; 4]> = std::iter::once(slf.as_any())
        .chain(rest.iter().copied())
        .collect();
    interpreter_call::call(py, function.as_unbound(), &arguments)
}

#[pymethods]
impl Object {
    /// The key, 32 hexadecimal digits that no other object has.
    ///
    /// Returns
    /// -------
    /// str
    ///
    /// Examples
    /// --------
    /// >>> import mars.remote as mr
    /// >>> len(mr.spawn(int).key)
    /// 32
    #[getter(key)]
    fn py_key(&self) -> String {
        self.hex_key()
    }

    pub(super) fn __repr__(&self) -> String {
        let operation = match self.operation {
            Operation::RemoteFunction => "RemoteFunction",
            Operation::DaskCollection => "DaskCollection",
        };
        format!("Object <op={operation}, key={}>", self.hex_key())
    }

    /// Run what has no result yet: this object and all that it needs, as one graph.
    ///
    /// Executing again what has been executed runs nothing. After a failure what has
    /// finished is kept, and executing again runs the rest.
    ///
    /// Parameters
    /// ----------
    /// session : mars.Session, optional
    ///     Where to run. Default: the session that has executed it before, else the
    ///     default session.
    /// wait : bool, default True
    ///     False returns at once, while the work goes on.
    /// show_progress : bool, optional
    ///     True shows a bar (needs tqdm). Default: False.
    ///
    /// Returns
    /// -------
    /// Object or mars.remote.ExecutionInfo
    ///     The object itself, or with ``wait=False`` what tells of the execution.
    ///
    /// Raises
    /// ------
    /// BaseException
    ///     Whatever a function raises, with a note that names the object.
    ///
    /// Examples
    /// --------
    /// >>> import mars.remote as mr
    /// >>> mr.spawn(pow, args=(2, 10)).execute().fetch()
    /// 1024
    #[pyo3(signature = (session=None, wait=true, show_progress=None))]
    fn execute<'py>(
        slf: &Bound<'py, Self>,
        session: Option<&Bound<'py, PyAny>>,
        wait: bool,
        show_progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let none = py.None().into_bound(py);
        let wait = PyBool::new(py, wait);
        let rest = [
            session.unwrap_or(&none),
            wait.as_any(),
            show_progress.unwrap_or(&none),
        ];
        in_python(slf, intern!(py, "execute"), &rest)
    }

    /// The value of an object that has been executed.
    ///
    /// Parameters
    /// ----------
    /// session : mars.Session, optional
    ///     The session that executed it. Default: the one that did so last.
    ///
    /// Returns
    /// -------
    /// object
    ///     What the function returned, the very object.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     It has not been executed, not in this session, or the session has stopped.
    ///
    /// Examples
    /// --------
    /// >>> import mars.remote as mr
    /// >>> mr.spawn(len, args=("four",)).execute().fetch()
    /// 4
    #[pyo3(signature = (session=None))]
    fn fetch<'py>(
        slf: &Bound<'py, Self>,
        session: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let none = py.None().into_bound(py);
        in_python(slf, intern!(py, "fetch"), &[session.unwrap_or(&none)])
    }

    /// Execute if need be, and fetch.
    ///
    /// Parameters
    /// ----------
    /// session : mars.Session, optional
    ///     As in `execute`.
    ///
    /// Returns
    /// -------
    /// object
    ///     The value.
    ///
    /// Examples
    /// --------
    /// >>> import mars.remote as mr
    /// >>> mr.spawn(sum, args=([1, 2, 3],)).to_object()
    /// 6
    #[pyo3(signature = (session=None))]
    fn to_object<'py>(
        slf: &Bound<'py, Self>,
        session: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let none = py.None().into_bound(py);
        in_python(slf, intern!(py, "to_object"), &[session.unwrap_or(&none)])
    }

    /// What the function has printed so far, while it runs too.
    ///
    /// Standard output and standard error of the function's own thread, in the order
    /// in which they were written; the text is still shown where it would be anyway.
    ///
    /// Parameters
    /// ----------
    /// offsets : int, optional
    ///     The character to begin at. Default: where the last call stopped; 0 begins
    ///     at the start.
    /// sizes : int, optional
    ///     At most so many characters. Default: all that there is.
    ///
    /// Returns
    /// -------
    /// str
    ///
    /// Examples
    /// --------
    /// >>> import mars.remote as mr
    /// >>> task = mr.spawn(print, args=("hello",)).execute()
    /// hello
    /// >>> task.fetch_log()
    /// 'hello\n'
    /// >>> task.fetch_log()
    /// ''
    /// >>> task.fetch_log(offsets=0, sizes=4)
    /// 'hell'
    #[pyo3(signature = (offsets=None, sizes=None))]
    fn fetch_log<'py>(
        slf: &Bound<'py, Self>,
        offsets: Option<&Bound<'py, PyAny>>,
        sizes: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let none = py.None().into_bound(py);
        let rest = [offsets.unwrap_or(&none), sizes.unwrap_or(&none)];
        in_python(slf, intern!(py, "fetch_log"), &rest)
    }

    /// The stores of the sessions that have a result, the last one last.
    #[getter]
    fn _stores(&self, py: Python<'_>) -> Vec<Py<Store>> {
        let inner = self.lock();
        (inner.sessions.iter())
            .filter(|s| matches!(s.state, State::Finished(_)))
            .map(|s| s.store.clone_ref(py))
            .collect()
    }

    /// The stores of the sessions in which it is being executed.
    #[getter]
    fn _running_in(&self, py: Python<'_>) -> Vec<Py<Store>> {
        let here = fork::generation();
        let inner = self.lock();
        (inner.sessions.iter())
            .filter(|s| matches!(s.state, State::Claimed { generation, .. } if generation == here))
            .map(|s| s.store.clone_ref(py))
            .collect()
    }

    /// Its log; None if nothing was printed yet.
    #[getter]
    fn _log(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.lock().log.as_ref().map(|log| log.clone_ref(py))
    }

    /// Gives it this log unless it has one; the one that it has then.
    pub(super) fn _keep_log(&self, py: Python<'_>, log: Py<PyAny>) -> Py<PyAny> {
        let mut inner = self.lock();
        match &inner.log {
            Some(kept) => {
                let kept = kept.clone_ref(py);
                drop(inner);
                kept
            }
            None => {
                inner.log = Some(log.clone_ref(py));
                log
            }
        }
    }

    /// That of `Delayed`: Dask mixes up the order of what it computes together if
    /// there are other optimizers in between.
    #[getter]
    fn __dask_optimize__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("dask.delayed")?.getattr(intern!(py, "optimize"))
    }

    fn __dask_graph__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        in_python(slf, intern!(slf.py(), "dask_graph"), &[])
    }

    fn __dask_keys__(&self) -> Vec<String> {
        vec![self.hex_key()]
    }

    fn __dask_layers__(&self) -> (String,) {
        (self.hex_key(),)
    }

    fn __dask_tokenize__(&self) -> String {
        self.hex_key()
    }

    fn __dask_postcompute__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        in_python(slf, intern!(slf.py(), "dask_postcompute"), &[])
    }

    fn __dask_postpersist__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        in_python(slf, intern!(slf.py(), "dask_postpersist"), &[])
    }

    #[getter]
    fn __dask_scheduler__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import(intern!(py, "mars.remote._object"))?
            .getattr(intern!(py, "dask_scheduler"))
    }

    /// Refuses: a lazy call, or a result in this process, cannot be sent anywhere.
    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(format!(
            "cannot pickle {}: it stands for a call in this process; \
             pass it as an argument of spawn, or fetch its value and send that",
            self.__repr__()
        )))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Another thread is at it: it counts as used from outside then.
        let Ok(inner) = self.inner.try_lock() else {
            return Ok(());
        };
        for constant in &inner.template.constants {
            visit.call(constant)?;
        }
        for dependency in &inner.template.dependencies {
            visit.call(dependency)?;
        }
        visit.call(&inner.log)?;
        visit.call(&inner.collection)?;
        for session in &inner.sessions {
            if let State::Finished(place) = session.state {
                session
                    .store
                    .get()
                    .visit(place, |value| visit.call(value))?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let (template, log, collection, places) = {
            let mut inner = self.lock();
            let places: Vec<_> = (inner.sessions.iter())
                .filter_map(|session| match session.state {
                    State::Finished(place) => session.store.get().take(place),
                    State::Claimed { .. } => None,
                })
                .collect();
            inner
                .sessions
                .retain(|s| !matches!(s.state, State::Finished(_)));
            (
                std::mem::take(&mut inner.template),
                inner.log.take(),
                inner.collection.take(),
                places,
            )
        };
        drop((log, collection, places));
        drop_objects(template.dependencies);
        drop(template.constants);
    }
}
