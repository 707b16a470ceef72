//! A result that is in memory or on disk.

use super::measure::{is_small, measure, owners};
use super::pickles;
use super::pool::Memory;
use crate::fork;
use crate::memory::spill::SpillFile;
use crate::memory::{EntryId, Footprint, Holding, Spilled, resident};
use crate::python::errors;
use crate::python::once::intern;
use crate::python::threads::{self, Inside, interpreter_call};
use pyo3::prelude::*;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// Where a counted result is.
///
/// The lock is held for a few instructions, never while Python is called.
pub(crate) struct Cell {
    state: Mutex<State>,
    /// A thread that reads it back is done.
    read: Condvar,
    memory: Memory,
    entry: OnceLock<EntryId>,
    /// What the value took when it was made.
    bytes: u64,
    /// The type of the value, once it was moved to disk.
    kind: OnceLock<String>,
}

enum State {
    Memory(Py<PyAny>),
    Disk(Arc<SpillFile>),
    /// Being read, for all who need it, by a thread of the process of this generation.
    Reading(Arc<SpillFile>, u32),
    /// Nobody has the cell any more.
    Gone,
}

/// A result: of a run without a limit, or one that is counted.
pub(crate) enum Kept {
    Value(Py<PyAny>),
    Cell(Arc<Cell>),
}

impl From<Py<PyAny>> for Kept {
    fn from(value: Py<PyAny>) -> Self {
        Kept::Value(value)
    }
}

impl Kept {
    /// Keeps `value`, and counts it if there is a limit. `before` is the size of the
    /// process before it was made.
    pub(crate) fn new(
        value: Bound<'_, PyAny>,
        memory: Option<&Memory>,
        before: Option<u64>,
    ) -> PyResult<Self> {
        match memory {
            Some(memory) if !is_small(&value) => Cell::new(value, memory, before).map(Kept::Cell),
            _ => Ok(Kept::Value(value.unbind())),
        }
    }

    /// Who owns the memory of a value that is not counted.
    pub(crate) fn owners(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        match self {
            Kept::Value(value) => owners(value.bind(py)),
            Kept::Cell(_) => Ok(Vec::new()),
        }
    }

    /// The value, read from the disk if it is there.
    pub(crate) fn value(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Kept::Value(value) => Ok(value.clone_ref(py)),
            Kept::Cell(cell) => cell.copy(py),
        }
    }

    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Kept::Value(value) => Kept::Value(value.clone_ref(py)),
            Kept::Cell(cell) => Kept::Cell(cell.clone()),
        }
    }

    /// Shows it to the garbage collector, if it is this holder's alone and nobody is at it.
    pub(crate) fn visit<E>(
        &self,
        visit: impl FnOnce(&Py<PyAny>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Kept::Value(value) => visit(value),
            Kept::Cell(cell) if Arc::strong_count(cell) == 1 => match cell.state.try_lock() {
                Ok(state) => match &*state {
                    State::Memory(value) => visit(value),
                    _ => Ok(()),
                },
                Err(_) => Ok(()),
            },
            Kept::Cell(_) => Ok(()),
        }
    }
}

impl Cell {
    fn new(value: Bound<'_, PyAny>, memory: &Memory, before: Option<u64>) -> PyResult<Arc<Self>> {
        let footprint = match measure(&value)? {
            Some(footprint) => footprint,
            None => {
                let grown = before.map(|before| resident().saturating_sub(before));
                Footprint::own(memory.estimate(&value, grown))
            }
        };
        let cell = Arc::new(Cell {
            bytes: footprint.total(),
            state: Mutex::new(State::Memory(value.unbind())),
            read: Condvar::new(),
            memory: memory.clone(),
            entry: OnceLock::new(),
            kind: OnceLock::new(),
        });
        let weak: Weak<Cell> = Arc::downgrade(&cell);
        let entry = memory.account().add(footprint, weak);
        // Nobody else has it yet.
        let _ = cell.entry.set(entry);
        Ok(cell)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn entry(&self) -> Option<EntryId> {
        self.entry.get().copied()
    }

    /// What the value took when it was made.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The value, which stays where it is: on the disk, if it is there.
    fn copy(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let file = match &*self.lock() {
            State::Memory(value) => return Ok(value.clone_ref(py)),
            State::Disk(file) | State::Reading(file, _) => file.clone(),
            State::Gone => return Err(errors::internal("a result that is gone")),
        };
        let inside = Inside::enter(py)?;
        self.load(py, &inside, &file)
    }

    fn load(&self, py: Python<'_>, inside: &Inside, file: &SpillFile) -> PyResult<Py<PyAny>> {
        pickles::load(py, inside, file).inspect_err(|error| {
            let kind = self.kind.get().map_or("unknown", String::as_str);
            let note = format!(
                "mars: raised while a result of type {kind} was read that had been moved to disk"
            );
            // Without the note the error still says what went wrong.
            let _ = error
                .value(py)
                .call_method1(intern!(py, "add_note"), (note,));
        })
    }

    /// The value, unless it is on the disk.
    pub(crate) fn in_memory(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        match &*self.lock() {
            State::Memory(value) => Some(value.clone_ref(py)),
            _ => None,
        }
    }

    /// The value, for a task that runs: it is in memory from here on.
    pub(crate) fn bring_back(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        loop {
            let mut state = self.lock();
            let file = match &*state {
                State::Memory(value) => return Ok(value.clone_ref(py)),
                State::Gone => return Err(errors::internal("a result that is gone")),
                State::Reading(_, generation) if *generation == fork::generation() => None,
                State::Disk(file) | State::Reading(file, _) => Some(file.clone()),
            };
            if let Some(file) = &file {
                *state = State::Reading(file.clone(), fork::generation());
            }
            drop(state);
            let inside = Inside::enter(py)?;
            match file {
                None => inside.outside(py, || self.await_reader()),
                Some(file) => return self.read_back(py, &inside, file),
            }
        }
    }

    fn read_back(
        &self,
        py: Python<'_>,
        inside: &Inside,
        file: Arc<SpillFile>,
    ) -> PyResult<Py<PyAny>> {
        let reading = Reading { cell: self, file };
        let value = self.load(py, inside, &reading.file)?;
        let footprint = measure(value.bind(py))?;
        let footprint = footprint
            .unwrap_or_else(|| Footprint::own(reading.file.lengths().iter().sum::<usize>() as u64));
        *self.lock() = State::Memory(value.clone_ref(py));
        if let Some(entry) = self.entry() {
            self.memory.account().came_back(entry, footprint);
        }
        Ok(value)
    }

    /// Waits, detached, until nobody reads it.
    fn await_reader(&self) {
        const LOOK: Duration = Duration::from_millis(50);
        let mut state = self.lock();
        while matches!(*state, State::Reading(..)) && !threads::is_exiting() {
            let waited = self.read.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// While a thread reads a result; if that fails it is on the disk as before.
struct Reading<'c> {
    cell: &'c Cell,
    file: Arc<SpillFile>,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut state = self.cell.lock();
        if matches!(*state, State::Reading(..)) {
            *state = State::Disk(self.file.clone());
        }
        drop(state);
        self.cell.read.notify_all();
    }
}

impl Holding for Cell {
    type Error = PyErr;

    fn spill(&self) -> PyResult<Spilled> {
        Inside::again(|py, inside| {
            let value = match &*self.lock() {
                State::Memory(value) => value.clone_ref(py),
                _ => return Ok(Spilled::Gone),
            };
            let dumped = match pickles::dump(value.bind(py)) {
                Ok(dumped) => dumped,
                Err(error) if error.is_instance_of::<pyo3::exceptions::PyException>(py) => {
                    self.memory.tell_that_it_stays(value.bind(py), &error);
                    return Ok(Spilled::Stays);
                }
                Err(error) => return Err(error),
            };
            let directory = self.memory.directory(py)?;
            let kind = self.kind.get_or_init(|| {
                let kind = value.bind(py).get_type().fully_qualified_name();
                kind.map_or_else(|_| "unknown".to_owned(), |name| name.to_string())
            });
            let file = (dumped.write(py, inside, &directory))
                .map_err(|error| super::errors::not_written(&error))?;
            let bytes = file.lengths().iter().sum::<usize>() as u64;
            let before = std::mem::replace(&mut *self.lock(), State::Disk(Arc::new(file)));
            // Its memory is free when this returns.
            drop(dumped);
            if let State::Memory(before) = before {
                let_go(before);
            }
            let_go(value);
            if let Err(error) = pickles::moved(py, kind, bytes) {
                error.write_unraisable(py, None);
            }
            Ok(Spilled::OnDisk(bytes))
        })
    }
}

/// Lets go of a value, whose destructor may run anything.
fn let_go(value: Py<PyAny>) {
    // SAFETY: attached; the reference is ours.
    unsafe { interpreter_call::decref(value.into_ptr()) };
}

impl Drop for Cell {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // First the value, then the bytes that it takes.
        if let State::Memory(value) = std::mem::replace(state, State::Gone) {
            if threads::may_attach() {
                Inside::again(|_, _| let_go(value));
            } else {
                std::mem::forget(value);
            }
        }
        if let Some(entry) = self.entry() {
            self.memory.account().remove(entry);
        }
    }
}
