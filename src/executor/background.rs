//! A run that goes on without a caller, and those who join it later.

use super::pool::{self, Relief};
use super::run::{Caller, Ended, Run, STARVED};
use super::runner::Runner;
use super::{timer, worker};
use crate::scheduler::Phase;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// A run that was made by a task on a worker may be waited for there in ways that we
/// do not see. If nobody comes for it, that worker is taken for lost.
fn relieve_later<R: Runner>(run: &Arc<Run<R>>, relief: Arc<Relief>, pause: Duration) {
    const LONGEST: Duration = Duration::from_secs(1);
    let run = Arc::downgrade(run);
    let weak = run.clone();
    let wanted = move || weak.upgrade().is_some_and(|run| !run.has_ended());
    timer::after(pause, wanted, move || {
        let Some(run) = run.upgrade() else {
            return;
        };
        let starves = {
            let progress = run.lock();
            progress.active == 0 && progress.startable() > 0
        };
        if run.has_ended() || (starves && relief.give()) {
            return;
        }
        if relief.may_be_given() {
            relieve_later(&run, relief, (2 * pause).min(LONGEST));
        }
    });
}

/// What is called when a run in the background has ended.
type OnEnd<R> = Box<dyn FnOnce(&Arc<Run<R>>, Result<(), Ended<<R as Runner>::Error>>) + Send>;

/// Keeps a run alive that no caller holds.
pub(super) struct Background<R: Runner> {
    run: Arc<Run<R>>,
    on_end: OnEnd<R>,
}

impl<R: Runner> Run<R> {
    /// Lets the run go on by itself. `on_end` is called once, when it has ended,
    /// on the thread that ended it, which may be this one.
    ///
    /// The run should have been made with [`Caller::Waits`].
    pub fn detach(
        self: &Arc<Self>,
        on_end: impl FnOnce(&Arc<Self>, Result<(), Ended<R::Error>>) + Send + 'static,
    ) {
        *self.background() = Some(Background {
            run: self.clone(),
            on_end: Box::new(on_end),
        });
        if self.lock().scheduler.phase() == Phase::Running {
            worker::invite(self);
            if let Some(relief) = pool::relief() {
                relieve_later(self, relief, STARVED);
            }
        } else {
            self.announce_end();
        }
    }

    /// Waits until a run in the background has ended or `deadline` has passed;
    /// says whether it has ended.
    ///
    /// `caller` is what the calling thread may do meanwhile: with
    /// [`Caller::Helps`] it runs tasks of this run, unless another thread does
    /// so already or there is a deadline, which a task could miss. `poll` is as
    /// in [`Run::execute`], but an error from it leaves the run as it is. The
    /// calling thread must not be attached.
    pub fn join(
        self: &Arc<Self>,
        caller: Caller,
        deadline: Option<Instant>,
        mut poll: impl FnMut() -> Result<(), R::Error>,
    ) -> Result<bool, R::Error> {
        let helps = caller == Caller::Helps && deadline.is_none() && {
            let progress = &mut *self.lock();
            let free = !progress.has_helper && progress.scheduler.phase() == Phase::Running;
            progress.has_helper |= free;
            progress.caller_comes |= free;
            free
        };
        if !helps {
            return self.wait_until_ended(deadline, &mut poll);
        }
        let outcome = self.help_until_ended(&mut poll);
        {
            let progress = &mut *self.lock();
            progress.has_helper = false;
            progress.caller_comes = false;
        }
        if !self.has_ended() {
            worker::invite(self); // the place that the helper had
        }
        outcome.map(|()| true)
    }

    fn background(&self) -> std::sync::MutexGuard<'_, Option<Background<R>>> {
        self.background
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the one who waits for a run in the background, if this is one.
    pub(super) fn end_in_background(&self) {
        let Some(background) = self.background().take() else {
            return;
        };
        one_after_the_other(Box::new(move || {
            let Background { run, on_end } = background;
            on_end(&run, run.conclude(None));
        }));
    }
}

type Call = Box<dyn FnOnce()>;

/// Ends that follow from each other are told one inside the other up to here: who is
/// told may wait for the next one, and so has to find it told.
const DEEPEST: usize = 16;

#[derive(Default)]
struct Ends {
    depth: usize,
    waiting: VecDeque<Call>,
}

thread_local! {
    static ENDS: RefCell<Ends> = RefCell::default();
}

/// Makes `call`, or leaves it to a call of this below on this thread: a run that
/// ends may end another one that waits for it, and so on for as many as there are,
/// which must not go as deep.
fn one_after_the_other(call: Call) {
    let call = ENDS.with_borrow_mut(|ends| {
        if ends.depth < DEEPEST {
            ends.depth += 1;
            return Some(call);
        }
        ends.waiting.push_back(call);
        None
    });
    if let Some(call) = call {
        call();
        tell_ends();
        ENDS.with_borrow_mut(|ends| ends.depth -= 1);
    }
}

/// Tells the ends that wait on this thread; for a thread that is about to wait itself.
pub(super) fn tell_ends() {
    while let Some(call) = ENDS.with_borrow_mut(|ends| ends.waiting.pop_front()) {
        call();
    }
}
