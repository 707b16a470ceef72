//! Gives every key that is needed a dense number.
//!
//! The keys of the graph are put into a table once, in the graph's own order,
//! together with what they stand for: finding a dependency then is one look
//! into that table, and the graph's `dict` is not asked again. Numbers are
//! given in the order in which keys are first needed.
//!
//! Usually there is one graph. Dask collections that are found inside its values
//! bring graphs of their own, in which the same key may mean something else: each
//! graph is a [`Space`], and the numbers go on from one to the next.

use super::errors;
use super::places::Places;
use crate::graph::{GraphError, TaskId};
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::PyDict;

const UNNUMBERED: u32 = u32::MAX;
/// In the place of a task: it is no key's, but the object's with this number.
const OBJECT: u32 = 1 << 31;
/// In the place of a task: it is in another space than the first; see `others`.
const OTHER: u32 = 1 << 30;

/// The keys of all graphs, and the tasks that they are the keys of.
pub(super) struct Keys<'py> {
    spaces: Vec<Space<'py>>,
    /// The space of the task at hand.
    current: usize,
    /// The place of each task in the first space, or a number marked by the
    /// constants above.
    places: Vec<u32>,
    /// The space and the place of tasks marked with [`OTHER`].
    others: Vec<(usize, u32)>,
}

/// The keys of one graph, told apart as a Python `dict` does it: equal hash, and
/// identical or equal.
struct Space<'py> {
    graph: Bound<'py, PyDict>,
    /// The keys of the graph, and from `values.len()` on those that it lacks.
    objects: Vec<Option<Bound<'py, PyAny>>>,
    hashes: Vec<u32>,
    /// What the graph has for its keys; taken when it is compiled.
    values: Vec<Option<Bound<'py, PyAny>>>,
    table: Places,
    /// The place found last. Tasks that are neighbours in the graph mostly have
    /// dependencies that are neighbours too, and looking beside this place
    /// spares a large graph a jump through the table.
    last: usize,
    /// The task of each place, once it is needed.
    tasks: Vec<u32>,
}

fn hash(key: &Bound<'_, PyAny>) -> PyResult<u32> {
    let hash = key.hash()? as u64;
    Ok((hash ^ (hash >> 32)) as u32)
}

impl<'py> Space<'py> {
    fn new(graph: &Bound<'py, PyDict>) -> PyResult<Self> {
        let size = graph.len();
        let mut objects = Vec::with_capacity(size);
        let mut values = Vec::with_capacity(size);
        // All is copied before a key is hashed, because its own methods may
        // change anything, the graph included.
        with_critical_section(graph, || {
            for (key, value) in graph.iter() {
                objects.push(Some(key));
                values.push(Some(value));
            }
        });
        let mut space = Space {
            graph: graph.clone(),
            objects: Vec::new(),
            hashes: Vec::with_capacity(size),
            table: Places::with_capacity(size),
            tasks: Vec::with_capacity(size),
            last: 0,
            values,
        };
        for key in objects.iter().flatten() {
            space.add(hash(key)?)?;
        }
        space.objects = objects;
        Ok(space)
    }

    /// Makes room for one more key, and returns its place.
    fn add(&mut self, hash: u32) -> PyResult<usize> {
        let place = self.hashes.len();
        if place >= TaskId::MAX_TASKS {
            return Err(errors::too_large(GraphError::TooLarge));
        }
        self.table.add(hash, place as u32);
        self.hashes.push(hash);
        self.tasks.push(UNNUMBERED);
        Ok(place)
    }

    /// The place of `key`, if the graph has it or something needed it before.
    fn find(&mut self, key: &Bound<'py, PyAny>, hash: u32) -> PyResult<Option<usize>> {
        let objects = &self.objects;
        let mut failed = None;
        let mut is_at = |place: usize| {
            objects[place].as_ref().is_some_and(|other| {
                // Not `==` alone: a dict asks for identity first.
                other.is(key)
                    || other.eq(key).unwrap_or_else(|error| {
                        failed = Some(error);
                        false
                    })
            })
        };
        let near = [self.last + 1, self.last.wrapping_sub(1)];
        let near =
            (near.into_iter()).find(|&place| self.hashes.get(place) == Some(&hash) && is_at(place));
        let place = near.or_else(|| self.table.find(hash, is_at));
        if let Some(error) = failed {
            return Err(error);
        }
        self.last = place.unwrap_or(self.last);
        Ok(place)
    }
}

impl<'py> Keys<'py> {
    /// The keys of `graph`, none of them numbered yet.
    pub(super) fn new(graph: &Bound<'py, PyDict>) -> PyResult<Self> {
        Ok(Keys {
            spaces: vec![Space::new(graph)?],
            current: 0,
            places: Vec::new(),
            others: Vec::new(),
        })
    }

    /// Adds another graph, and makes it the one at hand.
    pub(super) fn add_graph(&mut self, graph: &Bound<'py, PyDict>) -> PyResult<()> {
        self.spaces.push(Space::new(graph)?);
        self.current = self.spaces.len() - 1;
        Ok(())
    }

    /// The graph at hand: in legacy values, what equals one of its keys is that key.
    pub(super) fn graph(&self) -> &Bound<'py, PyDict> {
        &self.spaces[self.current].graph
    }

    /// The number of `key` in the graph at hand, which is the next one if nothing
    /// needed it before.
    pub(super) fn number(&mut self, key: &Bound<'py, PyAny>) -> PyResult<TaskId> {
        let hash = hash(key)?;
        let space = &mut self.spaces[self.current];
        let place = match space.find(key, hash)? {
            Some(place) => place,
            None => {
                space.objects.push(Some(key.clone()));
                space.add(hash)?
            }
        };
        self.number_place(place)
    }

    /// The number of `key` if the graph at hand has it.
    pub(super) fn number_if_key(&mut self, key: &Bound<'py, PyAny>) -> PyResult<Option<TaskId>> {
        let space = &mut self.spaces[self.current];
        match space.find(key, hash(key)?)? {
            Some(place) if place < space.values.len() => self.number_place(place).map(Some),
            _ => Ok(None),
        }
    }

    fn number_place(&mut self, place: usize) -> PyResult<TaskId> {
        let space = &mut self.spaces[self.current];
        if space.tasks[place] == UNNUMBERED {
            let task = self.places.len();
            if task >= TaskId::MAX_TASKS {
                return Err(errors::too_large(GraphError::TooLarge));
            }
            space.tasks[place] = task as u32;
            if self.current == 0 {
                self.places.push(place as u32);
            } else {
                self.places.push(OTHER | self.others.len() as u32);
                self.others.push((self.current, place as u32));
            }
        }
        Ok(TaskId::new(self.spaces[self.current].tasks[place] as usize))
    }

    /// The next number, for a task that has no key: that of object `object`.
    pub(super) fn number_object(&mut self, object: usize) -> PyResult<TaskId> {
        let task = self.places.len();
        if task >= TaskId::MAX_TASKS {
            return Err(errors::too_large(GraphError::TooLarge));
        }
        self.places.push(OBJECT | object as u32);
        Ok(TaskId::new(task))
    }

    /// The number of the object whose task this is, if it is one's.
    pub(super) fn object(&self, task: TaskId) -> Option<usize> {
        let place = self.places[task.index()];
        (place & OBJECT != 0).then_some((place & !OBJECT) as usize)
    }

    /// How many tasks there are so far.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The space and the place of a task that has a key.
    #[inline]
    fn place(&self, task: TaskId) -> Option<(usize, usize)> {
        let place = self.places[task.index()];
        if place & OBJECT != 0 {
            None
        } else if place & OTHER != 0 {
            let (space, place) = self.others[(place & !OTHER) as usize];
            Some((space, place as usize))
        } else {
            Some((0, place as usize))
        }
    }

    /// The key of `task`; None if it has none.
    pub(super) fn get(&self, task: TaskId) -> Option<&Bound<'py, PyAny>> {
        let (space, place) = self.place(task)?;
        self.spaces[space].objects[place].as_ref()
    }

    /// Takes what the graph of `task` has for its key; that graph is at hand then.
    pub(super) fn take_value(&mut self, task: TaskId) -> Option<Bound<'py, PyAny>> {
        let (space, place) = self.place(task)?;
        self.current = space;
        self.spaces[space].values.get_mut(place)?.take()
    }

    /// The needed keys, by number; None, Python's, for tasks that have none.
    pub(super) fn into_needed(mut self, py: Python<'py>) -> Vec<Py<PyAny>> {
        (0..self.places.len())
            .map(|task| {
                let key = self.place(TaskId::new(task));
                let key = key.and_then(|(space, place)| self.spaces[space].objects[place].take());
                key.map_or_else(|| py.None(), Bound::unbind)
            })
            .collect()
    }
}
