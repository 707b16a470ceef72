//! Describes a task that has failed.

use super::replay::Replay;
use super::{ARGUMENTS, NAMES, PythonSide, not_so_well};
use crate::graph::TaskId;
use crate::python::prefix;
use crate::python::program::{Op, instructions, slots};
use crate::python::runner::PythonRunner;
use crate::python::threads::{self, Inside};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

impl PythonRunner {
    /// Describes `task`, which has failed and still counts as running. `keeps_inputs`: they are
    /// kept, if that is wanted.
    pub(in crate::python) fn capture(&self, py: Python<'_>, task: TaskId, keeps_inputs: bool) {
        // What cannot be described is left out; it must not take the place of the error.
        not_so_well(
            py,
            self.try_capture(py, task, Inputs::Alive { keeps_inputs }),
        );
    }

    /// Describes `task`, which was not run or has succeeded: its inputs may be gone.
    pub(super) fn capture_without_inputs(&self, py: Python<'_>, task: TaskId) -> PyResult<()> {
        self.try_capture(py, task, Inputs::Gone)
    }

    fn try_capture(&self, py: Python<'_>, task: TaskId, inputs: Inputs) -> PyResult<()> {
        let _inside = Inside::enter(py)?;
        let words = self.programs().words(task);
        let needed = slots(words);
        let names = self.names_of_needed(py, task, &needed);
        let (times, call) = self.failures().known(py, task);
        let object = self.remote().and_then(|remote| remote.object(py, task));
        let repeats = self.remote().map_or(0, |remote| remote.repeats(task));
        let key = match object {
            Some(_) => py.None(),
            None => self.keys()[task.index()].clone_ref(py),
        };
        let prefix = match object.as_ref().map(|o| o.get().function_name(py)) {
            None => prefix::prefix(key.bind(py)),
            Some(Some(function)) => format!("{function}()"),
            Some(None) => "Other".to_owned(),
        };
        let (replay, why_not) = match self.replay(py, words, inputs) {
            Ok(replay) => (Some(replay), ""),
            Err(why) => (None, why),
        };
        let function = match &call {
            Some(call) => Some(call.function.clone_ref(py)),
            None => last_function(words).map(|i| self.programs().get(i).clone_ref(py)),
        };
        let keywords = call.as_ref().and_then(|call| call.keywords.as_ref());
        let values = PyList::empty(py);
        if call.is_none() && matches!(inputs, Inputs::Alive { .. }) {
            for &dependency in needed.iter().take(ARGUMENTS) {
                values.append(self.input(py, dependency, false)?)?;
            }
        }
        let arguments = match &call {
            Some(call) => Some((PyTuple::new(py, &call.arguments)?, call.count)),
            None => None,
        };
        let worker = match inputs {
            Inputs::Alive { .. } => {
                let thread = std::thread::current();
                let name = thread.name().filter(|_| threads::is_worker());
                Some((name.map(str::to_owned), threads::ident()))
            }
            Inputs::Gone => None,
        };
        let captured = PythonSide::get(py)?.capture.bind(py).call1((
            (key, self.name(py, task), prefix),
            (function, arguments, keywords),
            (PyTuple::new(py, &names)?, needed.len(), values),
            repeats + times.max(1),
            worker,
            (replay, why_not),
        ))?;
        self.failures().keep(task, captured.unbind());
        Ok(())
    }

    /// The names of the first tasks that `task` needs.
    fn names_of_needed(&self, py: Python<'_>, task: TaskId, needed: &[TaskId]) -> Vec<String> {
        // The run lets go of objects that have a result.
        if let Some(object) = self.remote().and_then(|remote| remote.object(py, task)) {
            let (count, names) = object.get().names_of_needed(py, NAMES);
            if count == needed.len() {
                return names;
            }
        }
        let needed = needed.iter().take(NAMES);
        needed.map(|&task| self.name(py, task)).collect()
    }

    /// What runs a task again, or why there is nothing.
    fn replay(
        &self,
        py: Python<'_>,
        words: &[u32],
        inputs: Inputs,
    ) -> Result<Py<Replay>, &'static str> {
        match inputs {
            _ if !self.failures().keeps_inputs => Err("setting"),
            Inputs::Alive { keeps_inputs: true } => {
                let value = |task| self.input(py, task, true);
                Replay::new(py, self.programs(), words, self.context(), value).map_err(|_| "unread")
            }
            Inputs::Alive { .. } => Err("memory"),
            Inputs::Gone => Err("not run"),
        }
    }
}

/// What is known of the results that a task depends on.
#[derive(Clone, Copy)]
enum Inputs {
    Alive {
        keeps_inputs: bool,
    },
    /// They may have been released.
    Gone,
}

/// The constant that the last call of a program calls: it makes the result.
fn last_function(words: &[u32]) -> Option<usize> {
    let mut stack: Vec<Option<usize>> = Vec::new();
    let mut last = None;
    for (_, op) in instructions(words) {
        let (takes, gives) = match op {
            Op::Const(i) => (0, Some(Some(i))),
            Op::Slot(_) | Op::Load(_) | Op::Take(_) => (0, Some(None)),
            Op::Call(n) | Op::CallKw(n) => (n + 1, Some(None)),
            Op::List(n) | Op::Tuple(n) | Op::Set(n) | Op::FrozenSet(n) => (n, Some(None)),
            Op::Dict(pairs) => (2 * pairs, Some(None)),
            Op::Store(_) => (1, None),
        };
        let rest = stack.len().saturating_sub(takes);
        if let Op::Call(_) | Op::CallKw(_) = op {
            last = stack[rest];
        }
        stack.truncate(rest);
        stack.extend(gives);
    }
    last
}
