//! The loop in which a thread works for one run.
//!
//! A thread enters with a task in hand and stays, attached, as long as there
//! are ready tasks; it leaves rather than sleep, so that a worker is never held
//! by a run that has nothing for it. Whoever makes tasks ready invites others.

use super::current::{Stop, Working};
use super::run::{Progress, Run};
use super::{Options, Runner, pool};
use crate::graph::TaskId;
use crate::scheduler::Phase;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long a worker keeps the token before it lets other threads have a turn:
/// CPython's own switch interval.
const BREATH: Duration = Duration::from_millis(5);
/// How long a worker stays with one run while other runs wait for a worker.
const SLICE: Duration = Duration::from_millis(10);

/// Why a thread works for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It belongs to the pool.
    Invited,
    /// It waits for the result.
    Caller,
}

/// Why a thread left the loop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// No task is ready.
    Idle,
    /// The run has ended.
    Ended,
    /// Other runs wait for this worker.
    Yielded,
}

/// Asks as many workers to come as there is work for.
pub(super) fn invite<R: Runner>(run: &Arc<Run<R>>) {
    let wanted = {
        let progress = &mut *run.lock();
        let wanted = wanted(progress, run.options());
        progress.invited += wanted;
        wanted
    };
    send_invitations(run, wanted);
}

/// How many more threads have something to do. The caller, if it sleeps, is
/// the first of them and is woken here.
fn wanted<E>(progress: &mut Progress<E>, options: Options) -> usize {
    let busy = progress.active + progress.invited;
    progress
        .scheduler
        .ready()
        .min(options.limit.saturating_sub(busy))
}

fn send_invitations<R: Runner>(run: &Arc<Run<R>>, count: usize) {
    for _ in 0..count {
        // Weak, because an invitation may wait behind a task that never ends.
        let run_ref = Arc::downgrade(run);
        let job = move || {
            if let Some(run) = run_ref.upgrade() {
                work(&run, Role::Invited);
            }
        };
        if pool::spawn(run.options().limit, job).is_err() {
            // No thread to be had: the caller starves and then helps itself.
            run.lock().invited -= 1;
        }
    }
}

/// Works for `run` until it has nothing to do or has ended.
pub(super) fn work<R: Runner>(run: &Arc<Run<R>>, role: Role) {
    let Some(task) = enter(run, role) else {
        return;
    };
    let this: Weak<Run<R>> = Arc::downgrade(run);
    let working = Working::for_run(this as Weak<dyn Stop>);
    let left = run.runner().attach(|token| serve(run, role, token, task));
    drop(working);
    match left {
        Left::Idle => {}
        Left::Ended => run.announce_end(),
        Left::Yielded => invite(run),
    }
}

fn enter<R: Runner>(run: &Run<R>, role: Role) -> Option<TaskId> {
    let progress = &mut *run.lock();
    if role == Role::Invited {
        progress.invited = progress.invited.saturating_sub(1);
    }
    if progress.active >= run.options().limit {
        return None;
    }
    let task = progress.scheduler.start()?;
    progress.active += 1;
    if role == Role::Invited {
        progress.at_work.push(pool::epoch());
    }
    Some(task)
}

fn leave<E>(progress: &mut Progress<E>, role: Role) {
    progress.active -= 1;
    if role == Role::Invited {
        let epoch = pool::epoch();
        if let Some(i) = progress.at_work.iter().position(|e| *e == epoch) {
            progress.at_work.swap_remove(i);
        }
        if progress.abandoned {
            pool::regain(epoch);
        }
    }
}

fn serve<R: Runner>(run: &Arc<Run<R>>, role: Role, token: R::Token<'_>, first: TaskId) -> Left {
    let runner = run.runner();
    let options = run.options();
    let mut pace = Pace::new();
    let mut released = Vec::new();
    let mut task = first;
    loop {
        let result = catch_unwind(AssertUnwindSafe(|| runner.run(token, task)))
            .unwrap_or_else(|payload| Err(runner.panicked(task, payload)));
        let tick = pace.tick();
        let (next, invitations, wake) = {
            let progress = &mut *run.lock();
            settle(progress, options, task, result, &mut released);
            let next = if tick.slice_over && role == Role::Invited && pool::is_contended() {
                Err(Left::Yielded)
            } else {
                progress.scheduler.start().ok_or(Left::Idle)
            };
            if next.is_err() {
                leave(progress, role);
            }
            let next = match next {
                Err(_) if progress.scheduler.phase() != Phase::Running => Err(Left::Ended),
                next => next,
            };
            let mut invitations = wanted(progress, options);
            let wake = progress.caller_sleeps && (invitations > 0 || !progress.to_rerun.is_empty());
            if wake {
                // Counted as awake from here on, so that it is woken once.
                progress.caller_sleeps = false;
                invitations = invitations.saturating_sub(1);
            }
            if next == Err(Left::Yielded) {
                invitations = 0; // made below, behind those that wait
            }
            progress.invited += invitations;
            (next, invitations, wake || !progress.to_rerun.is_empty())
        };
        if wake {
            run.wake_caller();
        }
        if invitations > 0 {
            send_invitations(run, invitations);
        }
        for task in released.drain(..) {
            runner.release(token, task);
        }
        match next {
            Ok(next) => task = next,
            Err(left) => return left,
        }
        if tick.breathe {
            runner.breathe(token);
        }
    }
}

/// Tells the scheduler how `task` went.
fn settle<E>(
    progress: &mut Progress<E>,
    options: Options,
    task: TaskId,
    result: Result<(), E>,
    released: &mut Vec<TaskId>,
) {
    match result {
        Ok(()) => progress.scheduler.finish(task, released),
        Err(_) if options.rerun_on_caller && progress.scheduler.phase() == Phase::Running => {
            progress.to_rerun.push(task);
        }
        Err(error) => {
            // Only the first failure is told; what fails while the run is
            // being stopped is its consequence or a coincidence.
            if progress.scheduler.phase() == Phase::Running {
                progress.failure = Some((task, error));
            }
            progress.scheduler.fail(task, released);
        }
    }
}

/// Runs failed tasks once more, on the calling thread; what comes of it counts.
pub(super) fn rerun_failed<R: Runner>(run: &Arc<Run<R>>) {
    let tasks = std::mem::take(&mut run.lock().to_rerun);
    if tasks.is_empty() {
        return;
    }
    let runner = run.runner();
    let once = Options {
        rerun_on_caller: false,
        ..run.options()
    };
    let this: Weak<Run<R>> = Arc::downgrade(run);
    let working = Working::for_run(this as Weak<dyn Stop>);
    runner.attach(|token| {
        for task in tasks {
            let result = runner.run(token, task);
            let mut released = Vec::new();
            settle(&mut run.lock(), once, task, result, &mut released);
            for task in released {
                runner.release(token, task);
            }
        }
    });
    drop(working);
    if run.lock().scheduler.phase() != Phase::Running {
        run.announce_end();
    } else {
        invite(run);
    }
}

/// Tells when time has passed without asking the clock after every task.
struct Pace {
    /// Tasks until the clock is asked again.
    countdown: u32,
    /// Tasks between two looks at the clock.
    stride: u32,
    breath: Instant,
    slice: Instant,
}

#[derive(Clone, Copy)]
struct Tick {
    breathe: bool,
    slice_over: bool,
}

impl Pace {
    const MAX_STRIDE: u32 = 64;

    fn new() -> Self {
        let now = Instant::now();
        Pace {
            countdown: 1,
            stride: 1,
            breath: now,
            slice: now,
        }
    }

    /// To be called after each task.
    #[inline]
    fn tick(&mut self) -> Tick {
        self.countdown -= 1;
        if self.countdown > 0 {
            return Tick {
                breathe: false,
                slice_over: false,
            };
        }
        let now = Instant::now();
        let since = now - self.breath;
        // Look less often while many tasks fit into a breath, and at once
        // more often when a few take longer than that.
        self.stride = if since < BREATH / 8 {
            (self.stride * 2).min(Self::MAX_STRIDE)
        } else if since > BREATH {
            1
        } else {
            self.stride
        };
        self.countdown = self.stride;
        let breathe = since >= BREATH;
        if breathe {
            self.breath = now;
        }
        Tick {
            breathe,
            slice_over: now - self.slice >= SLICE,
        }
    }
}
