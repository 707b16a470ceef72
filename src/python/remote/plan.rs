//! From the asked-for objects to a graph.
//!
//! An object that has a result in the session is known, and nothing behind it is
//! looked at. The Dask collections that are needed are turned into one graph, as
//! `dask.compute` would for all of them together, and it joins the one of the objects.
//! Collections that are found only inside that graph, in an argument of an object in
//! one of its tasks, join it too, each with keys of its own.

use super::super::compile::{Compiled, Compiler};
use super::super::errors;
use super::super::keys::Keys;
use super::super::memory::Kept;
use super::super::parse::{self, Parsed};
use super::super::places::Places;
use super::super::program::{Op, Programs};
use super::claim::Waiter;
use super::object::Object;
use super::store::Store;
use super::template::Template;
use crate::graph::{GraphBuilder, TaskId};
use crate::python::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::collections::{HashMap, HashSet};

/// Signals are looked for after this many tasks.
const CHECK_SIGNALS_EVERY: usize = 1 << 16;

/// The objects that a run has to run.
pub(crate) struct PendingObjects {
    /// Where their results go.
    pub(super) store: Py<Store>,
    /// By task, the object that it has to run, if it has one.
    pub(super) by_task: Vec<Option<Py<Object>>>,
    /// Those of them whose Dask collections are part of the graph.
    pub(super) claims: Claims,
}

/// The objects of one graph, each with its task.
pub(crate) struct Objects<'py> {
    store: Option<Bound<'py, Store>>,
    table: Places,
    objects: Vec<Bound<'py, Object>>,
    tasks: Vec<TaskId>,
    /// The keys of collections whose graph is part of this one.
    joint: HashMap<usize, Bound<'py, PyAny>>,
    claims: Claims,
    /// Collections that are found later join the graph as well.
    joins: bool,
}

fn hash(object: &Bound<'_, Object>) -> u32 {
    (object.as_ptr() as usize >> 4) as u32
}

/// Whether `value` is an object: its value is meant.
#[inline]
pub(crate) fn is_object(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<Object>()
}

impl<'py> Objects<'py> {
    /// None yet, but so many are expected. Without a store it is that of the current
    /// session.
    pub(crate) fn new(store: Option<Bound<'py, Store>>, expected: usize) -> Self {
        Objects {
            store,
            table: Places::with_capacity(expected),
            objects: Vec::with_capacity(expected),
            tasks: Vec::with_capacity(expected),
            joint: HashMap::new(),
            claims: Claims::default(),
            joins: true,
        }
    }

    /// Leaves collections that are found inside the graph to runs of their own: who
    /// is told of the tasks by their keys could not tell equal keys apart.
    #[must_use]
    pub(crate) fn apart(mut self) -> Self {
        self.joins = false;
        self
    }

    fn store(&mut self, py: Python<'py>) -> PyResult<Bound<'py, Store>> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let store = py.import("mars.session")?.call_method0("_current_store")?;
        let store = store.cast_into_exact::<Store>()?;
        self.store = Some(store.clone());
        Ok(store)
    }

    /// The task of `object`; a new one comes from `next`, which is told how many
    /// objects there were before.
    #[inline]
    fn number(
        &mut self,
        object: &Bound<'py, Object>,
        next: impl FnOnce(usize) -> PyResult<TaskId>,
    ) -> PyResult<TaskId> {
        let hash = hash(object);
        let objects = &self.objects;
        if let Some(place) = self.table.find(hash, |place| objects[place].is(object)) {
            return Ok(self.tasks[place]);
        }
        let place = self.objects.len();
        let task = next(place)?;
        self.table.add(hash, place as u32);
        self.objects.push(object.clone());
        self.tasks.push(task);
        Ok(task)
    }

    /// The task of `object`, among those of a Dask graph.
    pub(crate) fn number_among(
        &mut self,
        object: &Bound<'py, Object>,
        keys: &mut Keys<'py>,
    ) -> PyResult<TaskId> {
        self.number(object, |place| keys.number_object(place))
    }

    /// The objects that have to be run. Their keys are put among `keys`.
    pub(crate) fn into_pending(
        self,
        keys: &mut [Py<PyAny>],
        known: &[(TaskId, Kept)],
    ) -> PyResult<Option<PendingObjects>> {
        let Some(store) = self.store else {
            return Ok(None);
        };
        if self.objects.is_empty() {
            return Ok(None);
        }
        let known: HashSet<TaskId> = known.iter().map(|(task, _)| *task).collect();
        let mut by_task: Vec<_> = keys.iter().map(|_| None).collect();
        for (object, task) in self.objects.into_iter().zip(self.tasks) {
            let key = object.get().hex_key().into_pyobject(object.py())?;
            keys[task.index()] = key.into_any().unbind();
            if !known.contains(&task) {
                by_task[task.index()] = Some(object.unbind());
            }
        }
        Ok(Some(PendingObjects {
            store: store.unbind(),
            by_task,
            claims: self.claims,
        }))
    }
}

/// Compiles the task of the object that came as number `place`.
pub(crate) fn compile_object<'py>(
    compiler: &mut Compiler<'_, 'py>,
    place: usize,
) -> PyResult<Compiled> {
    let py = compiler.py;
    let object = compiler.objects.objects[place].clone();
    let store = compiler.objects.store(py)?;
    compiler.dependencies.clear();
    if let Some(key) = compiler.objects.joint.get(&(object.as_ptr() as usize)) {
        let key = key.clone();
        return alias(compiler, &key);
    }
    if compiler.objects.joins
        && let Some(collection) = object.get().collection(py)
        && object.get().claim_for_run(&store)
    {
        compiler.objects.claims.add(&store, &object);
        let (dsk, keys) = joint_graph(py, vec![collection])?;
        compiler.keys.add_graph(&dsk)?;
        return alias(compiler, &keys[0]);
    }
    let (keys, objects) = (&mut *compiler.keys, &mut *compiler.objects);
    let known = emit(
        &object,
        &store,
        compiler.programs,
        &mut compiler.dependencies,
        |object| objects.number_among(object, keys),
    )?;
    Ok(known.map_or(Compiled::Program, Compiled::Known))
}

/// The value is that of `key` in the graph at hand.
fn alias<'py>(compiler: &mut Compiler<'_, 'py>, key: &Bound<'py, PyAny>) -> PyResult<Compiled> {
    let task = compiler.keys.number(key)?;
    compiler.dependencies.push(task);
    compiler.programs.push(Op::Slot(task));
    Ok(Compiled::Program)
}

/// Writes the program of `object` and collects its dependencies; or gives its
/// value, if there is one.
fn emit<'py>(
    object: &Bound<'py, Object>,
    store: &Bound<'py, Store>,
    programs: &mut Programs,
    dependencies: &mut Vec<TaskId>,
    mut number: impl FnMut(&Bound<'py, Object>) -> PyResult<TaskId>,
) -> PyResult<Option<Kept>> {
    let py = object.py();
    let mut write = |template: &Template, needed: &[Py<Object>]| {
        let first = dependencies.len();
        for dependency in needed {
            dependencies.push(number(dependency.bind(py))?);
        }
        let mut words = template.words.iter();
        while let Some(&word) = words.next() {
            match Op::decode(word) {
                Op::Const(i) => programs.push_constant(template.constants[i].bind(py))?,
                Op::Slot(i) => programs.push(Op::Slot(dependencies[first + i.index()])),
                Op::CallKw(n) => {
                    programs.push(Op::CallKw(n));
                    if let Some(&names) = words.next() {
                        programs.push_names(template.constants[names as usize].bind(py))?;
                    }
                }
                op => programs.push(op),
            }
        }
        Ok(())
    };
    match object.get().value_or(store, &mut write) {
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(written)) => written.map(|()| None),
        None => {
            let former = object.get().former_dependencies(py)?;
            let written = object.get().with_template_and(&former, &mut write);
            written.map(|()| None)
        }
    }
}

/// The graph of what `requested` need in the session of `store`.
pub(super) fn plan<'py>(
    py: Python<'py>,
    requested: &[Bound<'py, Object>],
    store: &Bound<'py, Store>,
) -> PyResult<Parsed> {
    let mut objects = Objects::new(Some(store.clone()), requested.len());
    if requested.iter().any(|o| o.get().reaches_collection) {
        objects.claim_collections(py, requested, store)?;
    }
    if !objects.claims.objects.is_empty() {
        let claimed = objects.claims.objects.iter();
        let collections = claimed.filter_map(|object| object.get().collection(py));
        let (dsk, keys) = joint_graph(py, collections.collect())?;
        let claimed = objects.claims.objects.iter();
        let claimed = claimed.map(|object| object.as_ptr() as usize);
        objects.joint = claimed.zip(keys).collect();
        return parse::parse(py, &dsk, objects, |keys, objects| {
            (requested.iter())
                .map(|object| objects.number_among(object, keys))
                .collect()
        });
    }
    let mut graph = GraphBuilder::new();
    let mut programs = Programs::new();
    let mut known = Vec::new();
    let mut dependencies = Vec::new();
    let mut tasks = Vec::with_capacity(requested.len());
    for object in requested {
        tasks.push(objects.number(object, numbered)?);
    }
    let mut next = 0;
    while let Some(object) = objects.objects.get(next) {
        let object = object.clone();
        dependencies.clear();
        let value = emit(&object, store, &mut programs, &mut dependencies, |object| {
            objects.number(object, numbered)
        })?;
        if let Some(value) = value {
            known.push((TaskId::new(next), value));
        }
        graph.push(&dependencies).map_err(errors::too_large)?;
        programs.end_task()?;
        next += 1;
        if next % CHECK_SIGNALS_EVERY == 0 {
            py.check_signals()?;
        }
    }
    programs.shrink();
    let mut by_task: Vec<_> = (objects.objects.into_iter())
        .map(|object| Some(object.unbind()))
        .collect();
    for (task, _) in &known {
        by_task[task.index()] = None;
    }
    let none = py.None();
    Ok(Parsed {
        graph,
        programs,
        keys: by_task.iter().map(|_| none.clone_ref(py)).collect(),
        known,
        requested: tasks,
        objects: Some(PendingObjects {
            store: store.clone().unbind(),
            by_task,
            claims: objects.claims,
        }),
    })
}

fn numbered(place: usize) -> PyResult<TaskId> {
    if place >= TaskId::MAX_TASKS {
        return Err(errors::too_large(crate::graph::GraphError::TooLarge));
    }
    Ok(TaskId::new(place))
}

impl<'py> Objects<'py> {
    /// Claims all collections that `requested` need, but for those that have a value
    /// and those that another run computes: they are waited for when their turn comes.
    fn claim_collections(
        &mut self,
        py: Python<'py>,
        requested: &[Bound<'py, Object>],
        store: &Bound<'py, Store>,
    ) -> PyResult<()> {
        let mut seen: HashSet<usize> = HashSet::new();
        let mut pending: Vec<Bound<'py, Object>> = requested.iter().rev().cloned().collect();
        while let Some(object) = pending.pop() {
            if !object.get().reaches_collection
                || !seen.insert(object.as_ptr() as usize)
                || object.get().is_finished(store)
            {
                continue;
            }
            if object.get().collection(py).is_some() {
                if object.get().claim_for_run(store) {
                    self.claims.add(store, &object);
                }
                continue;
            }
            let found = object.get().with_template(|_, needed| {
                pending.extend(needed.iter().map(|o| o.bind(py).clone()));
            });
            if found.is_none() {
                let former = object.get().former_dependencies(py)?;
                pending.extend(former.iter().map(|o| o.bind(py).clone()));
            }
        }
        Ok(())
    }
}

/// Objects that are claimed for a run which is being planned; given up with it.
#[derive(Default)]
pub(super) struct Claims {
    store: Option<Py<Store>>,
    objects: Vec<Py<Object>>,
}

impl Claims {
    fn add(&mut self, store: &Bound<'_, Store>, object: &Bound<'_, Object>) {
        self.store.get_or_insert_with(|| store.clone().unbind());
        self.objects.push(object.clone().unbind());
    }

    /// Hands the claims over to the run.
    pub(super) fn take(&mut self) -> Vec<Py<Object>> {
        std::mem::take(&mut self.objects)
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let Some(store) = &self.store else {
            return;
        };
        Python::attach(|py| {
            for object in self.objects.drain(..) {
                let waiters = object.get().give_up(store.bind(py));
                waiters.into_iter().for_each(Waiter::try_itself);
            }
        });
    }
}

/// One graph of Dask collections, and the key of the value of each.
fn joint_graph<'py>(
    py: Python<'py>,
    collections: Vec<Py<PyAny>>,
) -> PyResult<(Bound<'py, PyDict>, Vec<Bound<'py, PyAny>>)> {
    (py.import("mars.contrib.dask._convert")?)
        .call_method1(intern!(py, "joint_graph"), (PyList::new(py, collections)?,))?
        .extract()
}
