//! Runs the tasks of a graph on threads.
//!
//! A [`Run`] is one computation: a [`Scheduler`](crate::scheduler::Scheduler)
//! behind a lock, and a [`Runner`] that knows what a task is. Its tasks run on
//! the workers of one [`pool`] that all runs share, and on the thread that
//! waits for the result where that is allowed. How workers lend each other the
//! interpreter lock, wake up, are cancelled and end is told in `README.md`
//! beside this file.

mod background;
mod current;
mod observed;
mod pace;
pub mod pool;
mod promise;
mod room;
mod run;
mod runner;
mod standing;
mod timer;
mod worker;

pub use current::{in_task, is_stopped, nesting};
pub use observed::Observer;
pub use promise::{Later, Promise};
pub use run::{Caller, Ended, Options, Run};
pub use runner::{Ran, Runner};
pub use worker::anybody_works;

/// Makes what threads would otherwise make when they first need it, where a child forked
/// meanwhile would find it locked for ever. To be called before there are threads.
pub fn prepare() {
    forget_in_children();
    pool::usual_size();
}

/// A forked child has none of the threads that are counted; only the first call does something.
fn forget_in_children() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        crate::fork::in_children(pool::forget_waiting);
        crate::fork::in_children(worker::forget_workers);
    });
}
