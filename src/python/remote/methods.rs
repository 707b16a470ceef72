//! The methods of `mars.remote.Object`.

use super::super::threads::interpreter_call;
use super::claim::State;
use super::object::{Object, Operation, drop_objects};
use super::store::Store;
use crate::fork;
use crate::python::once::intern;
use pyo3::PyTraverseError;
use pyo3::exceptions::PyTypeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};
use smallvec::SmallVec;

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
    ///     True shows a bar (needs tqdm), False none. Default: the setting ``mars.progress``.
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
