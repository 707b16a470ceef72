//! Compiles one value of a Dask graph into a program.
//!
//! What Dask interprets at every call (`Task.__call__`, nested containers,
//! fused subgraphs with an `order()` of their own, legacy tuples) is resolved
//! here, once. Whatever is not known is called as Dask would call it:
//! `node({key: value, ...})`. Nothing here recurses on how deep a value is
//! nested: pending work is a list.

use super::dask::Dask;
use super::keys::Keys;
use super::memory::Kept;
use super::open::Open;
use super::program::{Mark, Op, Programs, take_last_loads};
use super::remote::{Object, Objects, is_object};
use super::subgraph::{Binding, Scopes};
use crate::graph::TaskId;
use crate::python::once::intern;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple, PyType,
};

/// What became of a value of the graph.
pub(super) enum Compiled {
    /// A program was added; it needs the results in [`Compiler::dependencies`].
    Program,
    /// The value itself: nothing has to run.
    Known(Kept),
    /// The key stands for itself, which says nothing: Dask leaves it out.
    SelfReference,
}

/// One thing left to do for the program at hand; the last one is next.
pub(super) enum Pending<'py> {
    /// An argument of a `Task`: a node, a reference or a constant.
    Argument(Bound<'py, PyAny>, usize),
    /// A value of a legacy tuple or list.
    Legacy(Bound<'py, PyAny>),
    /// Everything the instruction needs is on the stack.
    Emit(Op),
    /// The second word of a `CallKw`.
    Names(Bound<'py, PyAny>),
    /// Push what a key of a subgraph stands for.
    Inner(Binding),
    /// The items of this legacy container are done; it began at this word, when
    /// so many references had been made.
    LegacyContainer(Bound<'py, PyAny>, Op, Mark, usize),
}

/// Compiles values; keeps what is needed from one to the next.
pub(super) struct Compiler<'a, 'py> {
    pub(super) py: Python<'py>,
    pub(super) dask: &'static Dask,
    pub(super) keys: &'a mut Keys<'py>,
    /// What `mars.remote` made, met in the graph.
    pub(super) objects: &'a mut Objects<'py>,
    pub(super) programs: &'a mut Programs,
    /// The results that the program at hand needs; may repeat.
    pub(super) dependencies: Vec<TaskId>,
    pub(super) pending: Vec<Pending<'py>>,
    pub(super) scopes: Scopes<'py>,
    /// Legacy containers around the value at hand.
    open: Open,
    pub(super) registers: usize,
    /// References to tasks made so far by the program at hand.
    references: usize,
}

fn is_exact(value: &Bound<'_, PyAny>, class: &Py<PyType>) -> bool {
    // SAFETY: both are live objects; only addresses are compared.
    unsafe { ffi::Py_TYPE(value.as_ptr()) == class.as_ptr().cast() }
}

fn is_kind_of(value: &Bound<'_, PyAny>, class: &Py<PyType>) -> bool {
    // SAFETY: both are live objects and `class` is a type. Looks along the
    // MRO only, so that no `__instancecheck__` of an abstract class runs.
    unsafe { ffi::PyType_IsSubtype(ffi::Py_TYPE(value.as_ptr()), class.as_ptr().cast()) != 0 }
}

impl<'a, 'py> Compiler<'a, 'py> {
    pub(super) fn new(
        dask: &'static Dask,
        keys: &'a mut Keys<'py>,
        objects: &'a mut Objects<'py>,
        programs: &'a mut Programs,
        py: Python<'py>,
    ) -> Self {
        Compiler {
            py,
            dask,
            keys,
            objects,
            programs,
            dependencies: Vec::new(),
            pending: Vec::new(),
            scopes: Scopes::default(),
            open: Open::default(),
            registers: 0,
            references: 0,
        }
    }

    /// Compiles the value that the graph at hand has for the key numbered `task`.
    pub(super) fn compile(
        &mut self,
        task: TaskId,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Compiled> {
        self.dependencies.clear();
        self.pending.clear();
        self.scopes.clear();
        self.open.clear();
        self.registers = 0;
        self.references = 0;
        let start = self.programs.mark();
        if is_exact(value, &self.dask.task) {
            self.task(value, Scopes::OUTER)?;
        } else if is_exact(value, &self.dask.data_node) {
            let value = value.getattr(intern!(self.py, "value"))?;
            if !is_object(&value) {
                return Ok(Compiled::Known(value.unbind().into()));
            }
            self.constant(&value)?;
        } else if self.is_node(value) {
            self.argument(value, Scopes::OUTER)?;
        } else {
            self.legacy(value)?;
        }
        while let Some(pending) = self.pending.pop() {
            match pending {
                Pending::Argument(value, scope) => self.argument(&value, scope)?,
                Pending::Legacy(value) => self.legacy(&value)?,
                Pending::Emit(op) => self.programs.push(op),
                Pending::Names(names) => self.programs.push_names(&names)?,
                Pending::Inner(binding) => self.push_binding(&binding)?,
                Pending::LegacyContainer(value, op, mark, before) => {
                    self.open.leave(&value);
                    self.end_legacy_container(op, mark, before)?;
                }
            }
        }
        if self.registers > 0 {
            take_last_loads(self.programs.since_mut(start), self.registers);
        }
        if let [word] = *self.programs.since(start) {
            match Op::decode(word) {
                Op::Const(i) => {
                    let value = self.programs.get(i).clone_ref(self.py);
                    self.programs.cut(start);
                    return Ok(Compiled::Known(value.into()));
                }
                Op::Slot(target) if target == task => {
                    self.programs.cut(start);
                    return Ok(Compiled::SelfReference);
                }
                _ => {}
            }
        }
        Ok(Compiled::Program)
    }

    pub(super) fn is_node(&self, value: &Bound<'py, PyAny>) -> bool {
        is_kind_of(value, &self.dask.graph_node)
    }

    pub(super) fn is_reference(&self, value: &Bound<'py, PyAny>) -> bool {
        is_kind_of(value, &self.dask.task_ref)
    }

    pub(super) fn is_alias(&self, value: &Bound<'py, PyAny>) -> bool {
        is_exact(value, &self.dask.alias)
    }

    pub(super) fn is_data(&self, value: &Bound<'py, PyAny>) -> bool {
        is_exact(value, &self.dask.data_node)
    }

    /// Pushes what `key` stands for.
    pub(super) fn reference(&mut self, key: &Bound<'py, PyAny>, scope: usize) -> PyResult<()> {
        if scope != Scopes::OUTER {
            let binding = self.scopes.get(scope, key)?;
            return self.push_binding(&binding);
        }
        let task = self.keys.number(key)?;
        self.push_slot(task);
        Ok(())
    }

    /// Pushes a value as it is; of an object of `mars.remote`, what it stands for.
    fn constant(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Ok(object) = value.cast_exact::<Object>() {
            let task = self.objects.number_among(object, self.keys)?;
            self.push_slot(task);
            return Ok(());
        }
        self.programs.push_constant(value)
    }

    fn push_slot(&mut self, task: TaskId) {
        self.references += 1;
        self.dependencies.push(task);
        self.programs.push(Op::Slot(task));
    }

    fn push_binding(&mut self, binding: &Binding) -> PyResult<()> {
        match binding {
            Binding::Task(task) => self.push_slot(*task),
            Binding::Register(register) => self.programs.push(Op::Load(*register)),
            Binding::Value(value) => self.programs.push_constant(value.bind(self.py))?,
        }
        Ok(())
    }

    fn argument(&mut self, value: &Bound<'py, PyAny>, scope: usize) -> PyResult<()> {
        let dask = self.dask;
        if is_exact(value, &dask.task_ref) {
            let key = value.getattr(intern!(self.py, "key"))?;
            self.reference(&key, scope)
        } else if is_exact(value, &dask.task) {
            self.task(value, scope)
        } else if is_plain(value) {
            self.programs.push_constant(value)
        } else if is_exact(value, &dask.data_node) {
            let value = value.getattr(intern!(self.py, "value"))?;
            self.constant(&value)
        } else if is_exact(value, &dask.alias) {
            let target = value.getattr(intern!(self.py, "target"))?;
            self.reference(&target, scope)
        } else if is_exact(value, &dask.list) {
            self.container(value, scope, Op::List)
        } else if is_exact(value, &dask.tuple) {
            self.container(value, scope, Op::Tuple)
        } else if is_exact(value, &dask.set) {
            self.container(value, scope, Op::Set)
        } else if is_exact(value, &dask.dict) {
            self.container(value, scope, |n| Op::Dict(n / 2))
        } else if self.is_node(value) {
            self.unknown_node(value, scope)
        } else if is_kind_of(value, &dask.task_ref) {
            let key = value.getattr(intern!(self.py, "key"))?;
            self.reference(&key, scope)
        } else {
            self.constant(value)
        }
    }

    /// `List`, `Tuple`, `Set` and `Dict` nodes: their arguments, then the
    /// instruction that gathers them.
    fn container(
        &mut self,
        node: &Bound<'py, PyAny>,
        scope: usize,
        gather: fn(usize) -> Op,
    ) -> PyResult<()> {
        let items = node.getattr(intern!(self.py, "args"))?;
        let items = items.cast::<PyTuple>()?;
        self.pending.push(Pending::Emit(gather(items.len())));
        for item in items.iter().rev() {
            self.pending.push(Pending::Argument(item, scope));
        }
        Ok(())
    }

    /// `Task(key, func, *args, **kwargs)`.
    fn task(&mut self, node: &Bound<'py, PyAny>, scope: usize) -> PyResult<()> {
        let py = self.py;
        let func = node.getattr(intern!(py, "func"))?;
        let args = node.getattr(intern!(py, "args"))?;
        let kwargs = node.getattr(intern!(py, "kwargs"))?;
        let (Ok(args), Ok(kwargs)) = (args.cast_into::<PyTuple>(), kwargs.cast_into::<PyDict>())
        else {
            return self.unknown_node(node, scope);
        };
        if func.is(&self.dask.execute_subgraph)
            && kwargs.is_empty()
            && self.subgraph(&args, scope)?
        {
            return Ok(());
        }
        self.programs.push_constant(&func)?;
        if kwargs.is_empty() {
            // The usual case is a flat list: no detour through the pending work.
            let simple = args
                .iter_borrowed()
                .all(|a| is_exact(&a, &self.dask.task_ref) || is_plain(&a));
            if simple {
                for arg in args.iter_borrowed() {
                    self.argument(&arg, scope)?;
                }
                self.programs.push(Op::Call(args.len()));
                return Ok(());
            }
            self.pending.push(Pending::Emit(Op::Call(args.len())));
        } else {
            let names = PyTuple::new(py, kwargs.keys().iter())?;
            self.pending.push(Pending::Names(names.into_any()));
            let count = args.len() + kwargs.len();
            self.pending.push(Pending::Emit(Op::CallKw(count)));
            for value in kwargs.values().iter().rev() {
                self.pending.push(Pending::Argument(value, scope));
            }
        }
        for arg in args.iter().rev() {
            self.pending.push(Pending::Argument(arg, scope));
        }
        Ok(())
    }

    /// A node of a type that is not known here: call it as Dask would.
    fn unknown_node(&mut self, node: &Bound<'py, PyAny>, scope: usize) -> PyResult<()> {
        self.programs.push_constant(node)?;
        let mut pairs = 0;
        for key in node.getattr(intern!(self.py, "dependencies"))?.try_iter()? {
            let key = key?;
            self.programs.push_constant(&key)?;
            self.reference(&key, scope)?;
            pairs += 1;
        }
        self.programs.push(Op::Dict(pairs));
        self.programs.push(Op::Call(1));
        Ok(())
    }

    /// A value as Dask's `convert_legacy_task` reads it.
    fn legacy(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        if self.is_node(value) {
            return self.argument(value, Scopes::OUTER);
        }
        if let Ok(tuple) = value.cast_exact::<PyTuple>()
            && !tuple.is_empty()
            && tuple.get_item(0)?.is_callable()
        {
            return self.legacy_task(tuple);
        }
        let may_be_key = value.is_instance_of::<PyString>()
            || value.is_instance_of::<PyInt>()
            || value.is_instance_of::<PyFloat>()
            || value.is_instance_of::<PyTuple>();
        if may_be_key {
            match self.keys.number_if_key(value) {
                Ok(Some(task)) => {
                    self.push_slot(task);
                    return Ok(());
                }
                Ok(None) => {}
                // Not hashable, so not a key.
                Err(error) if error.is_instance_of::<PyTypeError>(self.py) => {}
                Err(error) => return Err(error),
            }
        }
        if value.is_exact_instance_of::<PyList>() {
            self.legacy_container(value, Op::List)
        } else if value.is_exact_instance_of::<PyTuple>() {
            self.legacy_container(value, Op::Tuple)
        } else if value.is_exact_instance_of::<PySet>() {
            self.legacy_container(value, Op::Set)
        } else if value.is_exact_instance_of::<PyFrozenSet>() {
            self.legacy_container(value, Op::FrozenSet)
        } else if value.is_instance_of::<PyList>()
            || value.is_instance_of::<PyTuple>()
            || value.is_instance_of::<PySet>()
            || value.is_instance_of::<PyFrozenSet>()
        {
            // Named tuples and other subclasses: Dask knows how to rebuild them.
            let converted = self.dask.convert_legacy_task.bind(self.py).call1((
                self.py.None(),
                value,
                self.keys.graph(),
            ))?;
            self.pending
                .push(Pending::Argument(converted, Scopes::OUTER));
            Ok(())
        } else if is_object(value) {
            self.constant(value)
        } else if !is_plain(value) && self.is_future(value)? {
            let key = value.getattr(intern!(self.py, "key"))?;
            self.reference(&key, Scopes::OUTER)
        } else {
            self.programs.push_constant(value)
        }
    }

    /// Whether `value` stands for the result of a key: a `TaskRef`, or what
    /// says so of itself.
    fn is_future(&self, value: &Bound<'py, PyAny>) -> PyResult<bool> {
        if is_kind_of(value, &self.dask.task_ref) {
            return Ok(true);
        }
        match value.getattr_opt(intern!(self.py, "__dask_future__"))? {
            Some(flag) => flag.is_truthy(),
            None => Ok(false),
        }
    }

    /// `(func, arg, ...)`.
    fn legacy_task(&mut self, tuple: &Bound<'py, PyTuple>) -> PyResult<()> {
        self.programs.push_constant(&tuple.get_item(0)?)?;
        self.pending.push(Pending::Emit(Op::Call(tuple.len() - 1)));
        for arg in tuple.iter().skip(1).collect::<Vec<_>>().into_iter().rev() {
            if let Ok(dict) = arg.cast::<PyDict>() {
                self.pending.push(Pending::Emit(Op::Dict(dict.len())));
                let items: Vec<_> = dict.iter().collect();
                for (key, value) in items.into_iter().rev() {
                    self.pending.push(Pending::Argument(value, Scopes::OUTER));
                    self.pending.push(Pending::Argument(key, Scopes::OUTER));
                }
            } else {
                self.pending.push(Pending::Legacy(arg));
            }
        }
        Ok(())
    }

    fn legacy_container(
        &mut self,
        value: &Bound<'py, PyAny>,
        gather: fn(usize) -> Op,
    ) -> PyResult<()> {
        let items: Vec<_> = value.try_iter()?.collect::<PyResult<_>>()?;
        self.open.enter(value)?;
        self.pending.push(Pending::LegacyContainer(
            value.clone(),
            gather(items.len()),
            self.programs.mark(),
            self.references,
        ));
        for item in items.into_iter().rev() {
            self.pending.push(Pending::Legacy(item));
        }
        Ok(())
    }

    /// A legacy container without references is a constant: a copy, because
    /// what a task does to its argument must not change the caller's graph.
    fn end_legacy_container(
        &mut self,
        op: Op,
        mark: Mark,
        references_before: usize,
    ) -> PyResult<()> {
        let all_constant = self.references == references_before
            && self
                .programs
                .since(mark)
                .iter()
                .all(|word| matches!(Op::decode(*word), Op::Const(_)));
        if !all_constant {
            self.programs.push(op);
            return Ok(());
        }
        let py = self.py;
        let items = self
            .programs
            .since(mark)
            .iter()
            .filter_map(|word| match Op::decode(*word) {
                Op::Const(i) => Some(self.programs.get(i).bind(py)),
                _ => None,
            });
        let copy = match op {
            Op::List(_) => PyList::new(py, items.collect::<Vec<_>>())?.into_any(),
            Op::Tuple(_) => PyTuple::new(py, items.collect::<Vec<_>>())?.into_any(),
            Op::Set(_) => PySet::new(py, items)?.into_any(),
            _ => PyFrozenSet::new(py, items)?.into_any(),
        };
        self.programs.cut(mark);
        self.programs.push_constant(&copy)
    }
}

/// Values that are certainly neither nodes nor references: told by their type
/// alone, which spares most arguments a closer look.
fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyTuple>()
        || value.is_exact_instance_of::<PyList>()
        || value.is_exact_instance_of::<PyDict>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyBytes>()
}
