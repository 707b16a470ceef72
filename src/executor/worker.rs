//! The loop in which a thread works for one run.
//!
//! A thread enters with a task in hand and stays, attached, as long as there
//! are ready tasks; it leaves rather than sleep, so that a worker is never held
//! by a run that has nothing for it. Whoever makes tasks ready invites others.

use super::pace::Pace;
use super::room::{has_released, make_room, runs_again, tell_admission, will_release};
use super::run::{Job, Progress, Run};
use super::{Later, Options, Ran, Runner, in_task, pool};
use crate::events::{self, Kind, Places, Stamp, Visit};
use crate::graph::TaskId;
use crate::memory::{Admission, Asked};
use crate::scheduler::Phase;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

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

/// Threads in the loop of any run.
static WORKING: AtomicIsize = AtomicIsize::new(0);

/// Whether a thread is working for some run: at exit, for one that was abandoned.
pub fn anybody_works() -> bool {
    WORKING.load(Ordering::SeqCst) > 0
}

/// A forked child has none of the threads that worked in its parent.
pub(super) fn forget_workers() {
    WORKING.store(0, Ordering::SeqCst);
}

/// Asks as many workers to come as there is work for.
pub(super) fn invite<R: Runner>(run: &Arc<Run<R>>) {
    let (woken, wanted) = {
        let progress = &mut *run.lock();
        let woken = call_caller(progress, run.options());
        let wanted = wanted(progress, run.options());
        progress.invited += wanted;
        (woken, wanted)
    };
    if woken {
        run.wake_caller();
    }
    send_invitations(run, wanted);
}

/// Gives a caller that helps and sleeps the first place there is to fill: it
/// needs no worker. Says whether it must be woken.
fn call_caller<E>(progress: &mut Progress<E>, options: Options) -> bool {
    let called = progress.caller_sleeps && wanted(progress, options) > 0;
    if called {
        progress.caller_sleeps = false;
        progress.caller_comes = true;
    }
    called
}

/// How many more threads have something to do.
fn wanted<E>(progress: &Progress<E>, options: Options) -> usize {
    // A caller that helps and is awake takes a place of its own.
    let caller = usize::from(progress.caller_comes);
    let busy = progress.active + progress.invited + caller;
    (progress.startable().saturating_sub(caller)).min(options.limit.saturating_sub(busy))
}

fn send_invitations<R: Runner>(run: &Arc<Run<R>>, count: usize) {
    if count == 0 {
        return;
    }
    let threads = threads_for(run);
    for _ in 0..count {
        // Weak, because an invitation may wait behind a task that never ends.
        let run_ref = Arc::downgrade(run);
        let job = move || {
            if let Some(run) = run_ref.upgrade() {
                work(&run, Role::Invited);
            }
        };
        if pool::spawn(threads, job).is_err() {
            // No thread to be had: the caller starves and then helps itself.
            run.lock().invited -= 1;
        }
    }
}

/// How many threads the pool should have for `run`: its limit, unless that is
/// far more than there is work for.
fn threads_for<R: Runner>(run: &Run<R>) -> usize {
    let limit = run.options().limit;
    if limit <= pool::usual_size() {
        return limit;
    }
    let progress = run.lock();
    let busy = progress.active + progress.invited;
    limit.min(busy.next_power_of_two().max(pool::usual_size()))
}

/// Works for `run` until it has nothing to do or has ended.
pub(super) fn work<R: Runner>(run: &Arc<Run<R>>, role: Role) {
    let Some(job) = enter(run, role) else {
        return;
    };
    let working = run.working();
    WORKING.fetch_add(1, Ordering::SeqCst);
    let comes = Stamp::now();
    let left = (run.runner()).attach(|token| {
        let lane = events::mine(run.runner().thread(token));
        let mut visit = lane.visit(run.record().number);
        let waited = visit.note(Kind::Attach, comes);
        Places::add(&run.record().places.attaching, waited);
        let left = serve(run, role, token, job, &mut visit);
        run.record().ended_a_task(visit.last());
        left
    });
    WORKING.fetch_sub(1, Ordering::SeqCst);
    drop(working);
    if !in_task() {
        pool::end_relief();
    }
    match left {
        Left::Idle => {}
        Left::Ended => run.announce_end(),
        Left::Yielded => invite(run),
    }
}

fn enter<R: Runner>(run: &Run<R>, role: Role) -> Option<Job<R::Error>> {
    let progress = &mut *run.lock();
    match role {
        Role::Invited => progress.invited = progress.invited.saturating_sub(1),
        Role::Caller => progress.caller_comes = false,
    }
    if progress.active >= run.options().limit {
        return None;
    }
    progress.tell_places(run.record());
    let job = progress.start()?;
    progress.active += 1;
    progress.starves_since = None;
    if role == Role::Invited {
        progress.at_work.push(pool::epoch());
    }
    Some(job)
}

fn serve<R: Runner>(
    run: &Arc<Run<R>>,
    role: Role,
    token: R::Token<'_>,
    first: Job<R::Error>,
    visit: &mut Visit<'_>,
) -> Left {
    let runner = run.runner();
    let thread = runner.thread(token);
    let mut pace = Pace::new();
    let mut released = Vec::new();
    let mut job = first;
    loop {
        let came = match job {
            Job::Task(task) => run_task(run, token, thread, task, visit),
            Job::MakeRoom(make) => {
                let begins = Stamp::now();
                let came = make_room(run, token, thread, make);
                let took = visit.note(Kind::MakeRoom, begins);
                Places::add(&run.record().places.making_room, took);
                came
            }
        };
        let tick = pace.tick();
        let yields = tick.slice_over && role == Role::Invited && pool::is_contended();
        let step = step(run, role, came, yields, &mut released);
        if step.wake_caller {
            run.wake_caller();
        }
        send_invitations(run, step.invitations);
        if !released.is_empty() {
            let begins = visit.is_detailed().then(Stamp::now);
            for task in released.drain(..) {
                runner.release(token, task);
            }
            if let Some(begins) = begins {
                let took = Stamp::now().ticks_since(begins);
                Places::add(&run.record().places.releasing, took);
            }
        }
        if step.makes_room {
            has_released(run);
        }
        if step.has_freed {
            run.tell_of_room();
        }
        drop(step.unwanted);
        if let Some((projected, limit)) = step.will_not_fit {
            runner.will_not_fit(token, projected, limit);
        }
        // Only now that everything is released may the run be seen to end.
        match step.next {
            Next::Job(next) => job = next,
            Next::Leave(why) => match leave(run, role, why) {
                Ok(next) => job = next,
                Err(left) => return left,
            },
        }
        if tick.breathe {
            let begins = Stamp::now();
            runner.breathe(token);
            let waited = visit.note(Kind::Attach, begins);
            Places::add(&run.record().places.attaching, waited);
        }
    }
}

fn run_task<R: Runner>(
    run: &Arc<Run<R>>,
    token: R::Token<'_>,
    thread: u64,
    task: TaskId,
    visit: &mut Visit<'_>,
) -> Came<R::Error> {
    let runner = run.runner();
    let later = Later::new(run, task);
    visit.start(task);
    let ran = catch_unwind(AssertUnwindSafe(|| runner.run(token, task, later)))
        .unwrap_or_else(|payload| Err(runner.panicked(task, payload)));
    let is_out_of_memory =
        matches!(&ran, Err(error) if runner.is_out_of_memory(token, task, error));
    let kind = match is_out_of_memory && runs_again(run, task) {
        true => Kind::Again,
        false => kind_of(&ran),
    };
    let ended = visit.end(task, kind);
    let bytes = if visit.is_detailed() && matches!(ran, Ok(Ran::Finished)) {
        runner.output_bytes(token, task)
    } else {
        None
    };
    visit.record(ended, bytes);
    let result = match ran {
        Ok(Ran::Promised) => return Came::Promised(task),
        Ok(Ran::Finished) => Ok(()),
        Err(error) if is_out_of_memory => {
            return Came::OutOfMemory(Done {
                task,
                thread,
                did_not_run: false,
                result: Err(error),
            });
        }
        Err(error) => Err(error),
    };
    Came::Done(Done {
        task,
        thread,
        did_not_run: false,
        result,
    })
}

/// How it went with a task, for those who watch.
pub(super) fn kind_of<E>(ran: &Result<Ran, E>) -> Kind {
    match ran {
        Ok(Ran::Finished) => Kind::Finished,
        Ok(Ran::Promised) => Kind::Promised,
        Err(_) => Kind::Failed,
    }
}

/// What came of the last job of a thread.
pub(super) enum Came<E> {
    Done(Done<E>),
    Promised(TaskId),
    /// It failed, and may do better with more memory.
    OutOfMemory(Done<E>),
    /// It failed so, and will be run again.
    Again(E),
    /// There is room, or it failed the task that wanted it.
    Room(Option<Done<E>>),
}

/// A task that has run.
pub(super) type Done<E> = super::observed::Outcome<E>;

/// What follows from a task that has run.
struct Step<E> {
    next: Next<E>,
    invitations: usize,
    wake_caller: bool,
    /// There is room when the results have been released: what may start is seen then.
    makes_room: bool,
    /// Other runs may wait for what the task has given back.
    has_freed: bool,
    /// What the asked-for results are going to take, and the limit.
    will_not_fit: Option<(u64, u64)>,
    /// An error that nobody is told, to be dropped without our lock.
    unwanted: Option<E>,
}

enum Next<E> {
    Job(Job<E>),
    Leave(Why),
}

/// Why a thread wants to leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Nothing was ready.
    Idle,
    /// Other runs wait for this worker.
    Yields,
    /// The caller runs the failed task again, in this thread's place.
    HandedOver,
    /// This is the caller, and failed tasks wait for it.
    Reruns,
}

/// Under the lock: settles the task that has run, unless it is promised for
/// later, and takes the next one.
fn step<R: Runner>(
    run: &Run<R>,
    role: Role,
    came: Came<R::Error>,
    yields: bool,
    released: &mut Vec<TaskId>,
) -> Step<R::Error> {
    let options = run.options();
    let progress = &mut *run.lock();
    let mut wake_caller = false;
    let mut unwanted = None;
    let mut handed_over = false;
    let emptiness = progress.emptiness();
    let came = tell_admission(progress, came);
    match came {
        Came::Done(done) | Came::OutOfMemory(done) => {
            let came_from_pool = role == Role::Invited;
            match take(run, progress, done, released) {
                Taken::ForObserver => wake_caller = came_from_pool,
                Taken::ForRerun => {
                    handed_over = true;
                    wake_caller = true;
                }
                Taken::Settled(error) => unwanted = error,
            }
        }
        // The task itself has not run: running it once more would not help.
        Came::Room(Some(done)) => {
            unwanted = settle(run, progress, done.task, done.result, released);
        }
        Came::Again(error) => unwanted = Some(error),
        Came::Promised(_) | Came::Room(None) => {}
    }
    let makes_room = will_release(progress, released);
    let next = if handed_over {
        Next::Leave(Why::HandedOver)
    } else if role == Role::Caller && !progress.to_rerun.is_empty() {
        Next::Leave(Why::Reruns)
    } else if yields {
        Next::Leave(Why::Yields)
    } else if makes_room {
        Next::Leave(Why::Idle) // looks again
    } else {
        (progress.start()).map_or(Next::Leave(Why::Idle), Next::Job)
    };
    progress.tell_places_if_changed(run.record(), emptiness);
    let mut invitations = 0;
    if !makes_room {
        wake_caller |= call_caller(progress, options);
        invitations = wanted(progress, options);
        progress.invited += invitations;
    }
    Step {
        next,
        invitations,
        wake_caller,
        makes_room,
        has_freed: (progress.admission.as_ref()).is_some_and(Admission::has_freed),
        will_not_fit: progress.will_not_fit.take(),
        unwanted,
    }
}

/// Who has to do with a task that has run.
enum Taken<E> {
    /// The caller of an observed run settles it.
    ForObserver,
    /// It failed, and the caller runs it again.
    ForRerun,
    /// It is settled; its error is nobody's.
    Settled(Option<E>),
}

fn take<R: Runner>(
    run: &Run<R>,
    progress: &mut Progress<R::Error>,
    done: Done<R::Error>,
    released: &mut Vec<TaskId>,
) -> Taken<R::Error> {
    let running = progress.scheduler.phase() == Phase::Running;
    match (&mut progress.gate, done.result) {
        (Some(gate), result) if running => {
            gate.outcomes.push(Done { result, ..done });
            Taken::ForObserver
        }
        (None, Err(_)) if running && run.options().rerun_on_caller => {
            progress.to_rerun.push(done.task);
            Taken::ForRerun
        }
        (_, result) => Taken::Settled(settle(run, progress, done.task, result, released)),
    }
}

/// Settles a task that was promised; from any thread.
pub(super) fn settle_promised<R: Runner>(
    run: &Arc<Run<R>>,
    task: TaskId,
    result: Result<(), R::Error>,
) {
    let mut released = Vec::new();
    run.record().ended_a_task(Stamp::now());
    let taken = {
        let progress = &mut *run.lock();
        let done = Done {
            task,
            thread: 0, // no worker of ours
            did_not_run: false,
            result,
        };
        let emptiness = progress.emptiness();
        let taken = take(run, progress, done, &mut released);
        progress.tell_places_if_changed(run.record(), emptiness);
        if matches!(taken, Taken::ForRerun) {
            progress.tell_places(run.record());
            progress.active += 1; // the caller's place, while it runs the task
        }
        taken
    };
    match taken {
        Taken::ForObserver | Taken::ForRerun => run.wake_caller(),
        Taken::Settled(unwanted) => {
            drop(unwanted);
            run.release(&released);
            run.tell_will_not_fit();
            run.tell_of_room();
            go_on(run);
        }
    }
}

/// Invites workers to what has become ready, or tells that the run has ended.
fn go_on<R: Runner>(run: &Arc<Run<R>>) {
    let (phase, active) = {
        let progress = run.lock();
        (progress.scheduler.phase(), progress.active)
    };
    match phase {
        Phase::Running => invite(run),
        Phase::Done if active > 0 => {} // the last one to leave says so
        Phase::Done | Phase::Stopped => run.announce_end(),
    }
}

/// Leaves the loop, unless a task has become ready meanwhile.
fn leave<R: Runner>(run: &Run<R>, role: Role, why: Why) -> Result<Job<R::Error>, Left> {
    let progress = &mut *run.lock();
    if why == Why::Idle
        && let Some(job) = progress.start()
    {
        return Ok(job);
    }
    progress.tell_places(run.record());
    // A place that is handed over stays taken: the limit holds.
    if why != Why::HandedOver {
        progress.active -= 1;
    }
    if role == Role::Invited {
        let epoch = pool::epoch();
        if let Some(i) = progress.at_work.iter().position(|e| *e == epoch) {
            progress.at_work.swap_remove(i);
        }
        if progress.abandoned {
            pool::regain(epoch);
        }
    }
    match progress.scheduler.phase() {
        Phase::Running if why == Why::Yields => Err(Left::Yielded),
        Phase::Running => Err(Left::Idle),
        // The last one to leave has seen all others release what they had to.
        Phase::Done if progress.active > 0 => Err(Left::Idle),
        Phase::Done | Phase::Stopped => Err(Left::Ended),
    }
}

/// Tells the scheduler how `task` went. Returns an error that nobody will be
/// told: only the first failure of a run counts, what fails while the run is
/// being stopped is its consequence or a coincidence.
pub(super) fn settle<R: Runner>(
    run: &Run<R>,
    progress: &mut Progress<R::Error>,
    task: TaskId,
    result: Result<(), R::Error>,
    released: &mut Vec<TaskId>,
) -> Option<R::Error> {
    let first = progress.scheduler.phase() == Phase::Running;
    let error = match result {
        Ok(()) => {
            let before = released.len();
            progress.scheduler.finish(task, released);
            let admission = progress.admission.as_mut()?;
            let (entry, released) = (run.runner().entry(task), &released[before..]);
            let limit = admission.account().limit();
            match admission.finished(task, entry, released, &progress.scheduler) {
                Asked::Fits => return None,
                Asked::WillNotFit { projected } => {
                    progress.will_not_fit = Some((projected, limit));
                    return None;
                }
                Asked::DoesNotFit {
                    bytes,
                    finished,
                    count,
                } => run.runner().does_not_fit(bytes, finished, count, limit),
            }
        }
        Err(error) => {
            if let Some(admission) = &mut progress.admission {
                admission.ended(task);
            }
            progress.scheduler.fail(task, released);
            error
        }
    };
    progress.scheduler.stop(released);
    if first {
        progress.failure = Some((task, error));
        None
    } else {
        Some(error)
    }
}

/// Runs failed tasks once more, on the calling thread; what comes of it counts.
pub(super) fn rerun_failed<R: Runner>(run: &Arc<Run<R>>) {
    let tasks = std::mem::take(&mut run.lock().to_rerun);
    if tasks.is_empty() {
        return;
    }
    for task in tasks {
        // The one before may have failed again.
        if run.lock().scheduler.phase() != Phase::Running {
            break;
        }
        let result = run.rerun(task);
        let mut released = Vec::new();
        let unwanted = {
            let progress = &mut *run.lock();
            progress.tell_places(run.record());
            progress.active -= 1;
            match result {
                Ok(Ran::Promised) => None,
                Ok(Ran::Finished) => settle(run, progress, task, Ok(()), &mut released),
                Err(error) => settle(run, progress, task, Err(error), &mut released),
            }
        };
        drop(unwanted);
        run.release(&released);
        run.tell_will_not_fit();
        run.tell_of_room();
    }
    go_on(run);
}
