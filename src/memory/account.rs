//! The bytes that results take, of all runs and sessions that share one limit.
//!
//! The account knows of every result how large it is, whether it is in memory or on
//! disk, whether a running task reads it (it is *pinned* then), and when it is used
//! next. It takes no decision: [`Admission`](super::Admission) does, asking for room.

use super::generations::Generations;
use super::growth::Growth;
use super::learned::Learned;
use super::result::{Footprint, Holding, NextUse, Spilled};
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, MutexGuard, Weak};

/// Numbers entries.
static SERIAL: AtomicU32 = AtomicU32::new(1);

/// Results smaller than this are not worth a file.
const LEAST: u64 = 8 * 1024;

/// Who is told that there may be room again.
pub trait Waits: Send + Sync {
    /// There may be room.
    fn room(&self);
}

/// A result in the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    slot: u32,
    /// Tells it from others that were in this slot before.
    serial: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Memory,
    /// Being written; then so many bytes are free.
    Leaving(u64),
    /// It would take this many bytes.
    Disk(u64),
    /// Room for so many bytes is kept for it, and a task is about to read it.
    Coming(u64),
}

struct Entry<E> {
    footprint: Footprint,
    place: Place,
    pins: u32,
    next_use: NextUse,
    /// What the results in memory grew by when it was added.
    added: u64,
    /// It has been tried and cannot be written.
    stays: bool,
    holding: Weak<dyn Holding<Error = E>>,
}

impl<E> Entry<E> {
    fn may_leave(&self) -> bool {
        self.place == Place::Memory
            && self.pins == 0
            && !self.stays
            // Its task has not ended: it may be let go of at once.
            && self.next_use != NextUse::NOW
    }
}

struct Slot<E> {
    serial: u32,
    entry: Option<Entry<E>>,
}

struct Owner {
    bytes: u64,
    results: u32,
    /// Tells it from others that were at the same address before.
    serial: u32,
}

impl Owner {
    fn new(bytes: u64) -> Self {
        Owner {
            bytes,
            results: 0,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
        }
    }
}

struct Inner<E> {
    slots: Vec<Slot<E>>,
    free: Vec<u32>,
    /// What may be moved to disk, the farthest use last.
    candidates: BTreeSet<(NextUse, EntryId)>,
    owners: HashMap<u64, Owner>,
    /// Bytes of results in memory that stay there, and of those being written.
    resident: u64,
    leaving: u64,
    /// Room kept for tasks that run.
    reserved: u64,
    waiting: Vec<Weak<dyn Waits>>,
    runs: usize,
    growth: Growth,
    learned: Learned,
    most: u64,
}

impl<E> Default for Inner<E> {
    fn default() -> Self {
        Inner {
            slots: Vec::new(),
            free: Vec::new(),
            candidates: BTreeSet::new(),
            owners: HashMap::new(),
            resident: 0,
            leaving: 0,
            reserved: 0,
            waiting: Vec::new(),
            runs: 0,
            growth: Growth::default(),
            learned: Learned::default(),
            most: 0,
        }
    }
}

/// The bytes of all results that share one limit.
///
/// All methods may be called from any thread; the one lock is held for a few
/// instructions, and no other is taken meanwhile.
pub struct Account<E> {
    limit: u64,
    watches_process: bool,
    inner: Generations<Inner<E>>,
}

/// What the account has to say of a task that wants to start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It has what it needs; the results that it reads are pinned.
    Given,
    /// So much is missing.
    Missing(u64),
    /// A result that it reads is being written.
    Busy,
}

/// What a task does to memory, in bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// Goes when the task has finished.
    pub(super) released: u64,
    /// Its part in that: what it reads, divided by all that read it.
    pub(super) share: u64,
    /// Has to be read from the disk.
    pub(super) on_disk: u64,
}

/// Results to be moved to disk.
pub(super) type Chosen<E> = Vec<(EntryId, Arc<dyn Holding<Error = E>>)>;

/// What the account holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Results in memory.
    pub resident: u64,
    /// Room kept for tasks that run.
    pub reserved: u64,
    /// The most that `resident` ever was.
    pub most: u64,
}

impl<E> Account<E> {
    /// An empty account. With `watches_process` memory that the process takes beyond
    /// what is counted leaves less room for results.
    pub fn new(limit: u64, watches_process: bool) -> Arc<Self> {
        Arc::new(Account {
            limit,
            watches_process,
            inner: Generations::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner<E>> {
        self.inner.lock()
    }

    /// The limit, in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What it holds.
    pub fn totals(&self) -> Totals {
        let inner = self.lock();
        Totals {
            resident: inner.resident + inner.leaving,
            reserved: inner.reserved,
            most: inner.most,
        }
    }

    /// By how much the results in memory exceed the limit.
    pub(super) fn over(&self) -> u64 {
        self.lock().resident.saturating_sub(self.limit)
    }

    /// How many results there are, wherever they are.
    pub fn len(&self) -> usize {
        let inner = self.lock();
        inner.slots.len() - inner.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts a result that is in memory.
    pub fn add(&self, footprint: Footprint, holding: Weak<dyn Holding<Error = E>>) -> EntryId {
        let inner = &mut *self.lock();
        let added = inner.take_up(&footprint);
        let entry = Entry {
            footprint,
            added,
            place: Place::Memory,
            pins: 0,
            next_use: NextUse::NOW,
            stays: false,
            holding,
        };
        let slot = match inner.free.pop() {
            Some(slot) => slot,
            None => {
                inner.slots.push(Slot {
                    serial: 0,
                    entry: None,
                });
                inner.slots.len() as u32 - 1
            }
        };
        let here = &mut inner.slots[slot as usize];
        // Of all accounts together: in a forked child nobody knows its parent's results.
        here.serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        here.entry = Some(entry);
        let id = EntryId {
            slot,
            serial: here.serial,
        };
        inner.list(id);
        id
    }

    /// A result was let go of.
    pub fn remove(&self, id: EntryId) {
        let waiting = {
            let inner = &mut *self.lock();
            inner.unlist(id);
            // A forked child is told of its parent's results, too.
            let here = inner.slots.get_mut(id.slot as usize);
            let here = here.filter(|slot| slot.serial == id.serial);
            let Some(entry) = here.and_then(|slot| slot.entry.take()) else {
                return;
            };
            inner.free.push(id.slot);
            match entry.place {
                Place::Memory => {
                    inner.give_back(&entry.footprint);
                }
                Place::Coming(bytes) => inner.reserved -= bytes,
                Place::Leaving(bytes) => inner.leaving -= bytes,
                Place::Disk(_) => {}
            }
            std::mem::take(&mut inner.waiting)
        };
        tell(waiting);
    }

    /// Says when results are needed next.
    pub(super) fn set_next_uses(&self, uses: impl IntoIterator<Item = (EntryId, NextUse)>) {
        let inner = &mut *self.lock();
        for (id, next_use) in uses {
            if inner.entry(id).is_some_and(|e| e.next_use != next_use) {
                inner.change(id, |entry| entry.next_use = next_use);
            }
        }
    }

    /// A task that needs `bytes` for its own, and reads `reads`, wants to start. If there
    /// is room, or `anyway`, these are pinned and the room is kept; `bytes` have to be
    /// given back with [`Account::unpin`].
    pub(super) fn ask(&self, bytes: u64, reads: &[EntryId], anyway: bool) -> Room {
        let inner = &mut *self.lock();
        let mut wanted = bytes;
        for &id in reads {
            match inner.entry(id).map(|entry| entry.place) {
                Some(Place::Disk(bytes)) => wanted += bytes,
                Some(Place::Leaving(_)) => return Room::Busy,
                _ => {}
            }
        }
        if self.watches_process && !anyway {
            let known = inner.resident + inner.leaving + inner.reserved;
            inner.growth.look(known, self.limit);
        }
        let taken = inner.resident + inner.leaving + inner.reserved + inner.growth.excess();
        let missing = (taken + wanted).saturating_sub(self.limit);
        // Who needs nothing makes nothing worse.
        if missing > 0 && wanted > 0 && !anyway {
            return Room::Missing(missing);
        }
        inner.reserved += bytes;
        for &id in reads {
            let mut comes = 0;
            inner.change(id, |entry| {
                entry.pins += 1;
                if let Place::Disk(bytes) = entry.place {
                    entry.place = Place::Coming(bytes);
                    comes = bytes;
                }
            });
            inner.reserved += comes;
        }
        Room::Given
    }

    /// A task has ended: what [`Account::ask`] gave it is free again.
    pub(super) fn unpin(&self, bytes: u64, reads: &[EntryId]) {
        let inner = &mut *self.lock();
        inner.reserved = inner.reserved.saturating_sub(bytes);
        for &id in reads {
            let mut back = 0;
            inner.change(id, |entry| {
                entry.pins -= 1;
                // The task came to nothing before it read this.
                if entry.pins == 0
                    && let Place::Coming(bytes) = entry.place
                {
                    entry.place = Place::Disk(bytes);
                    back = bytes;
                }
            });
            inner.reserved -= back;
        }
    }

    /// The results to be moved to disk for `bytes` of room, beside what is being written
    /// already: those of farthest use first, and none of `reads`.
    pub(super) fn choose(&self, bytes: u64, reads: &[EntryId]) -> Chosen<E> {
        let inner = &mut *self.lock();
        let mut wanted = bytes.saturating_sub(inner.leaving);
        let mut results = Vec::new();
        let mut spared = SmallVec::<[EntryId; 4]>::new();
        while wanted > 0
            && let Some(&(_, id)) = inner.candidates.last()
        {
            if reads.contains(&id) {
                inner.unlist(id);
                spared.push(id);
                continue;
            }
            inner.unlist(id);
            let Some(entry) = inner.entry_mut(id) else {
                continue;
            };
            let Some(holding) = entry.holding.upgrade() else {
                continue; // on its way to be removed
            };
            let footprint = std::mem::take(&mut entry.footprint);
            let freed = inner.give_back(&footprint);
            inner.leaving += freed;
            wanted = wanted.saturating_sub(freed);
            if let Some(entry) = inner.entry_mut(id) {
                entry.footprint = footprint;
                entry.place = Place::Leaving(freed);
            }
            results.push((id, holding));
        }
        for id in spared {
            inner.list(id);
        }
        results
    }

    /// A chosen result was moved, or not.
    pub(crate) fn settle(&self, id: EntryId, outcome: Spilled) {
        let waiting = {
            let inner = &mut *self.lock();
            let Some(entry) = inner.entry_mut(id) else {
                return;
            };
            let Place::Leaving(freed) = entry.place else {
                return;
            };
            let footprint = std::mem::take(&mut entry.footprint);
            match outcome {
                Spilled::OnDisk(bytes) => entry.place = Place::Disk(bytes),
                Spilled::Gone => entry.place = Place::Disk(0),
                Spilled::Stays | Spilled::NotNow => {
                    entry.place = Place::Memory;
                    entry.stays = outcome == Spilled::Stays;
                }
            }
            // In this order: it is not counted twice, for `most`.
            inner.leaving -= freed;
            if matches!(outcome, Spilled::Stays | Spilled::NotNow) {
                inner.take_up(&footprint);
                if let Some(entry) = inner.entry_mut(id) {
                    entry.footprint = footprint;
                }
            }
            inner.list(id);
            std::mem::take(&mut inner.waiting)
        };
        tell(waiting);
    }

    /// A result that was on disk is in memory again.
    pub fn came_back(&self, id: EntryId, footprint: Footprint) {
        let inner = &mut *self.lock();
        let Some(entry) = inner.entry_mut(id) else {
            return;
        };
        let before = std::mem::replace(&mut entry.place, Place::Memory);
        entry.footprint = footprint.clone();
        inner.take_up(&footprint);
        if let Place::Coming(bytes) = before {
            inner.reserved -= bytes;
        }
        inner.list(id);
    }

    /// What a task that reads these results does to memory. Each comes with the number
    /// of tasks that still have to read it.
    pub(super) fn weigh(&self, reads: impl Iterator<Item = (EntryId, u32)>) -> Weight {
        let inner = self.lock();
        let mut weight = Weight::default();
        for (id, readers) in reads {
            let Some(entry) = inner.entry(id) else {
                continue;
            };
            match entry.place {
                Place::Memory => {
                    let alone = inner.alone(&entry.footprint);
                    weight.share += alone / u64::from(readers.max(1));
                    if readers == 1 {
                        weight.released += alone;
                    }
                }
                Place::Disk(bytes) => weight.on_disk += bytes,
                Place::Coming(_) | Place::Leaving(_) => {}
            }
        }
        weight
    }

    /// What the results in memory grew by when this one was made.
    pub(super) fn added_by(&self, id: EntryId) -> u64 {
        let inner = self.lock();
        inner.entry(id).map_or(0, |entry| entry.added)
    }

    /// The bytes that are a result's alone; and who shares what it keeps beside, with how many
    /// bytes that is.
    pub(super) fn parts_of(&self, id: EntryId) -> (u64, SmallVec<[(u32, u64); 1]>) {
        let inner = self.lock();
        let Some(entry) = inner.entry(id) else {
            return Default::default();
        };
        if let Place::Disk(bytes) | Place::Coming(bytes) = entry.place {
            return (bytes, SmallVec::new());
        }
        let shared = entry.footprint.shared.iter();
        let owners = shared.filter_map(|(owner, _)| inner.owners.get(owner));
        (
            entry.footprint.own,
            owners.map(|owner| (owner.serial, owner.bytes)).collect(),
        )
    }

    /// Tells whoever waits that there may be room. With no lock held.
    pub(crate) fn tell_waiting(&self) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        tell(waiting);
    }

    /// Whoever waits is told when there may be room again, once.
    pub(super) fn wait(&self, who: Weak<dyn Waits>) {
        let inner = &mut *self.lock();
        if !inner.waiting.iter().any(|other| other.ptr_eq(&who)) {
            inner.waiting.push(who);
        }
    }

    /// Memory that is not a result's, but of values that a graph came with: a result that
    /// is a view of it takes nothing. Until [`Account::end_loan`] with the same.
    pub(super) fn lend(&self, owners: &[u64]) {
        let inner = &mut *self.lock();
        for &owner in owners {
            let owner = inner.owners.entry(owner).or_insert_with(|| Owner::new(0));
            owner.results += 1;
        }
    }

    pub(super) fn end_loan(&self, owners: &[u64]) {
        let inner = &mut *self.lock();
        for owner in owners {
            inner.leave_owner(*owner);
        }
    }

    /// A run begins. What the process has taken before the first of several is not
    /// theirs.
    pub(super) fn run_begins(&self) {
        let inner = &mut *self.lock();
        if inner.runs == 0 && self.watches_process {
            let known = inner.resident + inner.leaving + inner.reserved;
            inner.growth.begin(known);
        }
        inner.runs += 1;
    }

    pub(super) fn run_ends(&self) {
        let inner = &mut *self.lock();
        inner.runs = inner.runs.saturating_sub(1);
    }

    /// Whether free memory should be given back to the system now; asked by one
    /// thread, which then does so.
    pub(super) fn wants_trim(&self) -> bool {
        self.lock().growth.wants_trim()
    }

    /// What outputs of tasks with this prefix have taken, as far as that is known.
    pub(super) fn learned(&self, prefix: &str) -> Option<u64> {
        self.lock().learned.get(prefix)
    }

    pub(super) fn learn(&self, prefix: &str, bytes: u64) {
        self.lock().learned.learn(prefix, bytes);
    }
}

fn tell(waiting: Vec<Weak<dyn Waits>>) {
    for who in waiting {
        if let Some(who) = who.upgrade() {
            who.room();
        }
    }
}

impl<E> Inner<E> {
    fn entry(&self, id: EntryId) -> Option<&Entry<E>> {
        let slot = self.slots.get(id.slot as usize)?;
        slot.entry.as_ref().filter(|_| slot.serial == id.serial)
    }

    fn entry_mut(&mut self, id: EntryId) -> Option<&mut Entry<E>> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        slot.entry.as_mut().filter(|_| slot.serial == id.serial)
    }

    fn list(&mut self, id: EntryId) {
        if let Some(entry) = self.entry(id)
            && entry.may_leave()
            && self.counted(&entry.footprint) >= LEAST
        {
            let next_use = entry.next_use;
            self.candidates.insert((next_use, id));
        }
    }

    fn unlist(&mut self, id: EntryId) {
        if let Some(entry) = self.entry(id) {
            let next_use = entry.next_use;
            self.candidates.remove(&(next_use, id));
        }
    }

    fn change(&mut self, id: EntryId, change: impl FnOnce(&mut Entry<E>)) {
        self.unlist(id);
        if let Some(entry) = self.entry_mut(id) {
            change(entry);
        }
        self.list(id);
    }

    /// Counts a footprint, and returns what was not counted before.
    fn take_up(&mut self, footprint: &Footprint) -> u64 {
        let before = self.resident;
        self.resident += footprint.own;
        for &(owner, bytes) in &footprint.shared {
            let owner = self.owners.entry(owner).or_insert_with(|| {
                self.resident += bytes;
                Owner::new(bytes)
            });
            owner.results += 1;
        }
        self.most = self.most.max(self.resident + self.leaving);
        self.resident - before
    }

    /// Takes a footprint out, and returns what was its alone.
    fn give_back(&mut self, footprint: &Footprint) -> u64 {
        let mut freed = footprint.own;
        self.resident -= footprint.own;
        for &(owner, _) in &footprint.shared {
            freed += self.leave_owner(owner);
        }
        freed
    }

    /// A result that had a part in `owner` is gone; returns what that frees.
    fn leave_owner(&mut self, owner: u64) -> u64 {
        let Some(known) = self.owners.get_mut(&owner) else {
            return 0;
        };
        known.results -= 1;
        if known.results > 0 {
            return 0;
        }
        let freed = known.bytes;
        self.owners.remove(&owner);
        self.resident -= freed;
        freed
    }

    /// What it takes of what is counted: not what the graph came with.
    fn counted(&self, footprint: &Footprint) -> u64 {
        let shared = (footprint.shared.iter()).filter_map(|(owner, _)| self.owners.get(owner));
        footprint.own + shared.map(|owner| owner.bytes).sum::<u64>()
    }

    /// The bytes that no other result shares.
    fn alone(&self, footprint: &Footprint) -> u64 {
        let shared = footprint.shared.iter().filter_map(|(owner, _)| {
            let owner = self.owners.get(owner)?;
            (owner.results == 1).then_some(owner.bytes)
        });
        footprint.own + shared.sum::<u64>()
    }
}

#[cfg(test)]
mod tests;
