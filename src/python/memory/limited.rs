//! The results of a run under a limit.

use super::cell::{Cell, Kept};
use super::pool::Memory;
use crate::graph::TaskId;
use crate::memory::{EntryId, resident};
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a run keeps that is counted.
pub(crate) struct Limited {
    memory: Memory,
    /// By task. A lock is held for as long as it takes to copy a reference.
    cells: Box<[Mutex<Option<Arc<Cell>>>]>,
}

impl Limited {
    pub(in crate::python) fn new(memory: Memory, tasks: usize) -> Self {
        Limited {
            memory,
            cells: (0..tasks).map(|_| Mutex::default()).collect(),
        }
    }

    pub(in crate::python) fn memory(&self) -> &Memory {
        &self.memory
    }

    fn lock(&self, task: TaskId) -> MutexGuard<'_, Option<Arc<Cell>>> {
        (self.cells[task.index()].lock()).unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::python) fn keep(&self, task: TaskId, cell: Arc<Cell>) {
        let before = self.lock(task).replace(cell);
        drop(before); // none: a task has one result
    }

    pub(in crate::python) fn cell(&self, task: TaskId) -> Option<Arc<Cell>> {
        self.lock(task).clone()
    }

    pub(in crate::python) fn take(&self, task: TaskId) -> Option<Arc<Cell>> {
        self.lock(task).take()
    }

    /// What stands for a result in the account.
    pub(in crate::python) fn entry(&self, task: TaskId) -> Option<EntryId> {
        self.lock(task).as_ref().and_then(|cell| cell.entry())
    }

    /// The size of the process, if that has to be known before a task runs.
    pub(in crate::python) fn size_before(&self) -> Option<u64> {
        self.memory.watches_growth().then(resident)
    }

    /// A result of `kept` value, counted.
    pub(in crate::python) fn count(
        &self,
        value: Bound<'_, PyAny>,
        before: Option<u64>,
    ) -> PyResult<Kept> {
        Kept::new(value, Some(&self.memory), before)
    }

    pub(in crate::python) fn clear(&self) {
        for task in (0..self.cells.len()).map(TaskId::new) {
            drop(self.take(task));
        }
    }
}
