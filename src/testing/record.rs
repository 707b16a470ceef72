//! What a [`FakeRunner`](super::FakeRunner) was asked to do, in order.

use crate::graph::{TaskGraph, TaskId};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// One thing that a runner was asked to do, or that came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The task.
    pub task: TaskId,
    /// What happened to it.
    pub what: What,
    /// The thread on which it happened: see [`thread_number`].
    pub thread: u64,
}

/// What happens to a task of a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Its closure was called.
    Started,
    /// Its closure returned a result.
    Finished,
    /// Its closure returned without a result, which somebody promised.
    Promised,
    /// Its closure returned an error or panicked.
    Failed,
    /// Its result was let go.
    Released,
}

/// The number of the calling thread, as [`Event`]s have it.
pub fn thread_number() -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(std::thread::current().id())
}

/// The life of a runner, for a test to look at during and after it.
///
/// A promise to the runner that was broken is noted here rather than told by a
/// panic: a panic would become the task's error, or end a worker in silence.
pub struct Record {
    graph: TaskGraph,
    inner: Mutex<Inner>,
    dropped: Condvar,
    running: AtomicUsize,
    most_running: AtomicUsize,
}

struct Inner {
    events: Vec<Event>,
    broken: Vec<String>,
    present: Vec<bool>,
    /// How often each task was started.
    runs: Vec<usize>,
    live: usize,
    peak: usize,
    runner_is_gone: bool,
}

impl Record {
    pub(super) fn new(graph: &TaskGraph, known: &[TaskId]) -> Self {
        let mut present = vec![false; graph.len()];
        for task in known {
            present[task.index()] = true;
        }
        let live = present.iter().filter(|p| **p).count();
        Record {
            graph: graph.clone(),
            inner: Mutex::new(Inner {
                events: Vec::new(),
                broken: Vec::new(),
                present,
                runs: vec![0; graph.len()],
                live,
                peak: live,
                runner_is_gone: false,
            }),
            dropped: Condvar::new(),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that happened so far, in order.
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// The tasks to which `what` happened, in order.
    pub fn tasks(&self, what: What) -> Vec<TaskId> {
        let inner = self.lock();
        let events = inner.events.iter().filter(|event| event.what == what);
        events.map(|event| event.task).collect()
    }

    /// How often `task` was started.
    pub fn runs(&self, task: TaskId) -> usize {
        self.lock().runs[task.index()]
    }

    /// Whether the result of `task` is there.
    pub fn has_result(&self, task: TaskId) -> bool {
        self.lock().present[task.index()]
    }

    /// The tasks whose results are there.
    pub fn results(&self) -> Vec<TaskId> {
        let inner = self.lock();
        let tasks = self.graph.tasks();
        tasks.filter(|t| inner.present[t.index()]).collect()
    }

    /// The most results that were there at the same time.
    pub fn peak(&self) -> usize {
        self.lock().peak
    }

    /// The most tasks that ran at the same time.
    pub fn most_running(&self) -> usize {
        self.most_running.load(Ordering::SeqCst)
    }

    /// Waits until nobody holds the run any more, and so nothing can happen.
    /// The caller has dropped its own reference.
    pub fn wait_until_runner_is_gone(&self) {
        let mut inner = self.lock();
        while !inner.runner_is_gone {
            inner = (self.dropped.wait(inner)).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// # Panics
    ///
    /// If a promise to the runner was broken.
    pub fn assert_promises_kept(&self) {
        let inner = self.lock();
        assert!(
            inner.broken.is_empty(),
            "{:#?}\n{:#?}",
            inner.broken,
            inner.events
        );
    }

    pub(super) fn starts(&self, task: TaskId, allowed_runs: usize) {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        let inner = &mut *self.lock();
        inner.runs[task.index()] += 1;
        let runs = inner.runs[task.index()];
        if runs > allowed_runs {
            inner.blame(format!("{task:?} ran {runs} times"));
        }
        self.check_dependencies(inner, task, "before");
        inner.log(task, What::Started);
    }

    /// Notes how `task` ended when it is dropped: it has failed, unless told otherwise.
    pub(super) fn ending(&self, task: TaskId) -> Ending<'_> {
        Ending {
            record: self,
            task,
            what: What::Failed,
        }
    }

    fn ends(&self, task: TaskId, what: What) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        let inner = &mut *self.lock();
        if what != What::Promised {
            self.check_dependencies(inner, task, "after");
        }
        if what == What::Finished {
            inner.finish(task);
        } else {
            inner.log(task, what);
        }
    }

    pub(super) fn delivers(&self, task: TaskId) {
        let inner = &mut *self.lock();
        self.check_dependencies(inner, task, "when it was delivered");
        inner.finish(task);
    }

    pub(super) fn releases(&self, task: TaskId) {
        let inner = &mut *self.lock();
        inner.log(task, What::Released);
        if std::mem::replace(&mut inner.present[task.index()], false) {
            inner.live -= 1;
        } else {
            inner.blame(format!("{task:?} was released without a result"));
        }
    }

    pub(super) fn runner_is_dropped(&self) {
        self.lock().runner_is_gone = true;
        self.dropped.notify_all();
    }

    fn check_dependencies(&self, inner: &mut Inner, task: TaskId, when: &str) {
        for dependency in self.graph.dependencies(task) {
            if !inner.present[dependency.index()] {
                inner.blame(format!(
                    "{task:?}: no result of {dependency:?} {when} it ran"
                ));
            }
        }
    }
}

impl Inner {
    fn finish(&mut self, task: TaskId) {
        self.log(task, What::Finished);
        self.present[task.index()] = true;
        self.live += 1;
        self.peak = self.peak.max(self.live);
    }

    fn blame(&mut self, what: String) {
        self.broken.push(what);
    }

    fn log(&mut self, task: TaskId, what: What) {
        self.events.push(Event {
            task,
            what,
            thread: thread_number(),
        });
    }
}

/// Notes how a task ended, a panic included.
pub(super) struct Ending<'r> {
    record: &'r Record,
    task: TaskId,
    pub(super) what: What,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.record.ends(self.task, self.what);
    }
}
