//! Everything that is done while somebody records.

use super::clock::{self, Stamp};
use super::event::{Event, Kind, RunNumber};
use super::lane::{self, Lane};
use super::runs::{self, RunRecord};
use crate::fork::{self, PerProcess};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The recordings that go on.
static RECORDINGS: PerProcess<Vec<Arc<Inner>>> = PerProcess::new();
/// How many there are; in a forked child none of its parent's.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Whether anybody records.
#[inline]
pub fn is_on() -> bool {
    COUNT.load(Ordering::Relaxed) > 0
}

/// In a forked child: nobody records.
pub(super) fn forget() {
    COUNT.store(0, Ordering::Relaxed);
}

/// A run begins.
pub(super) fn begins(record: &Arc<RunRecord>) {
    for recording in RECORDINGS.lock().iter() {
        recording.lock().runs.insert(record.number, record.clone());
    }
}

/// Gives what is new in a lane to all recordings.
pub(super) fn take_from(lane: &Lane) {
    // First this lock and then the lane's, as everywhere.
    let recordings = RECORDINGS.lock();
    if recordings.is_empty() {
        return;
    }
    let mut events = Vec::new();
    lane.take(|new| events.extend(new));
    for recording in recordings.iter() {
        recording.lock().add(lane, &events, recording.most);
    }
}

fn take_from_all() {
    for lane in lane::lanes() {
        take_from(&lane);
    }
}

/// Records what all threads do, from its making until it is stopped or dropped.
pub struct Recording(Arc<Inner>);

struct Inner {
    /// The process that it belongs to: in a child its lock may be one that nobody lets go of.
    generation: u32,
    begun: Stamp,
    most: usize,
    state: Mutex<Recorded>,
}

/// What was recorded.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// When the recording began.
    pub begun: Stamp,
    /// When it was stopped.
    pub ended: Option<Stamp>,
    /// What was done, in no order.
    pub events: Vec<Event>,
    /// Tasks that are in no event any more, since there were too many.
    pub dropped: u64,
    /// These took less than so many ticks.
    pub dropped_below: u64,
    /// By run and group of tasks.
    pub totals: HashMap<(RunNumber, u32), Total>,
    /// The runs.
    pub runs: BTreeMap<RunNumber, Arc<RunRecord>>,
    /// The threads, by the number of their lane.
    pub threads: BTreeMap<u32, Thread>,
    /// How [`Places`](super::Places) of runs that go on stood at the end.
    pub(super) places: HashMap<RunNumber, [u64; 5]>,
}

/// What tasks of a group have taken together.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Total {
    /// How many have ended, in whichever way.
    pub count: u64,
    /// How many have failed.
    pub failed: u64,
    /// All of them together, in ticks.
    pub ticks: u64,
    /// The longest one, in ticks.
    pub longest: u64,
    /// CPU time, in nanoseconds.
    pub cpu: u64,
    /// Bytes of outputs of known size.
    pub bytes: u64,
    /// How many these are.
    pub sized: u64,
}

/// A thread that has done something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thread {
    /// What the system calls it.
    pub name: String,
    /// The number by which the program knows it.
    pub thread: u64,
    /// Ticks in tasks; those inside other tasks are not counted again.
    pub busy: u64,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded {
    /// When `run` ended, or else the recording; None if both go on.
    pub fn end_of(&self, run: &RunRecord) -> Option<Stamp> {
        match (run.ended(), self.ended) {
            (Some(run), Some(recording)) => Some(run.min(recording)),
            (run, recording) => run.or(recording),
        }
    }

    /// What became of the places of `run` up to then: see [`so_far`](super::Places::so_far).
    pub fn places_of(&self, run: &RunRecord) -> [u64; 5] {
        let at_end = self.places.get(&run.number).copied();
        at_end.unwrap_or_else(|| run.places.so_far())
    }

    fn add(&mut self, lane: &Lane, events: &[Event], most: usize) {
        let begun = self.begun;
        if self.ended.is_some() {
            return;
        }
        let events = events.iter().filter(|event| event.end >= begun);
        let mut busy = 0;
        let mut any = false;
        for event in events {
            any = true;
            if event.kind.is_task() {
                // What nobody has described is of no group.
                let group = (self.runs.get(&event.run))
                    .and_then(|record| record.description())
                    .and_then(|d| d.groups.of.get(event.task.index()).copied())
                    .unwrap_or(u32::MAX);
                let total = self.totals.entry((event.run, group)).or_default();
                total.add(event);
                if !event.nested {
                    busy += event.ticks();
                }
                if event.ticks() < self.dropped_below {
                    self.dropped += 1;
                    continue;
                }
            }
            self.events.push(*event);
            if self.events.len() > most {
                self.drop_the_shorter_half();
            }
        }
        if any {
            let thread = self.threads.entry(lane.number).or_insert_with(|| Thread {
                name: lane.name.clone(),
                thread: lane.thread,
                busy: 0,
            });
            thread.busy += busy;
        }
    }

    /// Makes room for later events. What is long matters most in a timeline.
    fn drop_the_shorter_half(&mut self) {
        let middle = self.events.len() / 2;
        let (_, median, _) = self.events.select_nth_unstable_by_key(middle, Event::ticks);
        let least = median.ticks() + 1;
        let before = self.events.len();
        let mut room = before / 2; // where most are equally long, some of these stay
        let mut dropped = 0;
        self.events.retain(|event| {
            let stays = event.ticks() >= least || (event.ticks() + 1 == least && room > 0);
            room -= usize::from(stays && room > 0);
            dropped += u64::from(!stays && event.kind.is_task());
            stays
        });
        self.dropped += dropped;
        self.dropped_below = least;
    }
}

impl Total {
    fn add(&mut self, event: &Event) {
        let ticks = event.ticks();
        self.count += 1;
        self.failed += u64::from(event.kind == Kind::Failed);
        self.ticks += ticks;
        self.longest = self.longest.max(ticks);
        self.cpu += event.cpu.unwrap_or((clock::seconds(ticks) * 1e9) as u64);
        if let Some(bytes) = event.bytes {
            self.bytes += bytes;
            self.sized += 1;
        }
    }
}

impl Recording {
    /// Begins. At most `most` single events are kept; totals are of all.
    pub fn begin(most: usize) -> Self {
        super::prepare();
        clock::seconds(1); // may have to be measured
        let begun = Stamp::now();
        let inner = Arc::new(Inner {
            generation: fork::generation(),
            begun,
            most,
            state: Mutex::new(Recorded {
                begun,
                ..Recorded::default()
            }),
        });
        {
            let mut recordings = RECORDINGS.lock();
            if recordings.is_empty() {
                for lane in lane::lanes() {
                    lane.forget();
                }
            }
            recordings.push(inner.clone());
            COUNT.store(recordings.len() as u32, Ordering::Relaxed);
        }
        for run in runs::live() {
            let record = run.record();
            inner.lock().runs.insert(record.number, record.clone());
        }
        Recording(inner)
    }

    /// Ends. Doing so again changes nothing.
    pub fn stop(&self) {
        if !self.is_here() {
            return;
        }
        take_from_all();
        let mut recordings = RECORDINGS.lock();
        recordings.retain(|other| !Arc::ptr_eq(other, &self.0));
        COUNT.store(recordings.len() as u32, Ordering::Relaxed);
        drop(recordings);
        let live = runs::live();
        live.iter().for_each(|run| run.tell_places());
        let mut recorded = self.0.lock();
        if recorded.ended.is_none() {
            recorded.ended = Some(Stamp::now());
            for record in live.iter().map(|run| run.record()) {
                recorded
                    .places
                    .insert(record.number, record.places.so_far());
            }
        }
        drop(recorded); // before the runs, which may be let go of here
    }

    /// When it began.
    pub fn begun(&self) -> Stamp {
        self.0.begun
    }

    /// Whether this is the process that it belongs to.
    fn is_here(&self) -> bool {
        self.0.generation == fork::generation()
    }

    /// Looks at what was recorded so far: in a forked child, nothing.
    pub fn look<T>(&self, look: impl FnOnce(&Recorded) -> T) -> T {
        if !self.is_here() {
            return look(&Recorded {
                begun: self.0.begun,
                ended: Some(self.0.begun),
                ..Recorded::default()
            });
        }
        let goes_on = self.0.lock().ended.is_none();
        if goes_on {
            take_from_all();
            runs::live().iter().for_each(|run| run.tell_places());
        }
        look(&self.0.lock())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.stop();
    }
}
