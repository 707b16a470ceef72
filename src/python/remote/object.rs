//! The handle of a lazy call.

use super::claim::{InSession, State};
use super::drops::drop_flat;
use super::key::Key;
use super::python_side::PythonSide;
use super::template::Template;
use crate::python::memory::Kept;
use crate::python::once::intern;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
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
pub(super) type WeakDependencies = SmallVec<[Py<PyWeakrefReference>; 1]>;

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
    pub(super) inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub(super) template: Template,
    /// Where the objects it depends on may still be found, once it has let go
    /// of them: what was executed does not keep alive what it was made from.
    pub(super) former: Option<WeakDependencies>,
    /// Not yet executed, unless it says otherwise for a session.
    pub(super) sessions: SmallVec<[InSession; 1]>,
    /// What the function printed; shared by all outputs of one call.
    pub(super) log: Option<Py<PyAny>>,
    /// The collection that it stands for.
    pub(super) collection: Option<Py<PyAny>>,
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

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
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
        match self.function_name(py) {
            Some(name) => format!("{name}: {}", self.__repr__()),
            None => self.__repr__(),
        }
    }

    /// How many objects its program needs, and the names of the first, as it comes to them.
    pub(in crate::python) fn names_of_needed(
        &self,
        py: Python<'_>,
        most: usize,
    ) -> (usize, Vec<String>) {
        let first = |template: &Template, needed: &[Py<Object>]| {
            let slots = template.slots();
            let objects = slots.iter().take(most).filter_map(|slot| needed.get(*slot));
            let objects: Dependencies = objects.map(|object| object.clone_ref(py)).collect();
            (slots.len(), objects)
        };
        let (count, objects) = match self.with_template(first) {
            Some(found) => found,
            None => match self.former_dependencies(py) {
                Ok(former) => self.with_template_and(&former, first),
                Err(_) => return (0, Vec::new()),
            },
        };
        let names = objects.iter().map(|object| object.get().name(py));
        (count, names.collect())
    }

    /// The name of its function.
    pub(in crate::python) fn function_name(&self, py: Python<'_>) -> Option<String> {
        let functions: Vec<_> = {
            let inner = self.lock();
            (inner.template.constants.iter().take(2))
                .map(|constant| constant.clone_ref(py))
                .collect()
        };
        let function = (functions.iter()).find(|f| !PythonSide::is_ours(f.bind(py)))?;
        let name = (function.bind(py)).getattr_opt(intern!(py, "__qualname__"));
        name.ok().flatten()?.extract::<String>().ok()
    }

    pub(super) fn collection(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let inner = self.lock();
        inner.collection.as_ref().map(|c| c.clone_ref(py))
    }
}

pub(super) fn drop_objects(objects: impl IntoIterator<Item = Py<Object>>) {
    drop_flat(objects.into_iter().map(Py::into_any));
}

impl Drop for Object {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut references: SmallVec<[Py<PyAny>; 4]> = SmallVec::new();
        for session in &inner.sessions {
            if let State::Finished(place) = session.state {
                match session.store.get().take(place) {
                    Some(Kept::Value(value)) => references.push(value),
                    kept => drop(kept),
                }
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
