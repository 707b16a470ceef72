//! Who runs a task.

use super::promise::Later;
use crate::graph::TaskId;
use crate::memory::{self, EntryId};
use std::any::Any;

/// What came of running a task, if it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// Its result is there.
    Finished,
    /// Somebody keeps a [`Promise`](super::Promise), and settles it later.
    Promised,
}

/// Runs tasks and keeps their results.
///
/// The executor decides when and on which thread; a runner knows what a task
/// does and where results live. The executor promises that
///
/// * [`run`](Runner::run) is called once a task, or once more for every
///   [`Promise::again`](super::Promise::again) and if it
///   [`is_out_of_memory`](Runner::is_out_of_memory), after all dependencies of that task
///   have finished, none of which was released since;
/// * [`release`](Runner::release) is called once at most, when no running task
///   and no task still to run reads the result, and the caller did not ask for it;
/// * none of its own locks is held during any of these calls.
pub trait Runner: Send + Sync + 'static {
    /// Why a task failed.
    type Error: Send + 'static;

    /// Shows that the calling thread may run tasks (holds an interpreter lock,
    /// say). Valid only inside [`attach`](Runner::attach).
    type Token<'t>: Copy;

    /// Calls `work` with a token, waiting until this thread may have one.
    fn attach<T>(&self, work: impl for<'t> FnOnce(Self::Token<'t>) -> T) -> T;

    /// The number by which the program knows the calling thread.
    fn thread(&self, token: Self::Token<'_>) -> u64;

    /// Lets other threads of the program have their turn at what the token
    /// stands for. Called now and then between tasks.
    fn breathe(&self, token: Self::Token<'_>);

    /// Runs `task` and keeps its result, or promises one.
    fn run(
        &self,
        token: Self::Token<'_>,
        task: TaskId,
        later: Later<'_, Self>,
    ) -> Result<Ran, Self::Error>
    where
        Self: Sized;

    /// Lets the result of `task` go.
    fn release(&self, token: Self::Token<'_>, task: TaskId);

    /// The result of `task` in the run's account, if it is counted there. Asked for
    /// once when the task has finished, under a lock: it may not take one itself that
    /// is held while anything is called.
    fn entry(&self, _task: TaskId) -> Option<EntryId> {
        None
    }

    /// Bytes of the result of `task`, which has just been run, if that can be told. Asked
    /// for while somebody records.
    fn output_bytes(&self, _token: Self::Token<'_>, _task: TaskId) -> Option<u64> {
        None
    }

    /// Gives memory that is kept for later back to the system.
    fn trim(&self, _token: Self::Token<'_>) {
        memory::trim();
    }

    /// Whether `task` failed for want of memory, and may be run once more when there is
    /// more; asked in runs under a limit.
    fn is_out_of_memory(
        &self,
        _token: Self::Token<'_>,
        _task: TaskId,
        _error: &Self::Error,
    ) -> bool {
        false
    }

    /// The asked-for results are going to take `projected` bytes, more than `limit`.
    fn will_not_fit(&self, _token: Self::Token<'_>, _projected: u64, _limit: u64) {}

    /// The error for a run of which `finished` asked-for results of `count` take
    /// `bytes`, more than `limit`.
    fn does_not_fit(&self, bytes: u64, finished: u64, count: u64, limit: u64) -> Self::Error {
        unreachable!("no result is counted: {bytes} {finished} {count} {limit}")
    }

    /// The error that stands for a panic inside [`run`](Runner::run).
    fn panicked(&self, task: TaskId, payload: Box<dyn Any + Send>) -> Self::Error;
}
