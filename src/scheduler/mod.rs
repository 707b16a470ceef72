//! The state machine of one run: which tasks may start, and what ends when.
//!
//! No threads, no clocks, no results: a [`Scheduler`] is told that a task
//! started, finished or failed, and answers with what follows from it. All
//! state changes go through its methods; `README.md` beside this file lists the
//! states, the transitions and the invariants.

mod ready;
mod state;

pub use state::{Phase, Scheduler, TaskState};
