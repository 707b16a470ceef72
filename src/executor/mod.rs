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
pub mod fork;
mod observed;
mod per_process;
pub mod pool;
mod promise;
mod room;
mod run;
mod runner;
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
    fork::forget_in_children();
    pool::usual_size();
}
