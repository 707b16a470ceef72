//! Gives every key of a graph a dense number.

use crate::graph::{GraphError, TaskId};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use pyo3::prelude::*;
use pyo3::types::PyAnyMethods;

/// The keys met so far, each with the number it was given.
///
/// Keys are told apart as a Python `dict` does it: equal hash, and identical
/// or equal.
#[derive(Default)]
pub(super) struct Keys {
    objects: Vec<Py<PyAny>>,
    hashes: Vec<u64>,
    table: HashTable<u32>,
}

impl Keys {
    /// The number of `key`, which is the next one if it was not met before.
    pub(super) fn intern(&mut self, key: &Bound<'_, PyAny>) -> PyResult<TaskId> {
        // Python's hashes of small integers are the integers; spread them, for
        // the table takes its tags from the upper bits.
        let hash = (key.hash()? as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let py = key.py();
        let Keys {
            objects,
            hashes,
            table,
        } = self;
        let mut failed = None;
        let entry = table.entry(
            hash,
            |&id| {
                let id = id as usize;
                if hashes[id] != hash {
                    return false;
                }
                let other = objects[id].bind(py);
                // Not `is`, then `==`: the order in which a dict asks.
                other.is(key)
                    || other.eq(key).unwrap_or_else(|error| {
                        failed = Some(error);
                        false
                    })
            },
            |&id| hashes[id as usize],
        );
        let id = match entry {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                if let Some(error) = failed {
                    return Err(error);
                }
                let id = objects.len();
                if id >= TaskId::MAX_TASKS {
                    return Err(super::errors::too_large(GraphError::TooLarge));
                }
                objects.push(key.clone().unbind());
                hashes.push(hash);
                entry.insert(id as u32);
                id as u32
            }
        };
        Ok(TaskId::new(id as usize))
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn get(&self, task: TaskId) -> &Py<PyAny> {
        &self.objects[task.index()]
    }

    /// The keys alone, by number.
    pub(super) fn into_objects(mut self) -> Vec<Py<PyAny>> {
        self.objects.shrink_to_fit();
        self.objects
    }
}
