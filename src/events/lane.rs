//! What one thread does: its present tasks, and a ring of what it has done.
//!
//! Only the thread itself writes to its lane, with plain stores: nothing is shared between
//! workers, and recording a task takes no lock. Others may look at any time. What they see
//! of the present is checked by reading twice; what lies in the ring is taken out under the
//! lane's lock, at least every half turn of the ring while anybody records, so that nothing
//! of a recording is overwritten.

use super::clock::{self, Stamp};
use super::event::{self, Event, Kind, RunNumber};
use super::recording;
use crate::fork::{self, PerProcess};
use crate::graph::TaskId;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Events in a ring.
const CAPACITY: usize = 2048;
/// A recording gets them whenever so many are new.
const HALF: u64 = (CAPACITY / 2) as u64;
/// Tasks inside tasks that are told apart; deeper ones are not shown.
const DEPTH: usize = 16;

/// The lanes of all threads that have worked, and have not ended.
static LANES: PerProcess<Vec<Arc<Lane>>> = PerProcess::new();

thread_local! {
    static MINE: RefCell<Mine> = const { RefCell::new(Mine(None)) };
}

struct Mine(Option<Arc<Lane>>);

impl Drop for Mine {
    fn drop(&mut self) {
        if let Some(lane) = self.0.take()
            && lane.generation == fork::generation()
        {
            recording::take_from(&lane);
            LANES.lock().retain(|other| !Arc::ptr_eq(other, &lane));
        }
    }
}

/// One thread.
pub struct Lane {
    /// Told apart by this in the whole process.
    pub number: u32,
    /// The number by which the program knows the thread.
    pub thread: u64,
    /// What the system calls it; empty if it has no name.
    pub name: String,
    generation: u32,
    depth: AtomicUsize,
    /// What it does now, the outermost first.
    frames: [Frame; DEPTH],
    /// Events written so far; the last ones are in the ring.
    head: AtomicU64,
    slots: Box<[Slot]>,
    /// Events that were taken out so far.
    taken: Mutex<u64>,
}

/// A visit to a run.
#[derive(Default)]
struct Frame {
    /// The run, and the task plus one; 0 between two tasks.
    what: AtomicU64,
    /// Since when it is so.
    since: AtomicU64,
}

#[derive(Default)]
struct Slot([AtomicU64; 5]);

/// What a thread does for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doing {
    /// The run.
    pub run: RunNumber,
    /// The task that it runs; none between two.
    pub task: Option<TaskId>,
    /// Since when.
    pub since: Stamp,
}

/// All lanes.
pub fn lanes() -> Vec<Arc<Lane>> {
    LANES.lock().clone()
}

/// The lane of the calling thread, which the program knows by the number `thread`.
pub(crate) fn mine(thread: u64) -> Arc<Lane> {
    let made = MINE.try_with(|mine| {
        let mine = &mut mine.borrow_mut().0;
        match mine {
            Some(lane) if lane.generation == fork::generation() => lane.clone(),
            _ => mine.insert(Lane::make(thread)).clone(),
        }
    });
    // A thread that is ending gets one that nobody sees.
    made.unwrap_or_else(|_| Arc::new(Lane::new(0, thread)))
}

impl Lane {
    fn new(number: u32, thread: u64) -> Self {
        Lane {
            number,
            thread,
            name: (std::thread::current().name())
                .unwrap_or_default()
                .to_owned(),
            generation: fork::generation(),
            depth: AtomicUsize::new(0),
            frames: Default::default(),
            head: AtomicU64::new(0),
            slots: (0..CAPACITY).map(|_| Slot::default()).collect(),
            taken: Mutex::new(0),
        }
    }

    fn make(thread: u64) -> Arc<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed) as u32;
        let lane = Arc::new(Lane::new(number, thread));
        LANES.lock().push(lane.clone());
        lane
    }

    /// What it does now, the outermost first.
    pub fn doing(&self) -> Vec<Doing> {
        let depth = self.depth.load(Ordering::Acquire).min(DEPTH);
        self.frames[..depth]
            .iter()
            .filter_map(Frame::read)
            .collect()
    }

    fn read(&self, position: u64) -> Event {
        let slot = &self.slots[position as usize % CAPACITY].0;
        event::decode(
            std::array::from_fn(|i| slot[i].load(Ordering::Relaxed)),
            self.number,
        )
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `take` what nobody has taken yet, oldest first.
    ///
    /// Nothing is missing if this is called at least every half turn, as it is from
    /// [`forget`](Self::forget) on while anybody records.
    pub(super) fn take(&self, take: impl FnOnce(&mut dyn Iterator<Item = Event>)) {
        let mut taken = self.lock();
        let head = self.head.load(Ordering::Acquire);
        let from = (*taken).max(head.saturating_sub(CAPACITY as u64));
        take(&mut (from..head).map(|i| self.read(i)));
        *taken = head;
    }

    /// What there is has been taken, or is nobody's.
    pub(super) fn forget(&self) {
        *self.lock() = self.head.load(Ordering::Acquire);
    }

    #[inline]
    fn write(&self, event: &Event) {
        let head = self.head.load(Ordering::Relaxed);
        let slot = &self.slots[head as usize % CAPACITY].0;
        for (place, word) in slot.iter().zip(event::encode(event)) {
            place.store(word, Ordering::Relaxed);
        }
        self.head.store(head + 1, Ordering::Release);
        if (head + 1).is_multiple_of(HALF) {
            self.half_turn();
        }
    }

    #[cold]
    fn half_turn(&self) {
        if recording::is_on() {
            recording::take_from(self);
        }
    }

    /// The calling thread, whose lane this is, begins to work for `run`.
    pub(crate) fn visit(&self, run: RunNumber) -> Visit<'_> {
        let depth = self.depth.load(Ordering::Relaxed);
        let detailed = recording::is_on();
        let visit = Visit {
            lane: self,
            run,
            depth,
            now: Stamp::now(),
            detailed,
            cpu: Cpu::new(detailed),
        };
        visit.show(0);
        self.depth.store(depth + 1, Ordering::Release);
        visit
    }
}

impl Frame {
    fn read(&self) -> Option<Doing> {
        let what = self.what.load(Ordering::Acquire);
        let since = self.since.load(Ordering::Acquire);
        let same = self.what.load(Ordering::Acquire) == what;
        same.then(|| Doing {
            run: RunNumber((what >> 32) as u32),
            task: (what as u32)
                .checked_sub(1)
                .map(|task| TaskId::new(task as usize)),
            since: Stamp(since),
        })
    }
}

/// A thread that works for a run; dropped when it leaves.
pub(crate) struct Visit<'l> {
    lane: &'l Lane,
    run: RunNumber,
    depth: usize,
    /// When the last thing ended, as far as it was looked at.
    now: Stamp,
    /// Somebody records: what costs a little more is worth it.
    detailed: bool,
    cpu: Cpu,
}

impl Visit<'_> {
    /// Somebody records, or did a while ago.
    #[inline]
    pub(crate) fn is_detailed(&self) -> bool {
        self.detailed
    }

    /// The moment of the last start or end.
    pub(crate) fn last(&self) -> Stamp {
        self.now
    }

    /// A task begins. Unless somebody records it is taken to begin where the last one
    /// ended: what happens between is mostly less than a look at the clock.
    #[inline]
    pub(crate) fn start(&mut self, task: TaskId) {
        if self.detailed {
            self.now = Stamp::now();
        }
        self.show(task.index() as u32 + 1);
    }

    /// The task has ended: `kind` says how.
    #[inline]
    pub(crate) fn end(&mut self, task: TaskId, kind: Kind) -> Ended {
        let start = std::mem::replace(&mut self.now, Stamp::now());
        self.show(0);
        Ended {
            kind,
            task,
            start,
            end: self.now,
        }
    }

    /// Writes down what has ended, with the bytes of the output, if they are known.
    #[inline]
    pub(crate) fn record(&mut self, ended: Ended, bytes: Option<u64>) {
        let cpu = if self.detailed {
            self.cpu.of(&ended)
        } else {
            None
        };
        self.lane.write(&Event {
            kind: ended.kind,
            run: self.run,
            task: ended.task,
            lane: self.lane.number,
            nested: self.depth > 0,
            start: ended.start,
            end: ended.end,
            bytes,
            cpu,
        });
    }

    /// Writes down something that was no task, and has just ended. How many ticks it took.
    pub(crate) fn note(&mut self, kind: Kind, start: Stamp) -> u64 {
        let end = Stamp::now();
        self.now = end;
        let was_detailed = std::mem::replace(&mut self.detailed, recording::is_on());
        if self.detailed {
            if !was_detailed {
                self.cpu = Cpu::new(true); // what was asked for last is long ago
            }
            self.record(
                Ended {
                    kind,
                    task: TaskId::new(0),
                    start,
                    end,
                },
                None,
            );
        }
        end.ticks_since(start)
    }

    #[inline]
    fn show(&self, task: u32) {
        if let Some(frame) = self.lane.frames.get(self.depth) {
            frame.since.store(self.now.0, Ordering::Relaxed);
            let what = u64::from(self.run.0) << 32 | u64::from(task);
            frame.what.store(what, Ordering::Release);
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.lane.depth.store(self.depth, Ordering::Release);
    }
}

/// A task that has ended.
pub(crate) struct Ended {
    kind: Kind,
    task: TaskId,
    start: Stamp,
    end: Stamp,
}

/// The CPU time of a thread, asked for after long tasks only: a short one is
/// taken to compute from its begin to its end.
struct Cpu {
    /// CPU time when it was asked for last, in nanoseconds.
    last: Option<u64>,
    /// What shorter tasks took since, in ticks.
    short: u64,
}

impl Cpu {
    fn new(asks: bool) -> Self {
        Cpu {
            last: if asks { clock::thread_cpu() } else { None },
            short: 0,
        }
    }

    /// Nanoseconds in the task that has just ended.
    fn of(&mut self, ended: &Ended) -> Option<u64> {
        const LONG: f64 = 50e-6;
        let ticks = ended.end.ticks_since(ended.start);
        let wall = clock::seconds(ticks);
        if wall < LONG {
            self.short += ticks;
            return Some((wall * 1e9) as u64);
        }
        let now = clock::thread_cpu();
        let short = (clock::seconds(std::mem::take(&mut self.short)) * 1e9) as u64;
        let since = now
            .zip(self.last)
            .map(|(now, last)| now.saturating_sub(last));
        self.last = now;
        since.map(|cpu| cpu.saturating_sub(short).min((wall * 1e9) as u64))
    }
}
