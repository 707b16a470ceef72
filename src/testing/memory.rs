//! Memory and a disk that are only pretended: they know what is where and who reads it.

use super::FakeError;
use crate::graph::TaskId;
use crate::memory::{Account, EntryId, Footprint, Holding, Spilled};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// What is smaller is not worth a file.
const LEAST: u64 = 8 * 1024;

/// What a result takes, and what comes of moving it to disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FakeResult {
    /// Bytes that are its alone.
    pub own: u64,
    /// Memory that other results may share: its owner and its bytes.
    pub shared: Option<(u64, u64)>,
    /// What comes of writing it.
    pub writing: Writing,
}

/// What comes of writing a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Writing {
    /// It goes well, if the disk has room.
    #[default]
    Works,
    /// It does the second time.
    WorksLater,
    /// It never does.
    Fails,
}

impl FakeResult {
    /// A result that shares nothing and can be written.
    pub fn of(bytes: u64) -> Self {
        FakeResult {
            own: bytes,
            ..FakeResult::default()
        }
    }

    /// All its bytes, whoever shares them.
    pub fn total(&self) -> u64 {
        self.own + self.shared.map_or(0, |(_, bytes)| bytes)
    }

    /// Whether it can ever leave memory.
    pub fn may_leave(&self) -> bool {
        self.writing != Writing::Fails && self.total() >= LEAST
    }

    fn footprint(&self) -> Footprint {
        Footprint {
            own: self.own,
            shared: self.shared.into_iter().collect(),
        }
    }
}

/// A result on its way between memory and disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// The result of this task was written.
    Out(TaskId),
    /// It was read again.
    Back(TaskId),
}

/// All results of the runs that share one account, and the files of some of them.
///
/// It notes, as a [`Record`](super::Record) does, what must not happen: a result that
/// is written while a task reads it or read while it is written.
pub struct FakeMemory {
    account: Arc<Account<FakeError>>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    results: HashMap<u64, Kept>,
    /// By owner: bytes, and how many results in memory share them.
    owners: HashMap<u64, (u64, u32)>,
    held: u64,
    peak: u64,
    on_disk: u64,
    disk: u64,
    moves: Vec<Move>,
    written: u64,
    broken: Vec<String>,
    count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Memory,
    Writing,
    Disk(u64),
}

struct Kept {
    task: TaskId,
    result: FakeResult,
    place: Place,
    readers: u32,
}

impl FakeMemory {
    /// Nothing yet; there is room for `limit` bytes, and for everything on the disk.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(FakeMemory {
            account: Account::new(limit, false),
            inner: Mutex::new(Inner {
                disk: u64::MAX,
                ..Inner::default()
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account of its results.
    pub fn account(&self) -> &Arc<Account<FakeError>> {
        &self.account
    }

    /// From now on the disk takes so many bytes.
    pub fn set_disk(&self, bytes: u64) {
        self.lock().disk = bytes;
    }

    /// The bytes in memory, those of one owner once.
    pub fn held(&self) -> u64 {
        self.lock().held
    }

    /// The most that it ever held.
    pub fn peak(&self) -> u64 {
        self.lock().peak
    }

    /// The bytes of all files.
    pub fn on_disk(&self) -> u64 {
        self.lock().on_disk
    }

    /// All bytes that were ever written.
    pub fn written(&self) -> u64 {
        self.lock().written
    }

    /// What was moved, in order.
    pub fn moves(&self) -> Vec<Move> {
        self.lock().moves.clone()
    }

    /// The tasks whose results are in memory, read by nobody, and can be written.
    pub fn could_leave(&self) -> Vec<TaskId> {
        let inner = self.lock();
        let leave = inner.results.values().filter(|kept| {
            kept.place == Place::Memory && kept.readers == 0 && kept.result.may_leave()
        });
        leave.map(|kept| kept.task).collect()
    }

    /// # Panics
    ///
    /// If something happened that must not.
    pub fn assert_promises_kept(&self) {
        let inner = self.lock();
        assert!(inner.broken.is_empty(), "{:#?}", inner.broken);
    }

    /// # Panics
    ///
    /// If a result, a file or an entry of the account is left, or something happened
    /// that must not.
    pub fn assert_empty(&self) {
        self.assert_promises_kept();
        let inner = self.lock();
        let left: Vec<_> = inner.results.values().map(|kept| kept.task).collect();
        assert_eq!(left, [], "results are left");
        assert_eq!((inner.held, inner.on_disk), (0, 0), "bytes are left");
        let totals = self.account.totals();
        assert_eq!((totals.resident, totals.reserved), (0, 0), "{totals:?}");
        assert!(self.account.is_empty(), "entries are left");
    }

    /// Keeps a result of `task`, and counts it.
    pub fn keep(self: &Arc<Self>, task: TaskId, result: FakeResult) -> Arc<FakeCell> {
        let footprint = result.footprint();
        let id = {
            let inner = &mut *self.lock();
            inner.count += 1;
            inner.comes(&result);
            let kept = Kept {
                task,
                result,
                place: Place::Memory,
                readers: 0,
            };
            inner.results.insert(inner.count, kept);
            inner.count
        };
        let cell = Arc::new(FakeCell {
            id,
            memory: self.clone(),
            entry: OnceLock::new(),
        });
        let weak: Weak<FakeCell> = Arc::downgrade(&cell);
        let _ = cell.entry.set(self.account.add(footprint, weak));
        cell
    }
}

impl Inner {
    fn comes(&mut self, result: &FakeResult) {
        self.held += result.own;
        if let Some((owner, bytes)) = result.shared {
            let (_, results) = self.owners.entry(owner).or_insert((bytes, 0));
            if *results == 0 {
                self.held += bytes;
            }
            *results += 1;
        }
        self.peak = self.peak.max(self.held);
    }

    fn goes(&mut self, result: &FakeResult) {
        self.held -= result.own;
        if let Some((owner, _)) = result.shared
            && let Some((bytes, results)) = self.owners.get_mut(&owner)
        {
            *results -= 1;
            if *results == 0 {
                self.held -= *bytes;
                self.owners.remove(&owner);
            }
        }
    }

    fn blame(&mut self, task: TaskId, what: &str) {
        self.broken.push(format!("{task:?} {what}"));
    }
}

/// A result that is in memory or on the disk, counted as long as somebody holds it.
pub struct FakeCell {
    id: u64,
    memory: Arc<FakeMemory>,
    entry: OnceLock<EntryId>,
}

impl FakeCell {
    /// What stands for it in the account.
    pub fn entry(&self) -> Option<EntryId> {
        self.entry.get().copied()
    }

    /// A task reads it until [`FakeCell::is_read`]; from the disk, if it is there.
    pub fn read(&self) {
        // The account is asked meanwhile: of several readers one reads the file.
        let inner = &mut *self.memory.lock();
        let Some(kept) = inner.results.get_mut(&self.id) else {
            return;
        };
        kept.readers += 1;
        let task = kept.task;
        match kept.place {
            Place::Memory => {}
            Place::Writing => inner.blame(task, "was read while it was written"),
            Place::Disk(bytes) => {
                kept.place = Place::Memory;
                // What it shared is its own now.
                kept.result.own = bytes;
                kept.result.shared = None;
                let result = kept.result.clone();
                inner.on_disk -= bytes;
                inner.moves.push(Move::Back(task));
                inner.comes(&result);
                if let Some(entry) = self.entry() {
                    self.memory.account.came_back(entry, result.footprint());
                }
            }
        }
    }

    /// The task has read it.
    pub fn is_read(&self) {
        let inner = &mut *self.memory.lock();
        if let Some(kept) = inner.results.get_mut(&self.id) {
            kept.readers -= 1;
            if kept.place != Place::Memory {
                let task = kept.task;
                inner.blame(task, "left memory while it was read");
            }
        }
    }

    fn begin_writing(&self) -> Result<Option<u64>, Spilled> {
        let inner = &mut *self.memory.lock();
        let Some(kept) = inner.results.get_mut(&self.id) else {
            return Err(Spilled::Gone);
        };
        let task = kept.task;
        if kept.readers > 0 {
            inner.blame(task, "was written while it was read");
            return Err(Spilled::Stays);
        }
        if kept.place != Place::Memory {
            inner.blame(task, "was written twice");
            return Err(Spilled::Gone);
        }
        match kept.result.writing {
            Writing::Works => {}
            Writing::WorksLater => {
                kept.result.writing = Writing::Works;
                return Err(Spilled::NotNow);
            }
            Writing::Fails => return Err(Spilled::Stays),
        }
        let bytes = kept.result.total();
        if inner.on_disk + bytes > inner.disk {
            return Ok(None);
        }
        kept.place = Place::Writing;
        inner.on_disk += bytes;
        inner.written += bytes;
        if bytes < LEAST {
            inner.blame(task, "is not worth a file");
        }
        Ok(Some(bytes))
    }
}

impl Holding for FakeCell {
    type Error = FakeError;

    fn spill(&self) -> Result<Spilled, FakeError> {
        let bytes = match self.begin_writing() {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(FakeError::NoRoom),
            Err(outcome) => return Ok(outcome),
        };
        // Somebody may want to read it just now.
        std::thread::yield_now();
        let inner = &mut *self.memory.lock();
        if let Some(kept) = inner.results.get_mut(&self.id) {
            kept.place = Place::Disk(bytes);
            let (task, result) = (kept.task, kept.result.clone());
            inner.goes(&result);
            inner.moves.push(Move::Out(task));
        }
        Ok(Spilled::OnDisk(bytes))
    }
}

impl Drop for FakeCell {
    fn drop(&mut self) {
        {
            let inner = &mut *self.memory.lock();
            if let Some(kept) = inner.results.remove(&self.id) {
                match kept.place {
                    Place::Memory => inner.goes(&kept.result),
                    Place::Disk(bytes) => inner.on_disk -= bytes,
                    Place::Writing => inner.blame(kept.task, "was let go of while it was written"),
                }
                if kept.readers > 0 {
                    inner.blame(kept.task, "was let go of while it was read");
                }
            }
        }
        if let Some(entry) = self.entry() {
            self.memory.account.remove(entry);
        }
    }
}
