//! Which ready task may start, and what has to leave memory before.

use super::account::{Account, EntryId, Room, Waits, Weight};
use super::learned::learned;
use super::result::{Holding, NextUse};
use super::uses::Uses;
use crate::graph::TaskId;
use crate::scheduler::{Phase, Scheduler, TaskState};
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread::{self, ThreadId};

/// So many ready tasks are looked at for one that does well for memory.
const LOOKED_AT: usize = 256;
/// So many readers of one result are looked at.
const READERS: usize = 4096;
/// A byte read from the disk is as bad as so many bytes made.
const READING: u64 = 2;

/// Tasks whose outputs are expected to be of one size.
#[derive(Debug, Default)]
pub struct Groups {
    /// The group of each task.
    pub of: Vec<u32>,
    /// What a group is remembered by in later runs.
    pub prefixes: Vec<String>,
}

/// What a run under a limit does next.
pub(crate) enum Turn<E> {
    /// This task has been started.
    Start(TaskId),
    /// There has to be room first.
    MakeRoom(MakeRoom<E>),
    /// Others have to end before anything starts.
    Hold,
}

/// Memory to be freed, with no lock held.
pub(crate) struct MakeRoom<E> {
    /// The task that cannot start without; none if there simply is too much.
    pub(crate) wanted_by: Option<TaskId>,
    pub(crate) leaving: Vec<(EntryId, Arc<dyn Holding<Error = E>>)>,
    /// Give free memory back to the system.
    pub(crate) trim: bool,
}

/// Keeps one run within the limit.
///
/// The argument why nothing waits for ever is in `README.md`.
pub struct Admission<E> {
    account: Arc<Account<E>>,
    /// How many runs this one was made inside of.
    depth: u32,
    groups: Groups,
    /// Bytes that an output of a group is expected to take.
    expected: Vec<Option<u64>>,
    entries: Vec<Option<EntryId>>,
    uses: Uses,
    /// Who owns the memory of the values that the graph came with.
    lent: Vec<u64>,
    started: HashMap<TaskId, Started>,
    /// Threads of this run that make room.
    making_room: usize,
    /// Threads of this run that let results go which are still counted.
    releasing: usize,
    held: bool,
    /// A task has given back what it was given, which others may wait for.
    freed: bool,
    /// A result in memory, the readers of which are taken first when memory is full.
    focus: Option<TaskId>,
    wakes: Option<Arc<dyn Waits>>,
    requested: Requested,
    /// Tasks that ran out of memory, to be run once more with nothing beside them.
    alone: HashMap<TaskId, Alone>,
}

/// How far a task is that has to run alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alone {
    Wanted,
    /// Everything that may leave memory was asked to.
    RoomMade,
    Started,
}

struct Started {
    /// Who runs it: a task that was promised may be started again by another
    /// thread before the first one is back.
    by: ThreadId,
    bytes: u64,
    reads: SmallVec<[EntryId; 4]>,
    /// What there will be more room than now when it has ended.
    gain: u64,
}

/// What the caller asked for, which stays until the end.
struct Requested {
    is: Vec<bool>,
    count: u64,
    finished: u64,
    bytes: u64,
    /// Memory that several of them share is theirs once.
    owners: HashSet<u32>,
    told: bool,
}

/// How the asked-for results compare to the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// They seem to fit.
    Fits,
    /// If they go on like this, they will take so many bytes; told once.
    WillNotFit {
        /// Bytes of all, if the others are like those that there are.
        projected: u64,
    },
    /// Those that there are do not fit.
    DoesNotFit {
        /// Bytes of those that there are.
        bytes: u64,
        /// How many these are.
        finished: u64,
        /// Of how many.
        count: u64,
    },
}

impl<E> Admission<E> {
    /// For a run of `scheduler`, with `groups` of its tasks. `known` are results that
    /// exist; `lent` are the owners of the memory of other values that do; `requested`
    /// stay until the end of the run.
    pub fn new(
        account: Arc<Account<E>>,
        scheduler: &Scheduler,
        depth: u32,
        groups: Groups,
        known: &[(TaskId, EntryId)],
        lent: Vec<u64>,
        requested: &[TaskId],
    ) -> Self {
        let graph = scheduler.graph();
        debug_assert_eq!(groups.of.len(), graph.len());
        let mut is = Vec::new();
        let mut count = 0;
        if !requested.is_empty() {
            is.resize(graph.len(), false);
            for task in requested {
                count += u64::from(!std::mem::replace(&mut is[task.index()], true));
            }
        }
        let mut entries = vec![None; graph.len()];
        for &(task, entry) in known {
            entries[task.index()] = Some(entry);
        }
        let expected = (groups.prefixes.iter())
            .map(|prefix| account.learned(prefix))
            .collect();
        account.run_begins();
        account.lend(&lent);
        let mut admission = Admission {
            account,
            depth,
            expected,
            groups,
            entries,
            uses: Uses::new(graph, scheduler.ranks()),
            lent,
            started: HashMap::new(),
            making_room: 0,
            releasing: 0,
            held: false,
            freed: false,
            focus: None,
            wakes: None,
            requested: Requested {
                is,
                count,
                finished: 0,
                bytes: 0,
                owners: HashSet::new(),
                told: false,
            },
            alone: HashMap::new(),
        };
        let uses: Vec<_> = (known.iter())
            .map(|&(task, entry)| (entry, admission.next_use(task, scheduler)))
            .collect();
        admission.account.set_next_uses(uses);
        admission
    }

    /// Who is to be told when there may be room again.
    pub(crate) fn wakes(&mut self, run: Arc<dyn Waits>) {
        self.wakes = Some(run);
    }

    /// Whether ready tasks have to wait until something ends.
    pub(crate) fn holds(&self) -> bool {
        self.held
    }

    /// Lets ready tasks be looked at again.
    pub(crate) fn look_again(&mut self) {
        self.held = false;
    }

    /// What to do next; None if nothing is ready.
    pub(crate) fn next(&mut self, scheduler: &mut Scheduler) -> Option<Turn<E>> {
        self.held = false;
        if scheduler.peek().is_none() {
            return self.settle_down(scheduler);
        }
        match self.decide(scheduler)? {
            Turn::Hold => {}
            turn => return Some(turn),
        }
        // Room that comes free from here on is told; what came before is seen now.
        if let Some(wakes) = &self.wakes {
            self.account.wait(Arc::downgrade(wakes));
        }
        let turn = self.decide(scheduler)?;
        self.held = matches!(turn, Turn::Hold);
        Some(turn)
    }

    /// With nothing to start: a task that ran though it did not fit may have left more in
    /// memory than there should be. What the caller is about to be given stays.
    fn settle_down(&mut self, scheduler: &Scheduler) -> Option<Turn<E>> {
        let over = self.account.over();
        if over == 0 || self.requested.count > 0 || scheduler.phase() == Phase::Stopped {
            return None;
        }
        let leaving = self.account.choose(over, &[]);
        if leaving.is_empty() {
            return None;
        }
        self.making_room += 1;
        Some(Turn::MakeRoom(MakeRoom {
            wanted_by: None,
            leaving,
            trim: false,
        }))
    }

    fn decide(&mut self, scheduler: &mut Scheduler) -> Option<Turn<E>> {
        let mut task = scheduler.peek()?;
        if !self.alone.is_empty()
            && let Some(turn) = self.decide_alone(task, scheduler)
        {
            return Some(turn);
        }
        let mut missing = match self.admit(task, scheduler, false) {
            Room::Given => return Some(Turn::Start(task)),
            Room::Busy => return Some(Turn::Hold),
            Room::Missing(bytes) => bytes,
        };
        if let Some(better) = self.best(scheduler)
            && better != task
        {
            task = better;
            missing = match self.admit(task, scheduler, false) {
                Room::Given => return Some(Turn::Start(task)),
                Room::Busy => return Some(Turn::Hold),
                Room::Missing(bytes) => bytes,
            };
        }
        if self.releasing > 0 {
            return Some(Turn::Hold);
        }
        let mut make = MakeRoom {
            wanted_by: Some(task),
            leaving: Vec::new(),
            trim: self.account.wants_trim(),
        };
        if make.trim {
            self.making_room += 1;
            return Some(Turn::MakeRoom(make));
        }
        let gain: u64 = self.started.values().map(|started| started.gain).sum();
        if gain >= missing {
            return Some(Turn::Hold);
        }
        let chosen = self.account.choose(missing, &self.reads(task, scheduler));
        if !chosen.is_empty() {
            self.making_room += 1;
            make.leaving = chosen;
            return Some(Turn::MakeRoom(make));
        }
        if !self.started.is_empty() || self.making_room > 0 {
            return Some(Turn::Hold);
        }
        // Nothing of this run is under way that could make room: one task always runs.
        match self.admit(task, scheduler, true) {
            Room::Given => Some(Turn::Start(task)),
            Room::Missing(_) | Room::Busy => Some(Turn::Hold),
        }
    }

    /// What to do while there are tasks that have to run alone.
    fn decide_alone(&mut self, task: TaskId, scheduler: &mut Scheduler) -> Option<Turn<E>> {
        if (self.started.keys()).any(|task| self.alone.get(task) == Some(&Alone::Started)) {
            return Some(Turn::Hold);
        }
        let step = self.alone.get(&task).copied()?;
        if step == Alone::Started {
            return None; // it was alone before
        }
        if !self.started.is_empty() || self.making_room > 0 || self.releasing > 0 {
            return Some(Turn::Hold);
        }
        if step == Alone::Wanted {
            let chosen = self.account.choose(u64::MAX, &self.reads(task, scheduler));
            self.alone.insert(task, Alone::RoomMade);
            self.making_room += 1;
            return Some(Turn::MakeRoom(MakeRoom {
                wanted_by: Some(task),
                leaving: chosen,
                trim: true,
            }));
        }
        match self.admit(task, scheduler, true) {
            Room::Given => {
                self.alone.insert(task, Alone::Started);
                Some(Turn::Start(task))
            }
            Room::Missing(_) | Room::Busy => Some(Turn::Hold),
        }
    }

    /// Whether `task`, which has run out of memory, has not yet been run alone.
    pub(crate) fn may_run_alone(&self, task: TaskId) -> bool {
        !self.alone.contains_key(&task)
    }

    /// A task ran out of memory. Says whether it shall be run again, with nothing
    /// beside it and all that may leave memory on disk: once.
    pub(crate) fn runs_alone(&mut self, task: TaskId) -> bool {
        let is_new = self.may_run_alone(task);
        self.alone.entry(task).or_insert(Alone::Wanted);
        is_new
    }

    /// The ready task that does most for memory, of those of lowest rank: it lets go of
    /// much, makes little, and what it needs is not on disk. All readers of one result
    /// are taken one after the other, for it goes with the last of them.
    fn best(&mut self, scheduler: &Scheduler) -> Option<TaskId> {
        if let Some(result) = self.focus {
            let readers = scheduler.graph().dependents(result);
            let next = (readers.iter().take(READERS))
                .filter(|&&task| scheduler.state(task) == TaskState::Ready)
                .filter(|&&task| self.weigh(task, scheduler).on_disk == 0)
                .min_by_key(|&&task| scheduler.rank(task));
            if let Some(&task) = next {
                return Some(task);
            }
        }
        let ready = scheduler.ready_since_the_start().take(LOOKED_AT);
        let best = ready.max_by_key(|&task| {
            let weight = self.weigh(task, scheduler);
            let made = self.expects(task) + READING * weight.on_disk;
            let gain = i128::from(weight.share) - i128::from(made);
            (gain, Reverse(scheduler.rank(task)))
        });
        self.focus = best.and_then(|task| self.largest(task, scheduler));
        best
    }

    /// The largest of the results in memory that `task` reads and others will.
    fn largest(&self, task: TaskId, scheduler: &Scheduler) -> Option<TaskId> {
        let reads = scheduler.graph().dependencies(task).iter().copied();
        reads
            .filter(|&result| scheduler.holders(result) > 1)
            .max_by_key(|&result| {
                let entry = self.entries[result.index()];
                entry.map_or(0, |entry| {
                    self.account.weigh([(entry, 1)].into_iter()).released
                })
            })
    }

    fn weigh(&self, task: TaskId, scheduler: &Scheduler) -> Weight {
        let reads = scheduler.graph().dependencies(task).iter();
        let entries = reads.filter_map(|result| {
            let entry = self.entries[result.index()]?;
            Some((entry, scheduler.holders(*result)))
        });
        self.account.weigh(entries)
    }

    /// What `task` reads of what is counted; each once, though two tasks may have one result.
    fn reads(&self, task: TaskId, scheduler: &Scheduler) -> SmallVec<[EntryId; 4]> {
        let reads = scheduler.graph().dependencies(task).iter();
        let mut reads: SmallVec<_> = (reads)
            .filter_map(|result| self.entries[result.index()])
            .collect();
        reads.sort_unstable();
        reads.dedup();
        reads
    }

    fn expects(&self, task: TaskId) -> u64 {
        // Something, if that is not known: it waits if there is no room at all.
        self.expected[self.groups.of[task.index()] as usize].unwrap_or(1)
    }

    /// Starts `task` if there is room.
    fn admit(&mut self, task: TaskId, scheduler: &mut Scheduler, anyway: bool) -> Room {
        let reads = self.reads(task, scheduler);
        let bytes = self.expects(task);
        let room = self.account.ask(bytes, &reads, anyway);
        if room == Room::Given {
            let gain = self.weigh(task, scheduler).released.saturating_sub(bytes);
            scheduler.start_task(task);
            let started = Started {
                by: thread::current().id(),
                bytes,
                reads,
                gain,
            };
            self.started.insert(task, started);
        }
        room
    }

    /// A task that another thread has started is run by this one.
    pub(crate) fn taken_over(&mut self, task: TaskId) {
        if let Some(started) = self.started.get_mut(&task) {
            started.by = thread::current().id();
        }
    }

    /// The task that this thread runs was promised: it takes no room meanwhile.
    pub(crate) fn promised(&mut self, task: TaskId) {
        let me = thread::current().id();
        if self.started.get(&task).is_some_and(|s| s.by == me) {
            self.ended(task);
        }
    }

    /// The result of a task is counted, so that no room has to be kept for it.
    pub(crate) fn is_counted(&mut self, task: TaskId) {
        let me = thread::current().id();
        if let Some(started) = self.started.get_mut(&task)
            && started.by == me
        {
            self.account.unpin(std::mem::take(&mut started.bytes), &[]);
        }
    }

    /// A task is not under way any more.
    pub(crate) fn ended(&mut self, task: TaskId) {
        self.held = false;
        if let Some(started) = self.started.remove(&task) {
            self.account.unpin(started.bytes, &started.reads);
            self.freed = true;
        }
    }

    /// Whether others have to be told that there may be room, with no lock held.
    pub(crate) fn has_freed(&self) -> bool {
        self.freed
    }

    /// They are told now.
    pub(crate) fn tells(&mut self) -> Option<Arc<Account<E>>> {
        std::mem::take(&mut self.freed).then(|| self.account.clone())
    }

    /// A task has finished, `entry` stands for its result if that is counted, and the
    /// results of `released` are held by nobody in this run any more.
    pub(crate) fn finished(
        &mut self,
        task: TaskId,
        entry: Option<EntryId>,
        released: &[TaskId],
        scheduler: &Scheduler,
    ) -> Asked {
        self.ended(task);
        let added = entry.map_or(0, |entry| self.account.added_by(entry));
        self.learn(task, added);
        self.entries[task.index()] = entry;
        let mut uses: SmallVec<[(EntryId, NextUse); 8]> = SmallVec::new();
        for &result in scheduler.graph().dependencies(task).iter().chain([&task]) {
            if let Some(entry) = self.entries[result.index()]
                && scheduler.state(result) == TaskState::Finished
            {
                uses.push((entry, self.next_use(result, scheduler)));
            }
        }
        // Who else holds them, an object say, is not in a hurry.
        let released = released.iter().filter_map(|t| self.entries[t.index()]);
        uses.extend(released.map(|entry| (entry, NextUse::NONE)));
        self.account.set_next_uses(uses);
        self.asked(task, entry)
    }

    fn next_use(&mut self, task: TaskId, scheduler: &Scheduler) -> NextUse {
        match (self.uses).next(task, |rank| scheduler.has_finished(rank)) {
            Some(rank) => NextUse::new(self.depth, rank),
            None => NextUse::NONE,
        }
    }

    fn learn(&mut self, task: TaskId, bytes: u64) {
        let group = self.groups.of[task.index()] as usize;
        let expected = &mut self.expected[group];
        if *expected != Some(bytes) {
            *expected = Some(learned(*expected, bytes));
            self.account.learn(&self.groups.prefixes[group], bytes);
        }
    }

    fn asked(&mut self, task: TaskId, entry: Option<EntryId>) -> Asked {
        let limit = self.account.limit();
        let requested = &mut self.requested;
        if !requested.is.get(task.index()).is_some_and(|is| *is) {
            return Asked::Fits;
        }
        requested.finished += 1;
        if let Some(entry) = entry {
            let (own, shared) = self.account.parts_of(entry);
            requested.bytes += own;
            for (owner, bytes) in shared {
                if requested.owners.insert(owner) {
                    requested.bytes += bytes;
                }
            }
        }
        if requested.bytes > limit {
            return Asked::DoesNotFit {
                bytes: requested.bytes,
                finished: requested.finished,
                count: requested.count,
            };
        }
        let projected = u128::from(requested.bytes) * u128::from(requested.count)
            / u128::from(requested.finished);
        if projected > u128::from(limit) && !requested.told {
            requested.told = true;
            return Asked::WillNotFit {
                projected: u64::try_from(projected).unwrap_or(u64::MAX),
            };
        }
        Asked::Fits
    }

    /// The calling thread is about to let results go.
    pub(crate) fn releases(&mut self) {
        self.releasing += 1;
    }

    /// It has let them go.
    pub(crate) fn has_released(&mut self) {
        self.releasing -= 1;
        self.held = false;
    }

    /// A chosen result was moved to disk, or not. With no result: room was made in
    /// another way, or not at all.
    pub(crate) fn room_was_made(&mut self) {
        self.making_room -= 1;
        self.held = false;
    }

    /// The account.
    pub fn account(&self) -> &Arc<Account<E>> {
        &self.account
    }
}

impl<E> Drop for Admission<E> {
    fn drop(&mut self) {
        for started in self.started.values() {
            self.account.unpin(started.bytes, &started.reads);
        }
        self.account.end_loan(&self.lent);
        self.account.run_ends();
        self.account.tell_waiting();
    }
}
