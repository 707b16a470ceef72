//! One computation, from its first task to its end.

use super::background::{self, Background};
use super::current::{self, Stop, Working};
use super::observed::Gate;
use super::pool::{self, Blocked};
use super::promise::Later;
use super::runner::{Ran, Runner};
use super::worker::{self, Role};
use crate::events::{self, RunRecord, Stamp};
use crate::fork;
use crate::graph::{TaskGraph, TaskId};
use crate::memory::{Admission, EntryId, MakeRoom, Spilled, Turn, Waits};
use crate::scheduler::{Phase, Scheduler};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How often a waiting caller looks for signals.
const POLL: Duration = Duration::from_millis(50);
/// How long a caller that should only wait leaves its run without a worker
/// before it runs tasks itself: all workers may wait for this very caller.
pub(super) const STARVED: Duration = Duration::from_millis(20);
/// How often a caller looks whether a short run has ended before it sleeps.
const SPINS: u32 = 2_000;

/// What the calling thread does while its run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Runs tasks of this run, and of no other.
    Helps,
    /// Waits, to be woken by signals. Helps only if no worker comes.
    Waits,
}

/// How a run is carried out.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// At most this many tasks at the same time; at least 1.
    pub limit: usize,
    /// What the calling thread does.
    pub caller: Caller,
    /// Runs a failed task once more on the calling thread, and takes what
    /// comes of that.
    pub rerun_on_caller: bool,
}

/// How a run ended, if not well.
#[derive(Debug)]
pub enum Ended<E> {
    /// A task failed.
    Failed {
        /// The task.
        task: TaskId,
        /// What it failed with.
        error: E,
        /// Who asked for it: see [`Scheduler::asked_for_by`].
        asked_for_by: Vec<TaskId>,
    },
    /// The caller's poll returned an error.
    Interrupted(E),
    /// The run inside which this one was made has stopped.
    Cancelled,
}

/// One computation.
pub struct Run<R: Runner> {
    /// First, so that what is pinned is let go of before the results go.
    progress: Mutex<Progress<R::Error>>,
    runner: R,
    pub(super) record: Arc<RunRecord>,
    /// The process that it belongs to: see [`fork::generation`].
    generation: u32,
    options: Options,
    /// The caller waits here.
    changed: Condvar,
    /// Nothing more will happen that the caller waits for.
    ended: AtomicBool,
    nested: Mutex<Vec<Weak<dyn Stop>>>,
    pub(super) background: Mutex<Option<Background<R>>>,
}

/// What changes while a run goes on.
pub(super) struct Progress<E> {
    pub(super) scheduler: Scheduler,
    /// Threads in the worker loop.
    pub(super) active: usize,
    /// Invitations that no worker has taken up.
    pub(super) invited: usize,
    /// The caller helps, and sleeps until a task is ready.
    pub(super) caller_sleeps: bool,
    /// The caller helps, and is on its way to take a task.
    pub(super) caller_comes: bool,
    /// Since when ready tasks have been without a worker, as those saw who waited.
    pub(super) starves_since: Option<Instant>,
    /// A thread has joined and helps.
    pub(super) has_helper: bool,
    /// The first failure.
    pub(super) failure: Option<(TaskId, E)>,
    /// Failed tasks that the caller shall run once more.
    pub(super) to_rerun: Vec<TaskId>,
    /// Results to be released by the caller.
    pub(super) leftover: Vec<TaskId>,
    /// The pools of the workers that run a task now.
    pub(super) at_work: Vec<usize>,
    /// The caller has gone while workers were at work.
    pub(super) abandoned: bool,
    /// Set in an observed run: what workers may start.
    pub(super) gate: Option<Gate<E>>,
    /// Set in a run under a memory limit: what may start.
    pub(super) admission: Option<Admission<E>>,
    /// To be told: what the asked-for results are going to take, and the limit.
    pub(super) will_not_fit: Option<(u64, u64)>,
    /// Up to here it is known what became of the places that are not taken.
    pub(super) places_told: Stamp,
}

/// What a thread has to do for a run.
pub(super) enum Job<E> {
    /// Run this task, which has been started.
    Task(TaskId),
    /// Make room for a task that cannot start yet.
    MakeRoom(MakeRoom<E>),
}

impl<E> Progress<E> {
    /// How many tasks a worker that comes could start.
    pub(super) fn startable(&self) -> usize {
        if let Some(gate) = &self.gate {
            return gate.cleared.len();
        }
        match &self.admission {
            Some(admission) if admission.holds() => 0,
            _ => self.scheduler.ready(),
        }
    }

    /// The next thing for a worker to do.
    #[inline]
    pub(super) fn start(&mut self) -> Option<Job<E>> {
        let Some(gate) = &mut self.gate else {
            return self.start_next();
        };
        if self.scheduler.phase() != Phase::Running {
            return None;
        }
        let task = gate.cleared.pop_front()?;
        if let Some(admission) = &mut self.admission {
            admission.taken_over(task);
        }
        Some(Job::Task(task))
    }

    /// The next thing to do for whoever takes tasks from the scheduler.
    #[inline]
    pub(super) fn start_next(&mut self) -> Option<Job<E>> {
        let Some(admission) = &mut self.admission else {
            return self.scheduler.start().map(Job::Task);
        };
        match admission.next(&mut self.scheduler)? {
            Turn::Start(task) => Some(Job::Task(task)),
            Turn::MakeRoom(make) => Some(Job::MakeRoom(make)),
            Turn::Hold => None,
        }
    }

    pub(super) fn has_outcomes(&self) -> bool {
        (self.gate.as_ref()).is_some_and(|gate| !gate.outcomes.is_empty())
    }
}

impl<R: Runner> Run<R> {
    /// A run that has not begun.
    pub fn new(scheduler: Scheduler, runner: R, options: Options) -> Arc<Self> {
        Self::make(scheduler, None, runner, options)
    }

    /// The same for a run under a memory limit: `admission` says what may start.
    pub fn limited(
        scheduler: Scheduler,
        admission: Admission<R::Error>,
        runner: R,
        options: Options,
    ) -> Arc<Self> {
        let run = Self::make(scheduler, Some(admission), runner, options);
        if let Some(admission) = &mut run.lock().admission {
            admission.wakes(Arc::new(Wakes(Arc::downgrade(&run))));
        }
        run
    }

    fn make(
        scheduler: Scheduler,
        admission: Option<Admission<R::Error>>,
        runner: R,
        options: Options,
    ) -> Arc<Self> {
        let (tasks, unfinished) = (scheduler.graph().len(), scheduler.unfinished());
        let outer = current::current().and_then(|outer| outer.upgrade());
        let outer = outer.as_ref().map(|outer| outer.record());
        let record = Arc::new(RunRecord::new(
            outer,
            tasks,
            tasks - unfinished,
            options.limit,
        ));
        let run = Arc::new(Run {
            runner,
            record: record.clone(),
            generation: fork::generation(),
            options,
            progress: Mutex::new(Progress {
                scheduler,
                active: 0,
                invited: 0,
                caller_sleeps: false,
                caller_comes: options.caller == Caller::Helps,
                starves_since: None,
                has_helper: false,
                failure: None,
                to_rerun: Vec::new(),
                leftover: Vec::new(),
                at_work: Vec::new(),
                abandoned: false,
                gate: None,
                admission,
                will_not_fit: None,
                places_told: record.begun,
            }),
            changed: Condvar::new(),
            ended: AtomicBool::new(false),
            nested: Mutex::new(Vec::new()),
            background: Mutex::new(None),
        });
        events::begin(&run);
        run
    }

    /// The runner, and with it the results.
    pub fn runner(&self) -> &R {
        &self.runner
    }

    /// A copy of the graph.
    pub fn graph(&self) -> TaskGraph {
        self.lock().scheduler.graph().clone()
    }

    /// What is known of it, also when it is gone.
    pub fn record(&self) -> &Arc<RunRecord> {
        &self.record
    }

    /// The tasks that wait for `task`, at most so many, and how many there are.
    pub fn dependents(&self, task: TaskId, most: usize) -> (Vec<TaskId>, usize) {
        let progress = self.lock();
        let all = progress.scheduler.graph().dependents(task);
        (all[..all.len().min(most)].to_vec(), all.len())
    }

    /// How many tasks have finished, of how many.
    pub fn counts(&self) -> (usize, usize) {
        let progress = self.lock();
        let total = progress.scheduler.graph().len();
        (total - progress.scheduler.unfinished(), total)
    }

    /// Tells the account what came of moving a result.
    pub(super) fn settle_spilled(&self, id: EntryId, outcome: Spilled) {
        let account = {
            let progress = self.lock();
            progress.admission.as_ref().map(|a| a.account().clone())
        };
        if let Some(account) = account {
            account.settle(id, outcome);
        }
    }

    pub(super) fn options(&self) -> Options {
        self.options
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Progress<R::Error>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs all tasks and returns when the last one has finished, or when the
    /// run has stopped; tasks still running then are left to themselves.
    ///
    /// `poll` is called from time to time on the calling thread, while it has no
    /// task to run; an error from it stops the run. The calling thread must not
    /// be attached.
    pub fn execute(
        self: &Arc<Self>,
        mut poll: impl FnMut() -> Result<(), R::Error>,
    ) -> Result<(), Ended<R::Error>> {
        if self.lock().scheduler.phase() == Phase::Done {
            return Ok(());
        }
        self.link_to_outer();
        worker::invite(self);
        let interrupted = match self.options.caller {
            Caller::Helps => self.help_until_ended(&mut poll).err(),
            Caller::Waits => self.wait_until_ended(None, &mut poll).err(),
        };
        self.conclude(interrupted)
    }

    /// Makes the run stop with the one inside whose task it was made, if any.
    pub fn link_to_outer(self: &Arc<Self>) {
        if let Some(outer) = current::current().and_then(|outer| outer.upgrade()) {
            let this: Arc<dyn Stop> = self.clone();
            outer.adopt(Arc::downgrade(&this));
        }
    }

    pub(super) fn help_until_ended(
        self: &Arc<Self>,
        poll: &mut impl FnMut() -> Result<(), R::Error>,
    ) -> Result<(), R::Error> {
        let mut blocked = None;
        loop {
            worker::work(self, Role::Caller);
            background::tell_ends();
            let mut progress = self.lock();
            let mut slept_long = false;
            while !self.has_ended() && !self.caller_has_work(&progress) && !slept_long {
                progress.caller_sleeps = true;
                // It was called, and another thread has taken the task.
                progress.caller_comes = false;
                let pause = if progress.active == 0 { STARVED } else { POLL };
                let (guard, timeout) = (self.changed.wait_timeout(progress, pause))
                    .unwrap_or_else(PoisonError::into_inner);
                progress = guard;
                progress.caller_sleeps = false;
                slept_long = timeout.timed_out();
            }
            progress.caller_comes = true;
            let waits_for_others = slept_long && progress.active == 0 && progress.startable() == 0;
            drop(progress);
            if self.has_ended() {
                return Ok(());
            }
            worker::rerun_failed(self);
            if slept_long {
                poll()?;
            }
            if waits_for_others && blocked.is_none() {
                blocked = Some(Blocked::now());
            }
        }
    }

    fn caller_has_work(&self, progress: &Progress<R::Error>) -> bool {
        !progress.to_rerun.is_empty()
            || (progress.startable() > 0 && progress.active < self.options.limit)
    }

    /// Says whether the run has ended; false only if `deadline` has passed.
    pub(super) fn wait_until_ended(
        self: &Arc<Self>,
        deadline: Option<Instant>,
        poll: &mut impl FnMut() -> Result<(), R::Error>,
    ) -> Result<bool, R::Error> {
        for _ in 0..SPINS {
            if self.has_ended() {
                return Ok(true);
            }
            std::hint::spin_loop();
        }
        let mut blocked = None;
        loop {
            background::tell_ends();
            let mut starved = false;
            let progress = self.lock();
            let waits_for_others = progress.active == 0 && progress.startable() == 0;
            if !self.has_ended() && progress.to_rerun.is_empty() {
                let (progress, left_alone) = self.sleep(progress, deadline);
                drop(progress);
                starved = left_alone;
            } else {
                drop(progress);
            }
            if self.has_ended() {
                return Ok(true);
            }
            worker::rerun_failed(self);
            if starved {
                worker::work(self, Role::Caller);
            }
            poll()?;
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(self.has_ended());
            }
            if waits_for_others && blocked.is_none() {
                blocked = Some(Blocked::now());
            }
        }
    }

    /// Sleeps until something changes, at most until it is time to look for
    /// signals or `deadline`. Says whether ready tasks were left without any
    /// worker meanwhile.
    pub(super) fn sleep<'a>(
        &self,
        mut progress: MutexGuard<'a, Progress<R::Error>>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, Progress<R::Error>>, bool) {
        let idle = |progress: &Progress<R::Error>| progress.active == 0 && progress.startable() > 0;
        let since = *progress.starves_since.get_or_insert_with(Instant::now);
        if !idle(&progress) {
            progress.starves_since = None;
        }
        let pause = if progress.active == 0 { STARVED } else { POLL };
        let pause = deadline.map_or(pause, |deadline| {
            pause.min(deadline.saturating_duration_since(Instant::now()))
        });
        let (progress, _) =
            (self.changed.wait_timeout(progress, pause)).unwrap_or_else(PoisonError::into_inner);
        let starved =
            idle(&progress) && progress.starves_since.is_some() && since.elapsed() >= STARVED;
        (progress, starved)
    }

    /// Settles how the run ended, and lets go of what it leaves behind.
    pub(super) fn conclude(&self, interrupted: Option<R::Error>) -> Result<(), Ended<R::Error>> {
        if interrupted.is_some() {
            self.stop();
        }
        let mut progress = self.lock();
        let leftover = std::mem::take(&mut progress.leftover);
        let failure = progress.failure.take();
        let stopped = progress.scheduler.phase() == Phase::Stopped;
        let result = match (interrupted, failure) {
            (Some(error), _) => Err(Ended::Interrupted(error)),
            (None, Some((task, error))) => Err(Ended::Failed {
                task,
                error,
                asked_for_by: progress.scheduler.asked_for_by(task),
            }),
            (None, None) if stopped => Err(Ended::Cancelled),
            (None, None) => Ok(()),
        };
        if stopped {
            progress.abandoned = true;
            for &epoch in &progress.at_work {
                pool::lose(epoch);
            }
        }
        progress.tell_places(&self.record);
        let ended = (progress.active == 0).then(|| progress.finished(&self.record));
        drop(progress);
        if let Some(finished) = ended {
            events::end(&self.record, finished);
        }
        if stopped {
            self.stop_nested();
        }
        self.release(&leftover);
        result
    }

    /// Waits a moment for workers that have left but still hold the run, so that
    /// everything it keeps goes with the caller's reference. Does not wait for
    /// workers that are in a task.
    pub fn await_leavers(self: &Arc<Self>) {
        /// A worker that has left does nothing more that could take long; it
        /// may have been taken off its core.
        const PATIENCE: u32 = 10_000;
        for _ in 0..PATIENCE {
            if Arc::strong_count(self) == 1 || self.lock().active > 0 {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Tells other runs that a task has given back what it was given.
    pub(super) fn tell_of_room(&self) {
        let account = self.lock().admission.as_mut().and_then(Admission::tells);
        if let Some(account) = account {
            account.tell_waiting();
        }
    }

    /// Tells the runner, from a thread that is not attached, if there is something to tell.
    pub(super) fn tell_will_not_fit(&self) {
        let will_not_fit = self.lock().will_not_fit.take();
        if let Some((projected, limit)) = will_not_fit {
            self.runner
                .attach(|token| self.runner.will_not_fit(token, projected, limit));
        }
    }

    /// Lets results go, from a thread that is not attached.
    pub(super) fn release(&self, tasks: &[TaskId]) {
        if !tasks.is_empty() {
            self.runner.attach(|token| {
                for &task in tasks {
                    self.runner.release(token, task);
                }
            });
        }
    }

    /// Runs `task`, which failed, once more on the calling thread.
    pub(super) fn rerun(self: &Arc<Self>, task: TaskId) -> Result<Ran, R::Error> {
        let _working = self.working();
        catch_unwind(AssertUnwindSafe(|| {
            (self.runner).attach(|token| {
                let lane = events::mine(self.runner.thread(token));
                let mut visit = lane.visit(self.record.number);
                visit.start(task);
                let ran = self.runner.run(token, task, Later::new(self, task));
                let ended = visit.end(task, worker::kind_of(&ran));
                visit.record(ended, None);
                ran
            })
        }))
        .unwrap_or_else(|payload| Err(self.runner.panicked(task, payload)))
    }

    /// Marks the calling thread as working for this run.
    pub(super) fn working(self: &Arc<Self>) -> Working {
        let this: Weak<Self> = Arc::downgrade(self);
        Working::for_run(this as Weak<dyn Stop>)
    }

    fn stop_nested(&self) {
        let nested =
            std::mem::take(&mut *self.nested.lock().unwrap_or_else(PoisonError::into_inner));
        for run in nested.iter().filter_map(Weak::upgrade) {
            run.stop();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Wakes the caller for good.
    pub(super) fn announce_end(&self) {
        self.ended.store(true, Ordering::Release);
        // The lock makes sure that a caller about to sleep has seen the flag
        // or is already waiting to be woken.
        drop(self.lock());
        self.changed.notify_all();
        self.end_in_background();
    }

    /// Wakes the caller to look for something to do.
    pub(super) fn wake_caller(&self) {
        self.changed.notify_all();
    }
}

impl<R: Runner> Drop for Run<R> {
    fn drop(&mut self) {
        let progress = (self.progress.get_mut()).unwrap_or_else(PoisonError::into_inner);
        events::end(&self.record, progress.finished(&self.record));
    }
}

impl<R: Runner> Stop for Run<R> {
    fn record(&self) -> &Arc<RunRecord> {
        &self.record
    }

    fn stop(&self) {
        // A run of a parent process stands still here, perhaps with its locks held.
        if self.generation != fork::generation() {
            return;
        }
        let stopped = {
            let progress = &mut *self.lock();
            progress.scheduler.stop(&mut progress.leftover);
            progress.scheduler.phase() == Phase::Stopped
        };
        if stopped {
            self.announce_end();
            self.stop_nested();
        }
    }

    fn has_stopped(&self) -> bool {
        self.lock().scheduler.phase() == Phase::Stopped
    }

    fn adopt(&self, nested: Weak<dyn Stop>) {
        let mut all = self.nested.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == all.capacity() {
            all.retain(|run| run.strong_count() > 0);
        }
        all.push(nested.clone());
        drop(all);
        if self.has_ended()
            && let Some(run) = nested.upgrade()
        {
            run.stop();
        }
    }
}

/// Tells a run that waits for memory that there may be some.
struct Wakes<R: Runner>(Weak<Run<R>>);

impl<R: Runner> Waits for Wakes<R> {
    fn room(&self) {
        let Some(run) = self.0.upgrade() else {
            return;
        };
        if run.generation != fork::generation() {
            return;
        }
        {
            let progress = &mut *run.lock();
            let before = progress.emptiness();
            if let Some(admission) = &mut progress.admission {
                admission.look_again();
            }
            progress.tell_places_if_changed(&run.record, before);
        }
        worker::invite(&run);
        run.wake_caller();
    }
}

impl<R: Runner> Run<R> {
    /// Tells the run to start nothing more; its caller returns at once.
    pub fn cancel(&self) {
        Stop::stop(self);
    }
}
