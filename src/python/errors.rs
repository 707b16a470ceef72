//! Says in Python what went wrong in the graph or in a task.

use super::keys::Keys;
use crate::graph::{GraphBuilder, GraphError, TaskId};
use crate::python::once::intern;
use pyo3::exceptions::{
    PyKeyError, PyOverflowError, PyRecursionError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::{PyList, PySet};

/// A note names at most this many keys of a chain.
const CHAIN: usize = 8;
/// And at most this many characters of a key.
const KEY_CHARS: usize = 200;

pub(super) fn too_large(_: GraphError) -> PyErr {
    PyOverflowError::new_err(format!(
        "the graph is too large: at most {} tasks and as many constants fit into one computation",
        TaskId::MAX_TASKS
    ))
}

/// A mistake of ours.
pub(super) fn internal(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("dask-on-mars: internal error: {what}"))
}

/// `keys` contains something that cannot be a key.
pub(super) fn unhashable(key: &Bound<'_, PyAny>, cause: PyErr) -> PyErr {
    let py = key.py();
    if !cause.is_instance_of::<PyTypeError>(py) {
        return cause;
    }
    let error = PyTypeError::new_err(format!(
        "unhashable key {}: a key is a string, a number, or a tuple of such; \
         only lists are taken apart into keys",
        shown(key)
    ));
    error.set_cause(py, Some(cause));
    error
}

/// A list or other container has itself somewhere inside.
pub(super) fn contains_itself(container: &Bound<'_, PyAny>) -> PyErr {
    PyRecursionError::new_err(format!(
        "a {} contains itself: {}",
        container.get_type(),
        shown(container)
    ))
}

/// The graph has no task for a key that something needs.
pub(super) fn missing(
    py: Python<'_>,
    keys: &Keys<'_>,
    graph: &GraphBuilder,
    task: TaskId,
    requested: bool,
) -> PyErr {
    let Some(key) = keys.get(task) else {
        return internal("a missing key has no name");
    };
    if requested {
        return PyKeyError::new_err(key.clone().unbind());
    }
    let dependents = (0..graph.len())
        .map(TaskId::new)
        .filter(|t| graph.dependencies(*t).contains(&task))
        .filter_map(|t| keys.get(t));
    match PySet::new(py, dependents) {
        Ok(dependents) => PyValueError::new_err(format!(
            "Missing dependency {} for dependents {}",
            key, dependents
        )),
        Err(error) => error,
    }
}

/// The graph cannot be run.
pub(super) fn graph(py: Python<'_>, error: GraphError, keys: &[Py<PyAny>]) -> PyErr {
    match error {
        GraphError::TooLarge => too_large(error),
        GraphError::Cycle(tasks) => {
            let mut path = String::new();
            for task in tasks.iter().chain(tasks.first()) {
                path.push_str("\n  -> ");
                path.push_str(&shown(keys[task.index()].bind(py)));
            }
            PyRuntimeError::new_err(format!("Cycle detected between the following keys:{path}"))
        }
    }
}

/// Adds a note to the exception of a task: which key failed, and who asked
/// for it.
pub(super) fn add_note(
    py: Python<'_>,
    error: &PyErr,
    task: TaskId,
    asked_for_by: &[TaskId],
    name: impl Fn(TaskId) -> String,
) {
    let mut note = format!("mars: raised by task {}", name(task));
    if let Some((last, between)) = asked_for_by.split_last() {
        note.push_str(", needed by ");
        for key in between.iter().take(CHAIN) {
            note.push_str(&name(*key));
            note.push_str(" <- ");
        }
        if between.len() > CHAIN {
            note.push_str(&format!("({} more) <- ", between.len() - CHAIN));
        }
        note.push_str(&name(*last));
    }
    let value = error.value(py);
    let told = value
        .getattr_opt(intern!(py, "__notes__"))
        .ok()
        .flatten()
        .and_then(|notes| notes.cast_into::<PyList>().ok())
        .is_some_and(|notes| notes.contains(&note).unwrap_or(false));
    if !told {
        // An exception that takes no notes is raised without one.
        let _ = value.call_method1(intern!(py, "add_note"), (note,));
    }
}

/// A key as a person reads it, shortened if it is long.
pub(super) fn shown(key: &Bound<'_, PyAny>) -> String {
    let Ok(text) = key.repr() else {
        return "<a key without repr>".to_owned();
    };
    let text = text.to_string_lossy();
    match text.char_indices().nth(KEY_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
