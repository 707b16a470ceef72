//! Foretells a run: parse and order as for `execute`, then play instead of run.

use super::errors;
use super::parse::{self, Parsed};
use super::prefix::groups_of;
use super::remote::Objects;
use super::results::Wanted;
use super::threads::Inside;
use crate::graph::TaskId;
use crate::memory::forecast::{Peak, Plan, Shape};
use crate::order::{Hints, order_with};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What a run will come to; for Python, a dict.
#[derive(IntoPyObject)]
pub(super) struct Forecast<'py> {
    /// How many tasks will run.
    tasks: usize,
    /// Of these, how many there are of each prefix.
    by_prefix: Bound<'py, PyDict>,
    /// The keys of the longest chain of tasks, from the first to the last.
    critical_path: Vec<Py<PyAny>>,
    /// The most tasks that run at the same time if each starts as soon as it can.
    width: usize,
    /// The peak with one worker.
    serial: KeyedPeak,
    /// And with as many as there are.
    parallel: KeyedPeak,
    /// The results of how many tasks are of unknown size.
    unknown: usize,
    /// What is held for the caller: results, bytes, and results of unknown size.
    requested: (usize, u64, usize),
    /// Values that are part of the graph.
    known: Vec<Py<PyAny>>,
}

/// A peak, with keys for tasks.
#[derive(IntoPyObject)]
struct KeyedPeak {
    results: usize,
    results_key: Option<Py<PyAny>>,
    bytes: u64,
    bytes_key: Option<Py<PyAny>>,
    unknown: usize,
}

impl KeyedPeak {
    fn new(py: Python<'_>, peak: Peak, keys: &[Py<PyAny>]) -> Self {
        let key = |task: Option<TaskId>| task.map(|task| keys[task.index()].clone_ref(py));
        KeyedPeak {
            results: peak.results,
            results_key: key(peak.results_at),
            bytes: peak.bytes,
            bytes_key: key(peak.bytes_at),
            unknown: peak.unknown,
        }
    }
}

/// Foretells what computing `keys` of `dsk` with so many workers comes to; runs nothing.
///
/// The size of a result is what the user says of it: `size_of(key)` if that is not None,
/// else `given` for its key, its layer or its prefix. Else it is `known` for its key, if at all.
#[pyfunction]
#[pyo3(signature = (dsk, keys, workers, given, known, size_of=None))]
pub(super) fn forecast<'py>(
    py: Python<'py>,
    dsk: &Bound<'py, PyDict>,
    keys: &Bound<'py, PyAny>,
    workers: usize,
    given: &Bound<'py, PyDict>,
    known: &Bound<'py, PyDict>,
    size_of: Option<&Bound<'py, PyAny>>,
) -> PyResult<Forecast<'py>> {
    let mut wanted = Wanted::new(keys)?;
    let parsed = parse::parse(py, dsk, Objects::new(None, 0), |keys, _| {
        wanted.number(keys)
    })?;
    let Parsed {
        graph,
        keys,
        known: values,
        mut requested,
        ..
    } = parsed;
    requested.sort_unstable();
    requested.dedup();
    let known_tasks: Vec<_> = values.iter().map(|(task, _)| *task).collect();
    let mut runs = vec![true; keys.len()];
    for task in &known_tasks {
        runs[task.index()] = false;
    }

    let groups = groups_of(py, &keys);
    let mut by_group = Vec::with_capacity(groups.names.len());
    for (name, prefix) in groups.names.iter().zip(&groups.prefixes) {
        by_group.push(match size(given.get_item(name)?)? {
            Some(bytes) => Some(bytes),
            None => size(given.get_item(prefix)?)?,
        });
    }
    let mut bytes = Vec::with_capacity(keys.len());
    for (i, key) in keys.iter().enumerate() {
        if !runs[i] {
            bytes.push(None);
            continue;
        }
        let mut found = size_of.map(|ask| ask.call1((key,))).transpose()?;
        if found.as_ref().is_none_or(|found| found.is_none()) && !given.is_empty() {
            found = given.get_item(key)?;
        }
        let found = size(found)?.or(by_group[groups.of_task[i] as usize]);
        bytes.push(match found {
            None if !known.is_empty() => size(known.get_item(key)?)?,
            found => found,
        });
    }

    let inside = Inside::enter(py)?;
    let foretold = inside.outside(py, || {
        let graph = graph.finish()?;
        let hints = Hints {
            known: &known_tasks,
            requested: &requested,
        };
        let plan = Plan {
            rank: &order_with(&graph, hints),
            known: &known_tasks,
            requested: &requested,
            bytes: &bytes,
            graph: &graph,
        };
        Ok((plan.shape(), plan.peak(1), plan.peak(workers)))
    });
    let (shape, serial, parallel): (Shape, Peak, Peak) =
        foretold.map_err(|error| errors::graph(py, error, &keys))?;

    let mut counts = vec![0_usize; groups.names.len()];
    for (group, _) in groups.of_task.iter().zip(&runs).filter(|(_, runs)| **runs) {
        counts[*group as usize] += 1;
    }
    let by_prefix = PyDict::new(py);
    for (prefix, count) in groups.prefixes.iter().zip(counts).filter(|(_, n)| *n > 0) {
        let before = by_prefix.get_item(prefix)?;
        let before: usize = before.map_or(Ok(0), |n| n.extract())?;
        by_prefix.set_item(prefix, before + count)?;
    }
    requested.retain(|task| runs[task.index()]);
    let held = requested.iter().map(|task| bytes[task.index()]);
    Ok(Forecast {
        tasks: shape.tasks,
        by_prefix,
        critical_path: (shape.critical_path.iter())
            .map(|task| keys[task.index()].clone_ref(py))
            .collect(),
        width: shape.width,
        serial: KeyedPeak::new(py, serial, &keys),
        parallel: KeyedPeak::new(py, parallel, &keys),
        unknown: (bytes.iter().zip(&runs))
            .filter(|(bytes, runs)| bytes.is_none() && **runs)
            .count(),
        requested: (
            requested.len(),
            held.clone().flatten().fold(0, u64::saturating_add),
            held.filter(Option::is_none).count(),
        ),
        known: (values.iter())
            .map(|(_, kept)| kept.value(py))
            .collect::<PyResult<_>>()?,
    })
}

/// A size that Python code gives; None says that it is unknown.
fn size(given: Option<Bound<'_, PyAny>>) -> PyResult<Option<u64>> {
    let Some(given) = given.filter(|given| !given.is_none()) else {
        return Ok(None);
    };
    match given.extract::<u64>() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) => {
            let error = PyValueError::new_err(format!(
                "the size of a result must be a whole number of bytes, at least 0, not {given:?}"
            ));
            error.set_cause(given.py(), Some(cause));
            Err(error)
        }
    }
}
