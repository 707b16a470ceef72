//! A task whose result comes from somewhere else.
//!
//! A runner that cannot give a result yet keeps a [`Promise`] and lets its
//! thread go: another run is making that result, or the task is to be tried
//! again after a while. Whoever keeps the promise settles it, from any thread.

use super::run::Run;
use super::runner::Runner;
use super::{timer, worker};
use crate::graph::TaskId;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What a runner may say of the task that it runs before it returns.
pub struct Later<'r, R: Runner> {
    run: &'r Arc<Run<R>>,
    task: TaskId,
}

impl<R: Runner> Clone for Later<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Runner> Copy for Later<'_, R> {}

impl<'r, R: Runner> Later<'r, R> {
    pub(super) fn new(run: &'r Arc<Run<R>>, task: TaskId) -> Self {
        Later { run, task }
    }

    /// A promise to settle the task. Who takes one returns
    /// [`Ran::Promised`](super::Ran::Promised).
    pub fn promise(&self) -> Promise<R> {
        Promise {
            run: Arc::downgrade(self.run),
            task: self.task,
        }
    }

    /// The result is there and counted: under a memory limit no room is kept for it any
    /// more.
    pub fn is_counted(&self) {
        if let Some(admission) = &mut self.run.lock().admission {
            admission.is_counted(self.task);
        }
    }

    /// Whether the caller runs a task once more that has failed on a worker.
    pub fn reruns_on_caller(&self) -> bool {
        self.run.options().rerun_on_caller
    }

    /// The run that the task belongs to.
    pub fn run(&self) -> &'r Arc<Run<R>> {
        self.run
    }
}

/// Stands for the end of one task. It must be settled, or the run waits for ever.
pub struct Promise<R: Runner> {
    run: Weak<Run<R>>,
    task: TaskId,
}

impl<R: Runner> Promise<R> {
    /// The task.
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// The run that waits, unless it is gone.
    pub fn run(&self) -> Option<Arc<Run<R>>> {
        self.run.upgrade()
    }

    /// Says how the task went. For `Ok` its result must be in the runner.
    pub fn settle(self, result: Result<(), R::Error>) {
        if let Some(run) = self.run.upgrade() {
            worker::settle_promised(&run, self.task, result);
        }
    }

    /// Makes the task ready to be run once more, after a while.
    pub fn again_after(self, pause: Duration) {
        let run = self.run.clone();
        let wanted = move || run.upgrade().is_some_and(|run| !run.has_ended());
        timer::after(pause, wanted, move || self.again());
    }

    /// Makes the task ready to be run once more.
    pub fn again(self) {
        if let Some(run) = self.run.upgrade() {
            {
                let progress = &mut *run.lock();
                progress.tell_places(run.record());
                if let Some(admission) = &mut progress.admission {
                    admission.ended(self.task);
                }
                progress.scheduler.again(self.task);
            }
            run.tell_of_room();
            worker::invite(&run);
            run.wake_caller();
        }
    }
}
