//! What threads do for a run under a memory limit, beside running its tasks.

use super::Runner;
use super::run::{Progress, Run};
use super::worker::{Came, Done, invite};
use crate::graph::TaskId;
use crate::memory::{MakeRoom, Spilled};
use crate::scheduler::Phase;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Moves results to disk.
pub(super) fn move_out<R: Runner>(
    run: &Run<R>,
    token: R::Token<'_>,
    make: MakeRoom<R::Error>,
) -> Result<(), R::Error> {
    if make.trim {
        run.runner().trim(token);
    }
    let mut result = Ok(());
    for (id, holding) in make.leaving {
        let mut outcome = Spilled::NotNow;
        if result.is_ok() {
            let spilled =
                catch_unwind(AssertUnwindSafe(|| holding.spill())).unwrap_or_else(|payload| {
                    match make.wanted_by {
                        Some(task) => Err(run.runner().panicked(task, payload)),
                        None => Ok(Spilled::Stays),
                    }
                });
            match spilled {
                Ok(spilled) => outcome = spilled,
                // Where nobody needs the room it may stay for now, but be asked no more.
                Err(_) if make.wanted_by.is_none() => outcome = Spilled::Stays,
                Err(error) => result = Err(error),
            }
        }
        run.settle_spilled(id, outcome);
    }
    result
}

/// The job of a worker; if there is no room to be had, the task that wanted it fails.
pub(super) fn make_room<R: Runner>(
    run: &Run<R>,
    token: R::Token<'_>,
    thread: u64,
    make: MakeRoom<R::Error>,
) -> Came<R::Error> {
    let wanted_by = make.wanted_by;
    let (Err(error), Some(task)) = (move_out(run, token, make), wanted_by) else {
        return Came::Room(None);
    };
    // Another thread may have started the task meanwhile; then it had room.
    let fails = run.lock().scheduler.start_task(task);
    Came::Room(fails.then_some(Done {
        task,
        thread,
        did_not_run: true,
        result: Err(error),
    }))
}

/// Whether `task`, which has run out of memory, is going to be run again.
pub(super) fn runs_again<R: Runner>(run: &Run<R>, task: TaskId) -> bool {
    let progress = run.lock();
    progress.gate.is_none()
        && progress.scheduler.phase() == Phase::Running
        && (progress.admission.as_ref()).is_some_and(|admission| admission.may_run_alone(task))
}

/// Tells the admission, if there is one, what a thread has done.
pub(super) fn tell_admission<E>(progress: &mut Progress<E>, came: Came<E>) -> Came<E> {
    let runs = progress.gate.is_none() && progress.scheduler.phase() == Phase::Running;
    let Some(admission) = &mut progress.admission else {
        return came;
    };
    match came {
        Came::Promised(task) => admission.promised(task),
        Came::Room(_) => admission.room_was_made(),
        Came::OutOfMemory(Done {
            task,
            result: Err(error),
            ..
        }) if runs && admission.runs_alone(task) => {
            admission.ended(task);
            progress.scheduler.again(task);
            return Came::Again(error);
        }
        Came::Done(_) | Came::OutOfMemory(_) | Came::Again(_) => {}
    }
    came
}

/// Says whether the calling thread is about to make room, by releasing results; what may
/// start is not to be decided before it has.
pub(super) fn will_release<E>(progress: &mut Progress<E>, released: &[TaskId]) -> bool {
    match &mut progress.admission {
        Some(admission) if !released.is_empty() => {
            admission.releases();
            true
        }
        _ => false,
    }
}

/// The calling thread has released what it was to.
pub(super) fn has_released<R: Runner>(run: &Arc<Run<R>>) {
    if let Some(admission) = &mut run.lock().admission {
        admission.has_released();
    }
    invite(run);
}
