//! The runs of this process: those that go on, and counts of those that have ended.

use super::clock::Stamp;
use super::event::RunNumber;
use super::recording;
use crate::fork::PerProcess;
use crate::graph::TaskGraph;
use crate::memory::Groups;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

static RUNS: PerProcess<Runs> = PerProcess::new();
/// The number of the next run.
static NEXT: AtomicU32 = AtomicU32::new(1);

#[derive(Default)]
struct Runs {
    live: BTreeMap<RunNumber, Weak<dyn Watched>>,
    watches: Vec<Weak<Ended>>,
}

/// What is known of a run from its begin, and stays when it is gone.
#[derive(Debug)]
pub struct RunRecord {
    /// Its number.
    pub number: RunNumber,
    /// The run in whose task it was made.
    pub outer: Option<RunNumber>,
    /// The same, as long as anybody has it: a task that begins a run and is gone before that
    /// has ended would otherwise make a chain of records, without end.
    around: Weak<RunRecord>,
    /// When it was made.
    pub begun: Stamp,
    /// Tasks that have to be run.
    pub total: usize,
    /// Tasks whose results were there before.
    pub known: usize,
    /// At most so many tasks at the same time.
    pub limit: usize,
    /// What its places for workers were used for, but for tasks.
    pub places: Places,
    ended: AtomicU64,
    finished: AtomicU64,
    last_end: AtomicU64,
    description: OnceLock<Description>,
}

/// What becomes of the places that a run has for workers, in ticks: each place is in
/// a task, or is one of these, or is with the engine.
#[derive(Debug, Default)]
pub struct Places {
    /// Empty: no task was ready.
    pub nothing_ready: AtomicU64,
    /// Empty: ready tasks waited for the memory limit.
    pub held: AtomicU64,
    /// The worker waited for the token (the lock of the interpreter).
    pub attaching: AtomicU64,
    /// The worker moved results to disk.
    pub making_room: AtomicU64,
    /// The worker let results go; while somebody records.
    pub releasing: AtomicU64,
}

impl Places {
    /// How they stand: nothing ready, held, making room, attaching, releasing.
    pub fn so_far(&self) -> [u64; 5] {
        [
            &self.nothing_ready,
            &self.held,
            &self.making_room,
            &self.attaching,
            &self.releasing,
        ]
        .map(|ticks| ticks.load(Ordering::Relaxed))
    }

    pub(crate) fn add(place: &AtomicU64, ticks: u64) {
        place.fetch_add(ticks, Ordering::Relaxed);
    }
}

/// What the tasks of a recorded run are.
pub struct Description {
    /// Which of them do the same.
    pub groups: Groups,
    /// What they need.
    pub graph: TaskGraph,
    /// What the program calls them.
    pub labels: Arc<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for Description {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Description")
            .field("tasks", &self.graph.len())
            .finish_non_exhaustive()
    }
}

/// A run as others see it while it goes on.
pub trait Watched: Any + Send + Sync {
    /// What is known from its begin.
    fn record(&self) -> &Arc<RunRecord>;
    /// Where it stands.
    fn standing(&self) -> Standing;
    /// Has it tell what became of its places up to now.
    fn tell_places(&self);
    /// The run itself.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Tasks that have been run.
    pub finished: usize,
    /// Tasks that may start.
    pub ready: usize,
    /// A task has failed, or it was cancelled: nothing starts any more.
    pub stopping: bool,
    /// Ready tasks wait for the memory limit.
    pub holds: bool,
}

impl RunRecord {
    /// A run that begins now, inside a task of `outer`; `known` of its `tasks` have a result.
    pub(crate) fn new(
        outer: Option<&Arc<RunRecord>>,
        tasks: usize,
        known: usize,
        limit: usize,
    ) -> Self {
        let number = RunNumber(NEXT.fetch_add(1, Ordering::Relaxed));
        RunRecord {
            number,
            outer: outer.map(|outer| outer.number),
            around: outer.map_or_else(Weak::new, Arc::downgrade),
            begun: Stamp::now(),
            total: tasks - known,
            known,
            limit,
            places: Places::default(),
            ended: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            last_end: AtomicU64::new(0),
            description: OnceLock::new(),
        }
    }

    /// Whether it is `run`, or was made inside of it.
    pub fn is_in(&self, run: RunNumber) -> bool {
        if self.number == run || self.outer == Some(run) {
            return true;
        }
        let mut around = self.around.upgrade();
        while let Some(record) = around {
            if record.outer == Some(run) {
                return true;
            }
            around = record.around.upgrade();
        }
        false
    }

    /// Says what its tasks are; only the first description counts.
    pub fn describe(&self, description: impl FnOnce() -> Description) {
        self.description.get_or_init(description);
    }

    /// What its tasks are, if anybody has recorded it.
    pub fn description(&self) -> Option<&Description> {
        self.description.get()
    }

    /// When it ended; None while it goes on.
    pub fn ended(&self) -> Option<Stamp> {
        match self.ended.load(Ordering::Acquire) {
            0 => None,
            ended => Some(Stamp(ended)),
        }
    }

    /// Tasks that had been run when it ended.
    pub fn finished(&self) -> usize {
        self.finished.load(Ordering::Acquire) as usize
    }

    /// The last moment at which a thread that has left it had ended a task.
    pub fn last_end(&self) -> Stamp {
        Stamp(self.last_end.load(Ordering::Relaxed)).max(self.begun)
    }

    pub(crate) fn ended_a_task(&self, at: Stamp) {
        self.last_end.fetch_max(at.0, Ordering::Relaxed);
    }
}

/// `run` begins.
pub(crate) fn begin(run: &Arc<impl Watched>) {
    let record = run.record();
    let watched: Weak<dyn Watched> = Arc::<_>::downgrade(run) as Weak<dyn Watched>;
    RUNS.lock().live.insert(record.number, watched);
    if recording::is_on() {
        recording::begins(record);
    }
}

/// The run has ended, and `finished` of its tasks have been run; only the first call counts.
pub(crate) fn end(record: &RunRecord, finished: usize) {
    let runs = &mut *RUNS.lock();
    let Some(gone) = runs.live.remove(&record.number) else {
        return;
    };
    record.finished.store(finished as u64, Ordering::Release);
    record.ended.store(Stamp::now().0, Ordering::Release);
    for watch in runs.watches.iter().filter_map(Weak::upgrade) {
        watch.add(record, finished);
    }
    drop(gone); // weak: nothing is let go of with it
}

/// The runs that go on, the oldest first.
pub fn live() -> Vec<Arc<dyn Watched>> {
    let live: Vec<_> = RUNS.lock().live.values().cloned().collect();
    live.iter().filter_map(Weak::upgrade).collect()
}

/// Which runs are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Those that begin from now on.
    From(RunNumber),
    /// One, and what is computed inside its tasks.
    In(RunNumber),
}

/// Sums over runs that have ended.
#[derive(Debug)]
struct Ended {
    scope: Scope,
    finished: AtomicU64,
    total: AtomicU64,
}

impl Ended {
    fn has(&self, record: &RunRecord) -> bool {
        match self.scope {
            Scope::From(first) => record.number >= first,
            Scope::In(run) => record.is_in(run),
        }
    }

    fn add(&self, record: &RunRecord, finished: usize) {
        if self.has(record) {
            self.finished.fetch_add(finished as u64, Ordering::Relaxed);
            self.total.fetch_add(record.total as u64, Ordering::Relaxed);
        }
    }
}

/// Counts tasks over many runs, while they go on and after they have ended.
#[derive(Debug)]
pub struct Watch(Arc<Ended>);

/// What a [`Watch`] has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Tasks that have been run.
    pub finished: u64,
    /// Tasks of all runs.
    pub total: u64,
    /// Runs that go on.
    pub live: usize,
}

impl Watch {
    /// Counts the runs that begin from now on.
    pub fn from_now_on() -> Self {
        let next = RunNumber(NEXT.load(Ordering::Relaxed));
        Self::over(Scope::From(next), &mut RUNS.lock())
    }

    /// Counts one run, which may have begun, and those inside its tasks.
    pub fn of(run: &RunRecord) -> Self {
        let runs = &mut *RUNS.lock();
        let watch = Self::over(Scope::In(run.number), runs);
        // One that goes on is added when it ends.
        if !runs.live.contains_key(&run.number) {
            watch.0.add(run, run.finished());
        }
        watch
    }

    fn over(scope: Scope, runs: &mut Runs) -> Self {
        let ended = Arc::new(Ended {
            scope,
            finished: AtomicU64::new(0),
            total: AtomicU64::new(0),
        });
        runs.watches.retain(|watch| watch.strong_count() > 0);
        runs.watches.push(Arc::downgrade(&ended));
        Watch(ended)
    }

    /// How far they are.
    pub fn counts(&self) -> Counts {
        /// A run that goes away between the two looks is looked for again where it is then
        /// counted; a thread that is about to say that it has ended may be off its core.
        const TRIES: u32 = 100;
        for _ in 0..TRIES {
            if let (counts, true) = self.look() {
                return counts;
            }
            std::thread::yield_now();
        }
        self.look().0
    }

    /// What is to be seen at this moment, and whether that is all.
    fn look(&self) -> (Counts, bool) {
        let (mut counts, live) = {
            let runs = RUNS.lock();
            let counts = Counts {
                finished: self.0.finished.load(Ordering::Relaxed),
                total: self.0.total.load(Ordering::Relaxed),
                live: 0,
            };
            (counts, runs.live.values().cloned().collect::<Vec<_>>())
        };
        let mut is_all = true;
        for run in &live {
            let Some(run) = run.upgrade() else {
                is_all = false;
                continue;
            };
            let record = run.record();
            if self.0.has(record) {
                counts.finished += run.standing().finished as u64;
                counts.total += record.total as u64;
                counts.live += 1;
            }
        }
        (counts, is_all)
    }
}
