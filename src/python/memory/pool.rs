//! The memory of one limit: the account, and where its results go on disk.

use super::{errors, pickles};
use crate::fork;
use crate::memory::spill::{SpillDirectory, SpillError};
use crate::memory::{Account, Size};
use pyo3::prelude::*;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A memory limit, shared by all that is computed under it.
#[pyclass(frozen, from_py_object, module = "mars._mars")]
#[derive(Clone)]
pub(crate) struct Memory(Arc<Inner>);

pub(super) struct Inner {
    pub(super) account: Arc<Account<PyErr>>,
    base: PathBuf,
    spill_limit: Option<u64>,
    directory: Mutex<Directory>,
    /// Types of which it was told that they cannot be written.
    told: Mutex<HashSet<usize>>,
    /// What results of types that do not tell their size made the process grow by.
    untold: Mutex<HashMap<usize, u64>>,
    has_untold: AtomicBool,
    /// Bytes written and read by directories that are gone.
    written: AtomicU64,
    read: AtomicU64,
}

enum Directory {
    NotYet,
    Made(Arc<SpillDirectory>, u32),
    /// The session has stopped.
    Closed,
}

/// All that there are; taken by attached threads, for a few instructions.
static ALL: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

/// Removes everything from the disk, at the exit of the process.
pub(in crate::python) fn remove_all() {
    let all = std::mem::take(&mut *ALL.lock().unwrap_or_else(PoisonError::into_inner));
    for memory in all.iter().filter_map(Weak::upgrade) {
        Memory(memory).clear();
    }
}

impl Memory {
    pub(in crate::python) fn account(&self) -> &Arc<Account<PyErr>> {
        &self.0.account
    }

    pub(in crate::python) fn is(&self, other: &Memory) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Where to write, made when it is needed first.
    pub(super) fn directory(&self, py: Python<'_>) -> PyResult<Arc<SpillDirectory>> {
        let here = fork::generation();
        let mut directory = self.lock();
        if let Directory::Made(made, generation) = &*directory
            && *generation == here
            // Somebody may tidy up where it is.
            && made.path().is_dir()
        {
            return Ok(made.clone());
        }
        if matches!(*directory, Directory::Closed) {
            return Err(errors::not_written(&SpillError::Gone {
                path: self.0.base.clone(),
                why: "its session has been stopped",
            }));
        }
        let made = SpillDirectory::create(&self.0.base, self.0.spill_limit).map_err(|source| {
            errors::not_written(&SpillError::Io {
                path: self.0.base.clone(),
                doing: "making a directory for results",
                source,
            })
        })?;
        let before = std::mem::replace(&mut *directory, Directory::Made(made.clone(), here));
        drop(directory);
        self.count(before);
        pickles::directory_made(py, &made, self.limit())?;
        Ok(made)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Directory> {
        (self.0.directory.lock()).unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self) -> Option<Arc<SpillDirectory>> {
        match &*self.lock() {
            Directory::Made(made, generation) if *generation == fork::generation() => {
                Some(made.clone())
            }
            _ => None,
        }
    }

    fn remove(&self, then: Directory) {
        let before = std::mem::replace(&mut *self.lock(), then);
        if let Directory::Made(made, generation) = &before
            && *generation == fork::generation()
        {
            made.remove();
        }
        self.count(before);
    }

    /// Remembers what a directory that is no longer used has written and read.
    fn count(&self, directory: Directory) {
        if let Directory::Made(made, generation) = directory
            && generation == fork::generation()
        {
            (self.0.written).fetch_add(made.written(), Ordering::Relaxed);
            self.0.read.fetch_add(made.read(), Ordering::Relaxed);
        }
    }

    /// Says once for every type that its results stay in memory.
    pub(super) fn tell_that_it_stays(&self, value: &Bound<'_, PyAny>, why: &PyErr) {
        let py = value.py();
        let kind = value.get_type();
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = told.insert(kind.as_ptr() as usize);
        drop(told);
        if is_new {
            let name = (kind.fully_qualified_name())
                .map_or_else(|_| "?".to_owned(), |name| name.to_string());
            errors::warn(
                py,
                &format!(
                    "results of type {name} cannot be moved to disk and stay in memory: {why}"
                ),
            );
        }
    }

    /// Whether the size of the process has to be known around every task.
    pub(in crate::python) fn watches_growth(&self) -> bool {
        self.0.has_untold.load(Ordering::Relaxed)
    }

    /// The bytes of a result that does not tell: what the process grew by when it was
    /// made, and what it did for others of this type.
    pub(super) fn estimate(&self, value: &Bound<'_, PyAny>, grown: Option<u64>) -> u64 {
        self.0.has_untold.store(true, Ordering::Relaxed);
        let mut untold = self.0.untold.lock().unwrap_or_else(PoisonError::into_inner);
        let known = untold.entry(value.get_type_ptr() as usize).or_default();
        if let Some(grown) = grown {
            // The process grows for other reasons too, or not at all where memory was free.
            *known = if *known == 0 {
                grown
            } else {
                (3 * *known + grown) / 4
            };
            return grown.max(*known / 2);
        }
        *known
    }
}

#[pymethods]
impl Memory {
    #[new]
    #[pyo3(signature = (limit, spill_dir, spill_limit=None))]
    fn new(limit: u64, spill_dir: PathBuf, spill_limit: Option<u64>) -> Self {
        let memory = Memory(Arc::new(Inner {
            account: Account::new(limit, true),
            base: spill_dir,
            spill_limit,
            directory: Mutex::new(Directory::NotYet),
            told: Mutex::default(),
            untold: Mutex::default(),
            has_untold: AtomicBool::new(false),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
        }));
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|memory| memory.strong_count() > 0);
        all.push(Arc::downgrade(&memory.0));
        drop(all);
        memory
    }

    /// The limit, in bytes.
    #[getter]
    fn limit(&self) -> u64 {
        self.0.account.limit()
    }

    /// The directory that results are moved to; None before the first one is.
    #[getter]
    #[pyo3(name = "directory")]
    fn directory_path(&self) -> Option<PathBuf> {
        self.made().map(|made| made.path().to_owned())
    }

    /// Bytes of results in memory.
    #[getter]
    fn in_memory(&self) -> u64 {
        self.0.account.totals().resident
    }

    /// The most that this ever was.
    #[getter]
    fn most_in_memory(&self) -> u64 {
        self.0.account.totals().most
    }

    /// Bytes kept free for what runs now.
    #[getter]
    fn reserved(&self) -> u64 {
        self.0.account.totals().reserved
    }

    /// Bytes on disk now.
    #[getter]
    fn on_disk(&self) -> u64 {
        self.made().map_or(0, |made| made.on_disk())
    }

    /// Bytes written so far.
    #[getter]
    fn written(&self) -> u64 {
        let before = self.0.written.load(Ordering::Relaxed);
        before + self.made().map_or(0, |made| made.written())
    }

    /// Bytes read so far.
    #[getter]
    fn read(&self) -> u64 {
        let before = self.0.read.load(Ordering::Relaxed);
        before + self.made().map_or(0, |made| made.read())
    }

    /// Removes everything from the disk. What is needed later makes it anew.
    fn clear(&self) {
        self.remove(Directory::NotYet);
    }

    /// Removes everything from the disk, and moves nothing there any more.
    fn close(&self) {
        self.remove(Directory::Closed);
    }

    /// How many results are counted.
    fn __len__(&self) -> usize {
        self.0.account.len()
    }

    fn __repr__(&self) -> String {
        format!(
            "<mars memory: {} of {} in use, {} on disk>",
            Size(self.in_memory()),
            Size(self.limit()),
            Size(self.on_disk()),
        )
    }
}
