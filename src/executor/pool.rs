//! The one pool of worker threads that all runs share.
//!
//! Always: at most one pool takes new work; it has as many threads as the
//! largest run had work for, and none of them is stuck in a run that nobody waits
//! for. A pool that cannot keep this (it is too small, or a cancelled task
//! still occupies a worker) is replaced; the old threads end when their last
//! task does. A forked child starts without a pool.

use crate::fork::PerProcess;
use rayon_core::{ThreadPool, ThreadPoolBuilder};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Called on a worker thread when it begins and when it ends.
#[derive(Debug, Clone, Copy)]
pub struct ThreadHooks {
    /// Before the first task.
    pub begin: fn(),
    /// After the last task.
    pub end: fn(),
}

static HOOKS: OnceLock<ThreadHooks> = OnceLock::new();

/// Invitations spawned and not yet taken up by a worker.
static WAITING: AtomicUsize = AtomicUsize::new(0);

type Job = Box<dyn FnOnce() + Send>;

/// Jobs in the order in which they were spawned. Rayon lets a worker take what
/// it has spawned itself before anything else; so it is given only calls to
/// take the oldest job, and who asks again comes last.
type Queue = Mutex<VecDeque<Job>>;

static STATE: PerProcess<State> = PerProcess::new();

#[derive(Default)]
struct State {
    pool: Option<ThreadPool>,
    size: usize,
    /// Outlives a pool: its successor takes up what the stuck one has not.
    queue: Arc<Queue>,
    /// Counts the pools made; tells workers of an older pool from ours.
    epoch: usize,
    /// Workers of the present pool that run a task of an abandoned run.
    stuck: usize,
}

/// As many threads as the machine has cores, and some more: so many are made
/// without asking whether there is work for all.
pub(super) fn usual_size() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    4 * *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Sets what every worker thread does first and last; the first call counts.
pub fn set_thread_hooks(hooks: ThreadHooks) {
    let _ = HOOKS.set(hooks);
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock()
}

/// A forked child has no pool, and nobody waits for one.
pub(super) fn forget_waiting() {
    WAITING.store(0, Ordering::Release);
}

/// Runs `job` on a worker of a pool with at least `size` workers, none stuck.
///
/// Returns an error if the system gives no more threads.
pub(super) fn spawn(size: usize, job: impl FnOnce() + Send + 'static) -> Result<(), NoThreads> {
    let mut state = state();
    let mut calls = 1;
    if state.pool.is_none() || state.size < size || state.stuck > 0 {
        let size = size.max(state.size);
        let pool = build(size)?;
        state.epoch += 1;
        state.stuck = 0;
        state.size = size;
        calls += lock(&state.queue).len();
        // Dropping the old pool tells its threads to end after what they
        // have; it does not wait for them.
        state.pool = Some(pool);
    }
    lock(&state.queue).push_back(Box::new(job));
    WAITING.fetch_add(1, Ordering::Relaxed);
    if let Some(pool) = &state.pool {
        for _ in 0..calls {
            let (epoch, queue) = (state.epoch, state.queue.clone());
            pool.spawn_fifo(move || {
                EPOCH.set(epoch);
                take_oldest(&queue);
            });
        }
    }
    Ok(())
}

fn take_oldest(queue: &Queue) {
    // There is none left for some calls, if a pool was replaced meanwhile.
    let job = lock(queue).pop_front();
    if let Some(job) = job {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        job();
    }
}

fn lock(queue: &Queue) -> MutexGuard<'_, VecDeque<Job>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The system gave no thread for a pool.
#[derive(Debug)]
pub(super) struct NoThreads;

fn build(size: usize) -> Result<ThreadPool, NoThreads> {
    super::forget_in_children();
    let builder = ThreadPoolBuilder::new()
        .num_threads(size)
        // As much as a thread of Python's own mostly has: tasks nest on it.
        .stack_size(16 << 20)
        .thread_name(|i| format!("mars-worker-{i}"))
        .start_handler(|_| {
            if let Some(hooks) = HOOKS.get() {
                (hooks.begin)()
            }
        })
        .exit_handler(|_| {
            if let Some(hooks) = HOOKS.get() {
                (hooks.end)()
            }
        })
        // A panic in a task becomes that task's error long before this; what
        // comes here is a mistake of ours, and no reason to end the process.
        .panic_handler(|_| {});
    builder.build().map_err(|_| NoThreads)
}

/// Whether invitations wait that no worker has taken up.
pub(super) fn is_contended() -> bool {
    WAITING.load(Ordering::Relaxed) > 0
}

thread_local! {
    static EPOCH: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The pool that the calling worker belongs to.
pub(super) fn epoch() -> usize {
    EPOCH.get()
}

/// A worker of pool `epoch` runs a task that nobody waits for any more.
pub(super) fn lose(epoch: usize) {
    let mut state = state();
    if state.epoch == epoch {
        state.stuck += 1;
    }
}

/// While it lives, the calling worker counts as lost: it sleeps in a task that waits
/// for what other runs make, and these may need a worker.
pub(super) struct Blocked(Option<usize>);

impl Blocked {
    /// Gives the work that waits to another pool, if this thread is a worker.
    pub(super) fn now() -> Self {
        let epoch = epoch();
        if epoch == 0 {
            return Blocked(None);
        }
        lose_to_others(epoch);
        Blocked(Some(epoch))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some(epoch) = self.0 {
            regain(epoch);
        }
    }
}

/// Another worker for one whose task may be waiting; given once at most.
pub(super) struct Relief {
    epoch: usize,
    state: Mutex<ReliefState>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReliefState {
    Open,
    Given,
    Over,
}

thread_local! {
    static RELIEF: RefCell<Option<Arc<Relief>>> = const { RefCell::new(None) };
}

/// The relief of the calling thread, if it is a worker in a task.
pub(super) fn relief() -> Option<Arc<Relief>> {
    let epoch = epoch();
    (epoch != 0 && super::in_task()).then(|| {
        RELIEF.with_borrow_mut(|relief| {
            let new = || Arc::new(Relief::new(epoch));
            relief.get_or_insert_with(new).clone()
        })
    })
}

/// The calling thread is in no task any more.
pub(super) fn end_relief() {
    let relief = RELIEF.with_borrow_mut(Option::take);
    if let Some(relief) = relief
        && std::mem::replace(&mut *relief.lock(), ReliefState::Over) == ReliefState::Given
    {
        regain(relief.epoch);
    }
}

impl Relief {
    fn new(epoch: usize) -> Self {
        Relief {
            epoch,
            state: Mutex::new(ReliefState::Open),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ReliefState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has neither been given nor is needed no more.
    pub(super) fn may_be_given(&self) -> bool {
        *self.lock() == ReliefState::Open
    }

    /// Counts the worker as lost, so that another pool takes up what waits.
    pub(super) fn give(&self) -> bool {
        let mut state = self.lock();
        if *state != ReliefState::Open {
            return false;
        }
        *state = ReliefState::Given;
        drop(state);
        lose_to_others(self.epoch);
        true
    }
}

/// A worker of pool `epoch` sleeps; what waits goes to another pool.
fn lose_to_others(epoch: usize) {
    lose(epoch);
    if is_contended() {
        // If there is no thread to be had, the work waits on.
        let _ = spawn(0, || {});
    }
}

/// A worker that was lost is back.
pub(super) fn regain(epoch: usize) {
    let mut state = state();
    if state.epoch == epoch {
        state.stuck = state.stuck.saturating_sub(1);
    }
}

/// Lets the threads of the pool end when they have done what they have, and the one
/// that waits for pauses if nobody wants them; the next run makes another pool.
pub fn retire() {
    let pool = {
        let mut state = state();
        state.size = 0;
        state.stuck = 0;
        // A call for each invitation is already with the old threads.
        state.pool.take()
    };
    drop(pool);
    super::timer::forget_unwanted();
}

/// The number of threads of the present pool; 0 before the first run.
pub fn size() -> usize {
    state().size
}
