//! Compiles fused tasks: a small graph of its own inside one task.
//!
//! Dask's `Task.fuse` makes `_execute_subgraph(inner, outkey, inkeys, *values)`.
//! Its inner keys are private. Each inner task becomes a piece of the program
//! that leaves its result in a register, in an order in which every register
//! is filled before it is read.

use super::compile::{Compiler, Pending};
use super::program::Op;
use crate::graph::TaskId;
use crate::python::once::intern;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// What an inner key stands for.
pub(super) enum Binding {
    /// The result of a task of the outer graph.
    Task(TaskId),
    /// What an earlier piece of the program left there.
    Register(usize),
    /// A constant.
    Value(Py<PyAny>),
}

impl Binding {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Binding::Task(task) => Binding::Task(*task),
            Binding::Register(register) => Binding::Register(*register),
            Binding::Value(value) => Binding::Value(value.clone_ref(py)),
        }
    }
}

/// The inner keys of the fused tasks within one program.
#[derive(Default)]
pub(super) struct Scopes<'py> {
    /// For each scope: key to position in `bindings`.
    scopes: Vec<Bound<'py, PyDict>>,
    bindings: Vec<Binding>,
}

impl<'py> Scopes<'py> {
    /// Not a scope: the graph itself.
    pub(super) const OUTER: usize = usize::MAX;

    pub(super) fn clear(&mut self) {
        self.scopes.clear();
        self.bindings.clear();
    }

    fn open(&mut self, py: Python<'py>) -> usize {
        self.scopes.push(PyDict::new(py));
        self.scopes.len() - 1
    }

    fn find(&self, scope: usize, key: &Bound<'py, PyAny>) -> PyResult<Option<&Binding>> {
        match self.scopes[scope].get_item(key)? {
            Some(position) => Ok(Some(&self.bindings[position.extract::<usize>()?])),
            None => Ok(None),
        }
    }

    fn bind(&mut self, scope: usize, key: &Bound<'py, PyAny>, binding: Binding) -> PyResult<()> {
        self.scopes[scope].set_item(key, self.bindings.len())?;
        self.bindings.push(binding);
        Ok(())
    }

    /// What `key` stands for in `scope`.
    pub(super) fn get(&self, scope: usize, key: &Bound<'py, PyAny>) -> PyResult<Binding> {
        self.find(scope, key)?
            .map(|binding| binding.clone_ref(key.py()))
            .ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
    }
}

impl<'py> Compiler<'_, 'py> {
    /// Compiles `_execute_subgraph(*args)`. Returns `false`, with nothing done,
    /// if `args` are not as `Task.fuse` makes them; the call is then made as
    /// it stands.
    pub(super) fn subgraph(&mut self, args: &Bound<'py, PyTuple>, outer: usize) -> PyResult<bool> {
        let py = self.py;
        if args.len() < 3 {
            return Ok(false);
        }
        let (inner, outkey, inkeys) = (args.get_item(0)?, args.get_item(1)?, args.get_item(2)?);
        let (Ok(inner), Ok(inkeys)) = (
            inner.cast_into_exact::<PyDict>(),
            inkeys.cast_into_exact::<PyTuple>(),
        ) else {
            return Ok(false);
        };
        let values: Vec<_> = args.iter().skip(3).collect();
        if values.len() != inkeys.len() {
            return Ok(false);
        }
        let scope = self.scopes.open(py);
        // Keys handed in from outside hide inner ones of the same name.
        let mut steps = Vec::new();
        for (key, value) in inkeys.iter().zip(values) {
            let binding = match self.handed_in(&value, outer)? {
                Some(binding) => binding,
                None => {
                    let register = self.new_register();
                    steps.push((value, outer, register));
                    Binding::Register(register)
                }
            };
            self.scopes.bind(scope, &key, binding)?;
        }
        if !self.plan(&inner, &outkey, scope, &mut steps)? {
            return Ok(false);
        }
        let result = self.scopes.get(scope, &outkey)?;
        self.pending.push(Pending::Inner(result));
        for (node, scope, register) in steps.into_iter().rev() {
            self.pending.push(Pending::Emit(Op::Store(register)));
            self.pending.push(Pending::Argument(node, scope));
        }
        Ok(true)
    }

    fn new_register(&mut self) -> usize {
        self.registers += 1;
        self.registers - 1
    }

    /// What an argument of the subgraph stands for, unless it must be computed.
    fn handed_in(&mut self, value: &Bound<'py, PyAny>, outer: usize) -> PyResult<Option<Binding>> {
        let key = if self.is_reference(value) {
            value.getattr(intern!(self.py, "key"))?
        } else if self.is_alias(value) {
            value.getattr(intern!(self.py, "target"))?
        } else if self.is_node(value) {
            return Ok(None);
        } else {
            return Ok(Some(Binding::Value(value.clone().unbind())));
        };
        if outer == Scopes::OUTER {
            Ok(Some(Binding::Task(self.keys.number(&key)?)))
        } else {
            self.scopes.get(outer, &key).map(Some)
        }
    }

    /// Lists the inner tasks that `outkey` needs, dependencies first, and gives
    /// each a register. `false` if this is no proper graph of nodes.
    fn plan(
        &mut self,
        inner: &Bound<'py, PyDict>,
        outkey: &Bound<'py, PyAny>,
        scope: usize,
        steps: &mut Vec<(Bound<'py, PyAny>, usize, usize)>,
    ) -> PyResult<bool> {
        let py = self.py;
        let mut stack = vec![outkey.clone()];
        // Nodes whose dependencies are on the stack above them: met again
        // without these being bound, they close a cycle.
        let open = PyDict::new(py);
        while let Some(key) = stack.last().cloned() {
            if self.scopes.find(scope, &key)?.is_some() {
                stack.pop();
                continue;
            }
            let Some(node) = inner.get_item(&key)? else {
                return Ok(false);
            };
            if !self.is_node(&node) {
                return Ok(false);
            }
            if self.is_data(&node) {
                let value = node.getattr(intern!(py, "value"))?;
                self.scopes
                    .bind(scope, &key, Binding::Value(value.unbind()))?;
                stack.pop();
                continue;
            }
            let mut missing = Vec::new();
            for dependency in node.getattr(intern!(py, "dependencies"))?.try_iter()? {
                let dependency = dependency?;
                if self.scopes.find(scope, &dependency)?.is_none() {
                    missing.push(dependency);
                }
            }
            if missing.is_empty() {
                let binding = if self.is_alias(&node) {
                    let target = node.getattr(intern!(py, "target"))?;
                    self.scopes.get(scope, &target)?
                } else {
                    let register = self.new_register();
                    steps.push((node, scope, register));
                    Binding::Register(register)
                };
                self.scopes.bind(scope, &key, binding)?;
                stack.pop();
            } else {
                if open.contains(&key)? {
                    return Ok(false);
                }
                open.set_item(&key, py.None())?;
                // A frozenset of strings comes in another order in every
                // process; the order of the steps shall not.
                missing.sort_by_cached_key(|k| k.repr().map(|r| r.to_string()).unwrap_or_default());
                stack.extend(missing.into_iter().rev());
            }
        }
        Ok(true)
    }
}
