//! Which run the calling thread is working for.
//!
//! A task that computes a graph of its own makes a nested run. It is linked to
//! the run of that task, so that stopping the outer run stops the inner one.

use crate::events::RunRecord;
use std::cell::RefCell;
use std::sync::{Arc, Weak};

/// Something that can be told to start nothing more.
pub(super) trait Stop: Send + Sync {
    fn stop(&self);
    /// Whether nothing more will start.
    fn has_stopped(&self) -> bool;
    /// What is known of the run.
    fn record(&self) -> &Arc<RunRecord>;
    /// Remembers a nested run, to be stopped with this one.
    fn adopt(&self, nested: Weak<dyn Stop>);
}

thread_local! {
    static CURRENT: RefCell<Vec<Weak<dyn Stop>>> = const { RefCell::new(Vec::new()) };
}

/// Whether the calling thread is inside a task of some run.
pub fn in_task() -> bool {
    CURRENT.with_borrow(|stack| !stack.is_empty())
}

/// How many runs the calling thread works for, each inside a task of the one before.
pub fn nesting() -> u32 {
    CURRENT.with_borrow(|stack| stack.len() as u32)
}

/// Whether the run whose task the calling thread is in has stopped: nobody
/// waits for what the task does.
pub fn is_stopped() -> bool {
    current().is_some_and(|run| run.upgrade().is_none_or(|run| run.has_stopped()))
}

/// The run whose task the calling thread is in.
pub(super) fn current() -> Option<Weak<dyn Stop>> {
    CURRENT.with_borrow(|stack| stack.last().cloned())
}

/// Marks the calling thread as working for `run` until dropped.
pub(super) struct Working(());

impl Working {
    pub(super) fn for_run(run: Weak<dyn Stop>) -> Self {
        CURRENT.with_borrow_mut(|stack| stack.push(run));
        Working(())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|stack| stack.pop());
    }
}
