//! A run that goes on without a caller, and those who join it later.

use super::run::{Caller, Ended, Run};
use super::runner::Runner;
use super::worker;
use crate::scheduler::Phase;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

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

/// Runs `call`, or leaves it to the call below on this thread that is doing so:
/// a run that ends may end another one that waits for it, and so on for as
/// many as there are, which must not go as deep.
fn one_after_the_other(call: Call) {
    thread_local! {
        static WAITING: RefCell<Option<VecDeque<Call>>> = const { RefCell::new(None) };
    }
    let mut next = WAITING.with_borrow_mut(|waiting| match waiting {
        Some(waiting) => {
            waiting.push_back(call);
            None
        }
        None => {
            *waiting = Some(VecDeque::new());
            Some(call)
        }
    });
    while let Some(call) = next {
        call();
        next = WAITING.with_borrow_mut(|waiting| {
            let next = waiting.as_mut().and_then(VecDeque::pop_front);
            if next.is_none() {
                *waiting = None;
            }
            next
        });
    }
}
