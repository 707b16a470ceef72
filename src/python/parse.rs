//! Walks a Dask graph from the asked-for keys and builds ours.
//!
//! Only what the keys need is looked at, each value once, in the order in
//! which its key is first met: the graph is culled by not walking further. A
//! list of keys still to visit stands in for recursion.

use super::compile::{Compiled, Compiler};
use super::dask::Dask;
use super::errors;
use super::keys::Keys;
use super::memory::Kept;
use super::program::Programs;
use super::remote::{Objects, PendingObjects, compile_object};
use crate::graph::{GraphBuilder, TaskId};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Signals are looked for after this many tasks.
const CHECK_SIGNALS_EVERY: usize = 1 << 16;

/// A Dask graph, parsed.
pub(super) struct Parsed {
    /// Not finished: looking for cycles needs no interpreter lock.
    pub(super) graph: GraphBuilder,
    pub(super) programs: Programs,
    /// The key of every task.
    pub(super) keys: Vec<Py<PyAny>>,
    /// Results that are there before anything runs.
    pub(super) known: Vec<(TaskId, Kept)>,
    /// The tasks whose results the caller asked for.
    pub(super) requested: Vec<TaskId>,
    /// The objects of `mars.remote` that are to be run, if there are any.
    pub(super) objects: Option<PendingObjects>,
}

/// Parses what is needed of `dsk` for the tasks that `ask` numbers.
///
/// Raises `KeyError` for an asked-for key that `dsk` lacks, and `ValueError`
/// for a dependency that it lacks.
pub(super) fn parse<'py>(
    py: Python<'py>,
    dsk: &Bound<'py, PyDict>,
    mut objects: Objects<'py>,
    ask: impl FnOnce(&mut Keys<'py>, &mut Objects<'py>) -> PyResult<Vec<TaskId>>,
) -> PyResult<Parsed> {
    let mut keys = Keys::new(dsk)?;
    let mut programs = Programs::new();
    let mut graph = GraphBuilder::new();
    let mut known = Vec::new();
    let mut missing = Vec::new();
    let requested = ask(&mut keys, &mut objects)?;

    let mut compiler = Compiler::new(Dask::get(py)?, &mut keys, &mut objects, &mut programs, py);
    let mut next = 0;
    while next < compiler.keys.len() {
        let task = TaskId::new(next);
        let compiled = if let Some(object) = compiler.keys.object(task) {
            compile_object(&mut compiler, object)?
        } else {
            match compiler.keys.take_value(task) {
                Some(value) => compiler.compile(task, &value)?,
                None => Compiled::SelfReference,
            }
        };
        let dependencies = match compiled {
            Compiled::Program => compiler.dependencies.as_slice(),
            Compiled::Known(value) => {
                known.push((task, value));
                &[]
            }
            Compiled::SelfReference => {
                missing.push(task);
                &[]
            }
        };
        graph.push(dependencies).map_err(errors::too_large)?;
        compiler.programs.end_task()?;
        next += 1;
        if next % CHECK_SIGNALS_EVERY == 0 {
            py.check_signals()?;
        }
    }
    if let Some(&task) = missing.first() {
        // An asked-for key that is missing is the more telling mistake.
        let task = *missing
            .iter()
            .find(|t| requested.contains(t))
            .unwrap_or(&task);
        return Err(errors::missing(
            py,
            &keys,
            &graph,
            task,
            requested.contains(&task),
        ));
    }
    programs.shrink();
    let mut keys = keys.into_needed(py);
    let objects = objects.into_pending(&mut keys, &known)?;
    Ok(Parsed {
        graph,
        programs,
        keys,
        known,
        requested,
        objects,
    })
}
