//! From the arguments of `spawn` to the program of its task.
//!
//! Objects, executable tuples and Dask collections are found wherever they are,
//! and become dependencies; what contains them is built anew from their values
//! when the task runs. Everything else stays the very object that was given,
//! containers included. Nothing here recurses on how deep the arguments are
//! nested, and a container that is reached in several ways is looked at once.

use super::super::errors;
use super::super::program::{Op, slots, take_last_loads};
use super::super::threads::interpreter_call;
use super::object::Object;
use super::python_side::PythonSide;
use super::tracking::{is_open_function, is_scalar, is_tracked};
use crate::graph::TaskId;
use crate::python::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyList, PySet, PyString, PyTuple};
use smallvec::SmallVec;
use std::collections::HashMap;

/// A program whose slots count its own dependencies.
#[derive(Default)]
pub(super) struct Template {
    pub(super) words: SmallVec<[u32; 6]>,
    pub(super) constants: SmallVec<[Py<PyAny>; 3]>,
    /// The objects whose values the slots stand for, each once.
    pub(super) dependencies: SmallVec<[Py<Object>; 2]>,
}

impl Template {
    /// The dependencies that the program needs, each once, as it comes to them.
    pub(super) fn slots(&self) -> Vec<usize> {
        slots(&self.words).into_iter().map(TaskId::index).collect()
    }
}

/// What is known of a container that was met.
#[derive(Clone, Copy)]
enum Met {
    /// It is being looked at.
    Open,
    /// The same, and it was met inside itself.
    Cyclic,
    /// There is nothing to resolve in it.
    Constant,
    /// It has been built and is in this register.
    Built(usize),
    /// It is a Dask collection, the dependency with this number.
    Dependency(usize),
}

enum Pending<'py> {
    Visit(Bound<'py, PyAny>),
    /// The items of this container are done.
    Close {
        container: Bound<'py, PyAny>,
        gather: Gather,
        before: Mark,
    },
}

/// How a container is made of its items.
enum Gather {
    /// By one instruction.
    Op(Op),
    /// By `rebuild(hollow, [item, ...])`; the first is the constant with this number.
    Rebuild { hollow: usize, items: usize },
}

/// How much of a template was written.
#[derive(Clone, Copy)]
struct Mark {
    words: usize,
    constants: usize,
    references: usize,
}

/// Writes a [`Template`].
pub(super) struct Writer<'py> {
    py: Python<'py>,
    template: Template,
    /// Where a dependency is, by address; empty while there are few.
    places: HashMap<usize, usize>,
    references: usize,
    registers: usize,
    /// By address; kept, so that no other comes to be there.
    met: HashMap<usize, (Bound<'py, PyAny>, Met)>,
    /// Something in it may refer to anything.
    needs_tracking: bool,
}

/// So few dependencies are looked through one by one.
const FEW: usize = 8;

impl<'py> Writer<'py> {
    pub(super) fn new(py: Python<'py>) -> Self {
        Writer {
            py,
            template: Template::default(),
            places: HashMap::new(),
            references: 0,
            registers: 0,
            met: HashMap::new(),
            needs_tracking: false,
        }
    }

    pub(super) fn emit(&mut self, op: Op) {
        self.template.words.push(op.encode());
    }

    pub(super) fn constant(&mut self, value: &Bound<'py, PyAny>) {
        self.needs_tracking |= !is_scalar(value) && !is_open_function(value);
        self.scalar(value);
    }

    /// Pushes a value that refers to nothing.
    pub(super) fn scalar(&mut self, value: &Bound<'py, PyAny>) {
        let index = self.template.constants.len();
        self.template.constants.push(value.clone().unbind());
        self.emit(Op::Const(index));
    }

    /// The second word of a `CallKw`.
    pub(super) fn names(&mut self, names: &Bound<'py, PyTuple>) {
        let index = self.template.constants.len();
        self.template
            .constants
            .push(names.clone().into_any().unbind());
        self.template.words.push(index as u32);
    }

    /// Pushes the value of an object, and returns its number among the dependencies.
    pub(super) fn dependency(&mut self, object: &Bound<'py, Object>) -> usize {
        let known = &mut self.template.dependencies;
        let address = object.as_ptr() as usize;
        let place = if self.places.is_empty() {
            known.iter().position(|other| other.is(object))
        } else {
            self.places.get(&address).copied()
        };
        let place = place.unwrap_or_else(|| {
            let place = known.len();
            self.needs_tracking |= is_tracked(object);
            known.push(object.clone().unbind());
            if place + 1 == FEW {
                let all = known.iter().enumerate();
                self.places = all.map(|(i, o)| (o.as_ptr() as usize, i)).collect();
            } else if place >= FEW {
                self.places.insert(address, place);
            }
            place
        });
        self.references += 1;
        self.emit(Op::Slot(TaskId::new(place)));
        place
    }

    /// Pushes what `value` stands for.
    pub(super) fn argument(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        if is_scalar(value) {
            self.scalar(value);
            return Ok(());
        }
        if let Ok(object) = value.cast_exact::<Object>() {
            self.dependency(object);
            return Ok(());
        }
        let mut pending = vec![Pending::Visit(value.clone())];
        while let Some(next) = pending.pop() {
            match next {
                Pending::Visit(value) => self.visit(value, &mut pending)?,
                Pending::Close {
                    container,
                    gather,
                    before,
                } => self.close(container, gather, before)?,
            }
        }
        Ok(())
    }

    fn close(
        &mut self,
        container: Bound<'py, PyAny>,
        gather: Gather,
        before: Mark,
    ) -> PyResult<()> {
        if self.references == before.references {
            self.template.words.truncate(before.words);
            self.template.constants.truncate(before.constants);
            self.constant(&container);
            self.meet(container, Met::Constant);
            return Ok(());
        }
        if matches!(self.met(&container), Some(Met::Cyclic)) {
            return Err(errors::contains_itself(&container));
        }
        match gather {
            Gather::Op(op) => self.emit(op),
            Gather::Rebuild { hollow, items } => {
                let python_side = PythonSide::get(self.py)?;
                let empty = interpreter_call::call(self.py, &python_side.hollow, &[&container])?;
                self.template.constants[hollow] = empty.unbind();
                self.emit(Op::List(items));
                self.emit(Op::Call(2));
            }
        }
        let register = self.registers;
        self.registers += 1;
        self.emit(Op::Store(register));
        self.emit(Op::Load(register));
        self.meet(container, Met::Built(register));
        Ok(())
    }

    fn met(&self, container: &Bound<'py, PyAny>) -> Option<Met> {
        let (_, met) = self.met.get(&(container.as_ptr() as usize))?;
        Some(*met)
    }

    fn meet(&mut self, container: Bound<'py, PyAny>, met: Met) {
        let address = container.as_ptr() as usize;
        self.met.insert(address, (container, met));
    }

    fn visit(&mut self, value: Bound<'py, PyAny>, pending: &mut Vec<Pending<'py>>) -> PyResult<()> {
        if is_scalar(&value) {
            self.constant(&value);
            return Ok(());
        }
        if let Ok(object) = value.cast_exact::<Object>() {
            self.dependency(object);
            return Ok(());
        }
        match self.met(&value) {
            Some(Met::Constant) => {
                self.constant(&value);
                return Ok(());
            }
            Some(Met::Built(register)) => {
                self.references += 1;
                self.emit(Op::Load(register));
                return Ok(());
            }
            Some(Met::Dependency(place)) => {
                self.references += 1;
                self.emit(Op::Slot(TaskId::new(place)));
                return Ok(());
            }
            Some(Met::Open | Met::Cyclic) => {
                self.constant(&value);
                self.meet(value, Met::Cyclic);
                return Ok(());
            }
            None => {}
        }
        if let Some((items, op)) = plain_container(&value) {
            let here = self.mark();
            self.open(&value, Gather::Op(op), items, here, pending);
        } else if is_collection(&value)? {
            let module = self.py.import("mars.contrib.dask")?;
            let convert = module.getattr(intern!(self.py, "convert_dask_collection"))?;
            let object = interpreter_call::call(self.py, convert.as_unbound(), &[&value])?;
            let place = self.dependency(object.cast_exact::<Object>()?);
            self.meet(value, Met::Dependency(place));
        } else if is_other_container(&value) {
            self.other_container(value, pending)?;
        } else {
            self.constant(&value);
        }
        Ok(())
    }

    fn mark(&self) -> Mark {
        Mark {
            words: self.template.words.len(),
            constants: self.template.constants.len(),
            references: self.references,
        }
    }

    /// Begins a container: its items, then the instructions that gather them. All
    /// since `before` is forgotten if there is nothing to resolve in it.
    fn open(
        &mut self,
        container: &Bound<'py, PyAny>,
        gather: Gather,
        items: Vec<Bound<'py, PyAny>>,
        before: Mark,
        pending: &mut Vec<Pending<'py>>,
    ) {
        if items.iter().all(is_scalar) {
            self.constant(container);
        } else {
            self.begin(container, gather, items, before, pending);
        }
    }

    fn begin(
        &mut self,
        container: &Bound<'py, PyAny>,
        gather: Gather,
        items: Vec<Bound<'py, PyAny>>,
        before: Mark,
        pending: &mut Vec<Pending<'py>>,
    ) {
        self.meet(container.clone(), Met::Open);
        pending.push(Pending::Close {
            container: container.clone(),
            gather,
            before,
        });
        pending.extend(items.into_iter().rev().map(Pending::Visit));
    }

    /// Named tuples, dataclasses, and subclasses of containers:
    /// `rebuild(hollow, [item, ...])`.
    fn other_container(
        &mut self,
        value: Bound<'py, PyAny>,
        pending: &mut Vec<Pending<'py>>,
    ) -> PyResult<()> {
        let python_side = PythonSide::get(self.py)?;
        let items = interpreter_call::call(self.py, &python_side.items, &[&value])?;
        let items: Vec<_> = items.cast_into::<PyList>()?.iter().collect();
        // An executable tuple arrives as its values even where there is nothing to execute.
        let is_executable = value.is_instance(python_side.executable_tuple.bind(self.py))?;
        if !is_executable && items.iter().all(is_scalar) {
            self.constant(&value);
            return Ok(());
        }
        let before = self.mark();
        self.references += usize::from(is_executable);
        self.constant(python_side.rebuild.bind(self.py));
        let gather = Gather::Rebuild {
            hollow: self.template.constants.len(),
            items: items.len(),
        };
        // Its place; what goes there is made only if it is needed.
        self.constant(&self.py.None().into_bound(self.py));
        self.begin(&value, gather, items, before, pending);
        Ok(())
    }

    /// The template, and whether the garbage collector has to know what it refers to.
    pub(super) fn finish(mut self) -> (Template, bool) {
        if self.registers > 0 {
            take_last_loads(&mut self.template.words, self.registers);
        }
        (self.template, self.needs_tracking)
    }
}

/// What one of Python's own containers holds, and the instruction that makes one of as much.
fn plain_container<'py>(value: &Bound<'py, PyAny>) -> Option<(Vec<Bound<'py, PyAny>>, Op)> {
    let items: Vec<_>;
    let op: fn(usize) -> Op;
    if let Ok(list) = value.cast_exact::<PyList>() {
        (items, op) = (list.iter().collect(), Op::List);
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        (items, op) = (tuple.iter().collect(), Op::Tuple);
    } else if let Ok(dict) = value.cast_exact::<PyDict>() {
        items = dict.iter().flat_map(|(key, value)| [key, value]).collect();
        op = |count| Op::Dict(count / 2);
    } else if let Ok(set) = value.cast_exact::<PySet>() {
        (items, op) = (set.iter().collect(), Op::Set);
    } else if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
        (items, op) = (set.iter().collect(), Op::FrozenSet);
    } else {
        return None;
    }
    let count = items.len();
    Some((items, op(count)))
}

fn is_other_container(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyDict>()
        || value.is_instance_of::<PySet>()
        || value.is_instance_of::<PyFrozenSet>()
        || class_has(value, intern!(value.py(), "__dataclass_fields__"))
}

/// Whether `dask.is_dask_collection` says yes; asked only of what may be one.
fn is_collection(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    if !class_has(value, intern!(py, "__dask_graph__")) {
        return Ok(false);
    }
    let dask = py.import("dask")?;
    (dask.call_method1(intern!(py, "is_dask_collection"), (value,))?).is_truthy()
}

/// Whether the class of `value` has an attribute. One that cannot be asked has not.
fn class_has(value: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> bool {
    let found = value.get_type().getattr_opt(name);
    found.ok().flatten().is_some()
}
