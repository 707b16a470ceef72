//! A run that tells an observer, on the calling thread, of every task before
//! it starts and after it has finished.
//!
//! Workers may not take tasks from the scheduler then: the caller takes them,
//! tells the observer, and clears them for the workers through a [`Gate`];
//! finished ones come back the same way.

use super::room;
use super::run::{Ended, Job, Progress, Run};
use super::worker::{self, Role};
use super::{Caller, Ran, Runner};
use crate::graph::TaskId;
use crate::memory::MakeRoom;
use crate::scheduler::{Phase, TaskState};
use std::collections::VecDeque;
use std::sync::Arc;

/// Who is told what happens to the tasks of a run.
pub trait Observer {
    /// What a method may fail with; that ends the run.
    type Error;

    /// `task` is about to start.
    fn starting(&mut self, task: TaskId) -> Result<(), Self::Error>;

    /// `task` has a result, made by thread `thread`. Because of that the tasks
    /// `ready` may start; the results of `released` are let go after this call.
    fn finished(
        &mut self,
        task: TaskId,
        thread: u64,
        ready: &[TaskId],
        released: &[TaskId],
    ) -> Result<(), Self::Error>;
}

/// Where the caller of an observed run and its workers meet.
pub(super) struct Gate<E> {
    /// Started, and told to the observer; for workers to run.
    pub(super) cleared: VecDeque<TaskId>,
    /// Run; for the caller to settle.
    pub(super) outcomes: Vec<Outcome<E>>,
}

/// How a task went, and on which thread.
pub(super) struct Outcome<E> {
    pub(super) task: TaskId,
    pub(super) thread: u64,
    /// There was no room for it.
    pub(super) did_not_run: bool,
    pub(super) result: Result<(), E>,
}

impl<E> Gate<E> {
    pub(super) fn new() -> Self {
        Gate {
            cleared: VecDeque::new(),
            outcomes: Vec::new(),
        }
    }
}

impl<R: Runner> Run<R> {
    /// As [`Run::execute`], telling `observer` of every task.
    pub fn execute_observed(
        self: &Arc<Self>,
        observer: &mut impl Observer<Error = R::Error>,
        mut poll: impl FnMut() -> Result<(), R::Error>,
    ) -> Result<(), Ended<R::Error>> {
        self.lock().gate = Some(Gate::new());
        self.link_to_outer();
        let interrupted = self.observe(observer, &mut poll).err();
        self.conclude(interrupted)
    }

    fn observe(
        self: &Arc<Self>,
        observer: &mut impl Observer<Error = R::Error>,
        poll: &mut impl FnMut() -> Result<(), R::Error>,
    ) -> Result<(), R::Error> {
        while self.lock().scheduler.phase() == Phase::Running {
            while let Some(job) = self.start_one() {
                match job {
                    Job::Task(task) => {
                        observer.starting(task)?;
                        let progress = &mut *self.lock();
                        let before = progress.emptiness();
                        if let Some(gate) = &mut progress.gate {
                            gate.cleared.push_back(task);
                        }
                        progress.tell_places_if_changed(self.record(), before);
                    }
                    Job::MakeRoom(make) => self.make_room(observer, make)?,
                }
            }
            for outcome in self.await_outcomes(poll)? {
                self.settle_observed(observer, outcome)?;
            }
        }
        Ok(())
    }

    fn start_one(&self) -> Option<Job<R::Error>> {
        let progress = &mut *self.lock();
        if progress.scheduler.running() < self.options().limit {
            progress.start_next()
        } else {
            None
        }
    }

    /// Whether a task has become ready, or room for one, that nobody has looked at.
    fn may_start_one(&self, progress: &Progress<R::Error>) -> bool {
        let holds = (progress.admission.as_ref()).is_some_and(|admission| admission.holds());
        !holds
            && progress.scheduler.ready() > 0
            && progress.scheduler.running() < self.options().limit
    }

    fn make_room(
        self: &Arc<Self>,
        observer: &mut impl Observer<Error = R::Error>,
        make: MakeRoom<R::Error>,
    ) -> Result<(), R::Error> {
        let wanted_by = make.wanted_by;
        let moved = (self.runner()).attach(|token| room::move_out(self, token, make));
        let fails = {
            let progress = &mut *self.lock();
            if let Some(admission) = &mut progress.admission {
                admission.room_was_made();
            }
            wanted_by.filter(|&task| moved.is_err() && progress.scheduler.start_task(task))
        };
        match (moved, fails) {
            (Err(error), Some(task)) => self.settle_observed(
                observer,
                Outcome {
                    task,
                    thread: 0, // nobody ran it
                    did_not_run: true,
                    result: Err(error),
                },
            ),
            _ => Ok(()),
        }
    }

    /// Waits, or helps, until a task has been run or the run was stopped.
    fn await_outcomes(
        self: &Arc<Self>,
        poll: &mut impl FnMut() -> Result<(), R::Error>,
    ) -> Result<Vec<Outcome<R::Error>>, R::Error> {
        let helps = self.options().caller == Caller::Helps;
        self.lock().caller_comes = helps;
        worker::invite(self);
        loop {
            if helps {
                worker::work(self, Role::Caller);
            }
            let mut starved = false;
            {
                let mut progress = self.lock();
                if !progress.has_outcomes()
                    && progress.scheduler.phase() == Phase::Running
                    && !self.may_start_one(&progress)
                {
                    (progress, starved) = self.sleep(progress, None);
                }
                if let Some(gate) = &mut progress.gate
                    && !gate.outcomes.is_empty()
                {
                    return Ok(std::mem::take(&mut gate.outcomes));
                }
                // With nothing under way, what could not start may find room by now.
                if progress.scheduler.phase() != Phase::Running
                    || progress.scheduler.running() == 0
                    || self.may_start_one(&progress)
                {
                    return Ok(Vec::new());
                }
            }
            if starved {
                worker::work(self, Role::Caller);
            }
            poll()?;
        }
    }

    fn settle_observed(
        self: &Arc<Self>,
        observer: &mut impl Observer<Error = R::Error>,
        outcome: Outcome<R::Error>,
    ) -> Result<(), R::Error> {
        let task = outcome.task;
        if self.lock().scheduler.phase() != Phase::Running {
            return Ok(()); // one of the same batch has failed before
        }
        let result = match outcome.result {
            Err(_) if self.options().rerun_on_caller && !outcome.did_not_run => {
                match self.rerun(task) {
                    Ok(Ran::Promised) => return Ok(()),
                    Ok(Ran::Finished) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            result => result,
        };
        let mut released = Vec::new();
        let mut ready = Vec::new();
        let failed = {
            let mut progress = self.lock();
            if progress.scheduler.phase() != Phase::Running {
                drop(progress);
                return Ok(()); // stopped meanwhile; the outcome goes with it
            }
            let progress = &mut *progress;
            let unwanted = worker::settle(self, progress, task, result, &mut released);
            debug_assert!(unwanted.is_none(), "the first failure is told");
            let scheduler = &progress.scheduler;
            ready.extend(
                (scheduler.graph().dependents(task).iter())
                    .filter(|t| scheduler.state(**t) == TaskState::Ready),
            );
            scheduler.phase() == Phase::Stopped
        };
        let told = if failed {
            self.announce_end();
            Ok(())
        } else {
            observer.finished(task, outcome.thread, &ready, &released)
        };
        self.release(&released);
        self.tell_will_not_fit();
        self.tell_of_room();
        told
    }
}
