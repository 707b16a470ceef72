//! The results of one session.

use super::super::memory::{Kept, Memory};
use super::super::runner::PythonRunner;
use super::super::threads::Inside;
use crate::executor::Run;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Where the results of one session are, and which of its runs are under way.
///
/// A result belongs to the object that it is of, which shows it to the garbage
/// collector and takes it out when it goes. The store has the results so that
/// they can be let go of all together.
#[pyclass(frozen, module = "mars._mars")]
pub(crate) struct Store {
    /// How often a function that asks for it is called again, and how many seconds
    /// pass before the first time.
    #[pyo3(get)]
    pub(super) retries: u32,
    #[pyo3(get)]
    pub(super) retry_delay: f64,
    /// The limit that its results are under.
    #[pyo3(get)]
    pub(in crate::python) memory: Option<Memory>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    places: Vec<Option<Kept>>,
    free: Vec<u32>,
    stopped: bool,
    runs: Vec<Weak<Run<PythonRunner>>>,
}

/// Where in a store a result is.
#[derive(Clone, Copy)]
pub(super) struct Place(u32);

impl Store {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `value`. None if the session has stopped.
    pub(super) fn put(&self, value: Kept) -> Option<Place> {
        let mut inner = self.lock();
        if inner.stopped {
            drop(inner); // before the value, whose destructor may run anything
            drop(value);
            return None;
        }
        match inner.free.pop() {
            Some(place) => {
                inner.places[place as usize] = Some(value);
                Some(Place(place))
            }
            None => {
                inner.places.push(Some(value));
                Some(Place(inner.places.len() as u32 - 1))
            }
        }
    }

    /// The value at `place`, unless the session has stopped.
    pub(super) fn get(&self, py: Python<'_>, place: Place) -> Option<Kept> {
        let inner = self.lock();
        let value = inner.places.get(place.0 as usize)?.as_ref()?;
        Some(value.clone_ref(py))
    }

    /// Takes a value out.
    pub(super) fn take(&self, place: Place) -> Option<Kept> {
        let mut inner = self.lock();
        let value = inner.places.get_mut(place.0 as usize)?.take()?;
        inner.free.push(place.0);
        Some(value)
    }

    /// Shows a value to the garbage collector, unless another thread has the lock.
    pub(super) fn visit<E>(
        &self,
        place: Place,
        visit: impl FnOnce(&Py<PyAny>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.inner.try_lock() {
            Ok(inner) => match inner.places.get(place.0 as usize) {
                Some(Some(value)) => value.visit(visit),
                _ => Ok(()),
            },
            Err(_) => Ok(()),
        }
    }

    /// Remembers a run, to be cancelled when the session stops.
    pub(in crate::python) fn adopt(&self, run: &Arc<Run<PythonRunner>>) {
        let mut inner = self.lock();
        if inner.runs.len() == inner.runs.capacity() {
            inner.runs.retain(|run| run.strong_count() > 0);
        }
        inner.runs.push(Arc::downgrade(run));
    }
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(signature = (retries, retry_delay, memory=None))]
    fn new(retries: u32, retry_delay: f64, memory: Option<Memory>) -> Self {
        Store {
            retries,
            retry_delay,
            memory,
            inner: Mutex::default(),
        }
    }

    /// Whether the session has stopped.
    #[getter]
    pub(super) fn stopped(&self) -> bool {
        self.lock().stopped
    }

    /// The number of results that are there.
    fn __len__(&self) -> usize {
        let inner = self.lock();
        inner.places.len() - inner.free.len()
    }

    /// Cancels what is under way and lets go of all results; False if it had been
    /// stopped before.
    fn stop(&self, py: Python<'_>) -> PyResult<bool> {
        let inside = Inside::enter(py)?;
        let (was_stopped, places, runs) = {
            let mut inner = self.lock();
            inner.free = Vec::new();
            (
                std::mem::replace(&mut inner.stopped, true),
                std::mem::take(&mut inner.places),
                std::mem::take(&mut inner.runs),
            )
        };
        inside.outside(py, || {
            for run in runs.iter().filter_map(Weak::upgrade) {
                run.cancel();
            }
        });
        drop(places);
        Ok(!was_stopped)
    }
}
