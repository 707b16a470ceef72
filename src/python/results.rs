//! The asked-for keys, and the results in the same shape.
//!
//! A list asks for a tuple of what its items ask for; everything else is a
//! key. Lists may be nested to any depth: both ways are walked with a list of
//! pending work.

use super::errors;
use super::keys::Keys;
use super::open::Open;
use crate::graph::TaskId;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

/// One step of building the answer from the front.
enum Step<'py> {
    /// Push the result of this asked-for key.
    Key(Bound<'py, PyAny>),
    /// Gather this many values into a tuple.
    Tuple(usize),
}

/// What the caller asked for.
pub(super) struct Wanted<'py> {
    steps: Vec<Step<'py>>,
    /// The task of each `Step::Key`, once numbered.
    tasks: Vec<TaskId>,
}

impl<'py> Wanted<'py> {
    /// Reads the second argument of a scheduler call.
    pub(super) fn new(keys: &Bound<'py, PyAny>) -> PyResult<Self> {
        enum Pending<'py> {
            Visit(Bound<'py, PyAny>),
            Gather(Bound<'py, PyList>, usize),
        }
        let mut steps = Vec::new();
        let mut open = Open::default();
        let mut pending = vec![Pending::Visit(keys.clone())];
        while let Some(next) = pending.pop() {
            match next {
                Pending::Gather(list, n) => {
                    open.leave(&list);
                    steps.push(Step::Tuple(n));
                }
                Pending::Visit(value) => match value.cast::<PyList>() {
                    Ok(list) => {
                        open.enter(list)?;
                        let items: Vec<_> = list.iter().collect();
                        pending.push(Pending::Gather(list.clone(), items.len()));
                        pending.extend(items.into_iter().rev().map(Pending::Visit));
                    }
                    Err(_) => {
                        if let Err(error) = value.hash() {
                            return Err(errors::unhashable(&value, error));
                        }
                        steps.push(Step::Key(value));
                    }
                },
            }
        }
        Ok(Wanted {
            steps,
            tasks: Vec::new(),
        })
    }

    /// Numbers the asked-for keys; repeated ones repeat.
    pub(super) fn number(&mut self, keys: &mut Keys<'py>) -> PyResult<Vec<TaskId>> {
        self.tasks.clear();
        for step in &self.steps {
            if let Step::Key(key) = step {
                self.tasks.push(keys.number(key)?);
            }
        }
        Ok(self.tasks.clone())
    }

    /// The answer, with `result` giving the result of a task.
    pub(super) fn gather(
        &self,
        py: Python<'py>,
        result: impl Fn(TaskId) -> PyResult<Option<Bound<'py, PyAny>>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut tasks = self.tasks.iter();
        let mut values: Vec<Bound<'py, PyAny>> = Vec::new();
        for step in &self.steps {
            match step {
                Step::Key(_) => {
                    if let Some(task) = tasks.next() {
                        values.extend(result(*task)?);
                    }
                }
                Step::Tuple(n) => {
                    let items = values.split_off(values.len() - n);
                    values.push(PyTuple::new(py, items)?.into_any());
                }
            }
        }
        values
            .pop()
            .ok_or_else(|| errors::internal("no keys to gather"))
    }
}
