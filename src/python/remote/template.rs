//! From the arguments of `spawn` to the program of its task.
//!
//! Objects, executable tuples and Dask collections are found wherever they are,
//! and become dependencies; what contains them is built anew from their values
//! when the task runs. Everything else stays the very object that was given,
//! containers included. Nothing here recurses on how deep the arguments are
//! nested, and a container that is reached in several ways is looked at once.

use super::super::errors;
use super::super::program::{Op, take_last_loads};
use super::object::Object;
use super::python_side::PythonSide;
use super::tracking::{is_open_function, is_scalar, is_tracked};
use crate::graph::TaskId;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyList, PySet, PyTuple};
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

/// What is known of a container that was met.
#[derive(Clone, Copy)]
enum Met {
    /// It is being looked at: met again, it contains itself.
    Open,
    /// There is nothing to resolve in it.
    Constant,
    /// It has been built and is in this register.
    Built(usize),
}

enum Pending<'py> {
    Visit(Bound<'py, PyAny>),
    /// The items of this container are done.
    Close {
        container: Bound<'py, PyAny>,
        ops: SmallVec<[Op; 2]>,
        before: Mark,
    },
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
    met: HashMap<usize, Met>,
    /// Something in it may refer to anything.
    needs_tracking: bool,
    /// A container that contains itself.
    cyclic: Option<Bound<'py, PyAny>>,
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
            cyclic: None,
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

    /// Pushes the value of an object.
    pub(super) fn dependency(&mut self, object: &Bound<'py, Object>) {
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
                    ops,
                    before,
                } => {
                    if self.references == before.references {
                        self.template.words.truncate(before.words);
                        self.template.constants.truncate(before.constants);
                        self.constant(&container);
                        self.met.insert(container.as_ptr() as usize, Met::Constant);
                        continue;
                    }
                    ops.into_iter().for_each(|op| self.emit(op));
                    let register = self.registers;
                    self.registers += 1;
                    self.emit(Op::Store(register));
                    self.emit(Op::Load(register));
                    self.met
                        .insert(container.as_ptr() as usize, Met::Built(register));
                }
            }
        }
        match self.cyclic.take() {
            Some(container) if self.references > 0 => Err(errors::contains_itself(&container)),
            _ => Ok(()),
        }
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
        match self.met.get(&(value.as_ptr() as usize)) {
            Some(Met::Constant) => {
                self.constant(&value);
                return Ok(());
            }
            Some(Met::Built(register)) => {
                let register = *register;
                self.emit(Op::Load(register));
                return Ok(());
            }
            Some(Met::Open) => {
                self.constant(&value);
                self.cyclic = Some(value);
                return Ok(());
            }
            None => {}
        }
        let here = self.mark();
        if let Ok(list) = value.cast_exact::<PyList>() {
            let items: Vec<_> = list.iter().collect();
            let op = Op::List(items.len());
            self.open(&value, &[op], items, here, pending);
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            let items: Vec<_> = tuple.iter().collect();
            let op = Op::Tuple(items.len());
            self.open(&value, &[op], items, here, pending);
        } else if let Ok(dict) = value.cast_exact::<PyDict>() {
            let items: Vec<_> = dict.iter().flat_map(|(k, v)| [k, v]).collect();
            let op = Op::Dict(items.len() / 2);
            self.open(&value, &[op], items, here, pending);
        } else if let Ok(set) = value.cast_exact::<PySet>() {
            let items: Vec<_> = set.iter().collect();
            let op = Op::Set(items.len());
            self.open(&value, &[op], items, here, pending);
        } else if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            let items: Vec<_> = set.iter().collect();
            let op = Op::FrozenSet(items.len());
            self.open(&value, &[op], items, here, pending);
        } else if is_other_container(&value)? {
            self.other_container(value, pending)?;
        } else if is_collection(&value)? {
            let object = self.py.import("mars.contrib.dask")?;
            let object =
                object.call_method1(intern!(self.py, "convert_dask_collection"), (value,))?;
            self.dependency(object.cast_exact::<Object>()?);
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
        ops: &[Op],
        items: Vec<Bound<'py, PyAny>>,
        before: Mark,
        pending: &mut Vec<Pending<'py>>,
    ) {
        if items.iter().all(is_scalar) {
            self.constant(container);
            return;
        }
        self.met.insert(container.as_ptr() as usize, Met::Open);
        pending.push(Pending::Close {
            container: container.clone(),
            ops: ops.into(),
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
        let items = python_side.items.bind(self.py).call1((&value,))?;
        let items: Vec<_> = items.cast_into::<PyList>()?.iter().collect();
        if items.iter().all(is_scalar) {
            self.constant(&value);
            return Ok(());
        }
        let count = items.len();
        let before = self.mark();
        let hollow = python_side.hollow.bind(self.py).call1((&value,))?;
        self.constant(python_side.rebuild.bind(self.py));
        self.constant(&hollow);
        let ops = [Op::List(count), Op::Call(2)];
        self.open(&value, &ops, items, before, pending);
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

fn is_other_container(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyDict>()
        || value.is_instance_of::<PySet>()
        || value.is_instance_of::<PyFrozenSet>()
        || value
            .get_type()
            .getattr_opt(intern!(value.py(), "__dataclass_fields__"))?
            .is_some())
}

/// Whether `dask.is_dask_collection` may say yes; it has the last word.
fn is_collection(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    let class = value.get_type();
    if (class.getattr_opt(intern!(py, "__dask_graph__"))?).is_none() {
        return Ok(false);
    }
    let dask = py.import("dask")?;
    (dask.call_method1(intern!(py, "is_dask_collection"), (value,))?).is_truthy()
}
