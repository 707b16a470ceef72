//! What a run should do, said in the plainest way: sets, and no counters.

use mars::graph::{TaskGraph, TaskId};
use std::collections::BTreeSet;

/// A run as the rules tell it, one task at a time.
#[derive(Debug, Clone)]
pub struct Model {
    graph: TaskGraph,
    requested: BTreeSet<TaskId>,
    /// Tasks that have a result, or had one.
    pub finished: BTreeSet<TaskId>,
    pub running: BTreeSet<TaskId>,
    pub released: BTreeSet<TaskId>,
    pub erred: BTreeSet<TaskId>,
    pub stopped: bool,
}

impl Model {
    pub fn new(graph: &TaskGraph, known: &[TaskId], requested: &[TaskId]) -> Self {
        Model {
            graph: graph.clone(),
            requested: requested.iter().copied().collect(),
            finished: known.iter().copied().collect(),
            running: BTreeSet::new(),
            released: BTreeSet::new(),
            erred: BTreeSet::new(),
            stopped: false,
        }
    }

    pub fn is_done(&self) -> bool {
        self.finished.len() == self.graph.len()
    }

    /// What may start: all dependencies have finished, and the task did not start.
    pub fn ready(&self) -> Vec<TaskId> {
        let may_start = |task: &TaskId| {
            !self.finished.contains(task)
                && !self.running.contains(task)
                && !self.erred.contains(task)
                && (self.graph.dependencies(*task).iter()).all(|d| self.finished.contains(d))
        };
        if self.stopped {
            return Vec::new();
        }
        self.graph.tasks().filter(may_start).collect()
    }

    pub fn start(&mut self, task: TaskId) {
        assert!(self.ready().contains(&task), "{task:?} may not start");
        self.running.insert(task);
    }

    /// Returns what may start because of that, and which results go.
    pub fn finish(&mut self, task: TaskId) -> (Vec<TaskId>, Vec<TaskId>) {
        let before = self.ready();
        assert!(self.running.remove(&task), "{task:?} was not running");
        self.finished.insert(task);
        if self.stopped {
            return (Vec::new(), Vec::new());
        }
        let ready = self.ready();
        let ready = ready.into_iter().filter(|t| !before.contains(t)).collect();
        let mut candidates = self.graph.dependencies(task).to_vec();
        candidates.push(task);
        (ready, self.release(candidates, |m, t| !m.is_held(t)))
    }

    /// Returns which results go.
    pub fn fail(&mut self, task: TaskId) -> Vec<TaskId> {
        assert!(self.running.remove(&task), "{task:?} was not running");
        self.erred.insert(task);
        self.stop()
    }

    /// Returns which results go.
    pub fn stop(&mut self) -> Vec<TaskId> {
        if self.stopped || self.is_done() {
            return Vec::new();
        }
        self.stopped = true;
        self.release(self.graph.tasks().collect(), |m, t| !m.is_read(t))
    }

    fn release(
        &mut self,
        candidates: Vec<TaskId>,
        goes: impl Fn(&Self, TaskId) -> bool,
    ) -> Vec<TaskId> {
        let going: Vec<_> = candidates
            .into_iter()
            .filter(|t| self.finished.contains(t) && !self.released.contains(t))
            .filter(|t| goes(self, *t))
            .collect();
        self.released.extend(&going);
        going
    }

    /// Whether the caller or a task still to end needs the result.
    fn is_held(&self, task: TaskId) -> bool {
        self.requested.contains(&task)
            || (self.graph.dependents(task).iter()).any(|d| !self.finished.contains(d))
    }

    /// Whether a running task reads the result.
    fn is_read(&self, task: TaskId) -> bool {
        (self.graph.dependents(task).iter()).any(|d| self.running.contains(d))
    }
}
