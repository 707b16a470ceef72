//! One computation, from its first task to its end.

use super::current::{self, Stop};
use super::pool;
use super::runner::Runner;
use super::worker::{self, Role};
use crate::graph::TaskId;
use crate::scheduler::{Phase, Scheduler};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How often a waiting caller looks for signals.
const POLL: Duration = Duration::from_millis(50);
/// How long a caller that should only wait leaves its run without a worker
/// before it runs tasks itself: all workers may wait for this very caller.
const STARVED: Duration = Duration::from_millis(20);
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
    runner: R,
    options: Options,
    progress: Mutex<Progress<R::Error>>,
    /// The caller waits here.
    changed: Condvar,
    /// Nothing more will happen that the caller waits for.
    ended: AtomicBool,
    nested: Mutex<Vec<Weak<dyn Stop>>>,
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
}

impl<R: Runner> Run<R> {
    /// A run that has not begun.
    pub fn new(scheduler: Scheduler, runner: R, options: Options) -> Arc<Self> {
        Arc::new(Run {
            runner,
            options,
            progress: Mutex::new(Progress {
                scheduler,
                active: 0,
                invited: 0,
                caller_sleeps: false,
                failure: None,
                to_rerun: Vec::new(),
                leftover: Vec::new(),
                at_work: Vec::new(),
                abandoned: false,
            }),
            changed: Condvar::new(),
            ended: AtomicBool::new(false),
            nested: Mutex::new(Vec::new()),
        })
    }

    /// The runner, and with it the results.
    pub fn runner(&self) -> &R {
        &self.runner
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
    /// `poll` is called from time to time on the calling thread; an error from
    /// it stops the run. The calling thread must not be attached.
    pub fn execute(
        self: &Arc<Self>,
        mut poll: impl FnMut() -> Result<(), R::Error>,
    ) -> Result<(), Ended<R::Error>> {
        if self.lock().scheduler.phase() == Phase::Done {
            return Ok(());
        }
        if let Some(outer) = current::current().and_then(|outer| outer.upgrade()) {
            let this: Arc<dyn Stop> = self.clone();
            outer.adopt(Arc::downgrade(&this));
        }
        worker::invite(self);
        let interrupted = match self.options.caller {
            Caller::Helps => {
                self.help_until_ended();
                None
            }
            Caller::Waits => self.wait_until_ended(&mut poll).err(),
        };
        self.conclude(interrupted)
    }

    fn help_until_ended(self: &Arc<Self>) {
        loop {
            worker::work(self, Role::Caller);
            let mut progress = self.lock();
            while !self.has_ended() && !self.caller_has_work(&progress) {
                progress.caller_sleeps = true;
                progress = (self.changed.wait(progress)).unwrap_or_else(PoisonError::into_inner);
                progress.caller_sleeps = false;
            }
            drop(progress);
            if self.has_ended() {
                return;
            }
            worker::rerun_failed(self);
        }
    }

    fn caller_has_work(&self, progress: &Progress<R::Error>) -> bool {
        !progress.to_rerun.is_empty()
            || (progress.scheduler.ready() > 0 && progress.active < self.options.limit)
    }

    fn wait_until_ended(
        self: &Arc<Self>,
        poll: &mut impl FnMut() -> Result<(), R::Error>,
    ) -> Result<(), R::Error> {
        for _ in 0..SPINS {
            if self.has_ended() {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        let mut pause = STARVED;
        loop {
            let mut progress = self.lock();
            let mut starved = false;
            if !self.has_ended() && progress.to_rerun.is_empty() {
                let (guard, timeout) = (self.changed.wait_timeout(progress, pause))
                    .unwrap_or_else(PoisonError::into_inner);
                progress = guard;
                starved =
                    timeout.timed_out() && progress.active == 0 && progress.scheduler.ready() > 0;
            }
            if self.has_ended() {
                return Ok(());
            }
            drop(progress);
            worker::rerun_failed(self);
            if starved {
                worker::work(self, Role::Caller);
            }
            pause = POLL;
            poll()?;
        }
    }

    /// Settles how the run ended, and lets go of what it leaves behind.
    fn conclude(&self, interrupted: Option<R::Error>) -> Result<(), Ended<R::Error>> {
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
        drop(progress);
        if stopped {
            self.stop_nested();
        }
        if !leftover.is_empty() {
            self.runner.attach(|token| {
                for task in leftover {
                    self.runner.release(token, task);
                }
            });
        }
        result
    }

    fn stop_nested(&self) {
        let nested =
            std::mem::take(&mut *self.nested.lock().unwrap_or_else(PoisonError::into_inner));
        for run in nested.iter().filter_map(Weak::upgrade) {
            run.stop();
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Wakes the caller for good.
    pub(super) fn announce_end(&self) {
        self.ended.store(true, Ordering::Release);
        // The lock makes sure that a caller about to sleep has seen the flag
        // or is already waiting to be woken.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Wakes the caller to look for something to do.
    pub(super) fn wake_caller(&self) {
        self.changed.notify_all();
    }
}

impl<R: Runner> Stop for Run<R> {
    fn stop(&self) {
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

impl<R: Runner> Run<R> {
    /// Tells the run to start nothing more; its caller returns at once.
    pub fn cancel(&self) {
        Stop::stop(self);
    }
}
