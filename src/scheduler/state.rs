//! States and transitions.

use super::ready::ReadyQueue;
use crate::graph::{TaskGraph, TaskId};
use crate::memory::Ledger;

/// Where one task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TaskState {
    /// Some dependency has not finished.
    Waiting,
    /// May start.
    Ready,
    /// Started by a worker.
    Running,
    /// Its result exists and somebody holds it.
    Finished,
    /// Its result was let go.
    Released,
    /// It failed, and the run with it.
    Erred,
}

/// Where the run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Tasks start as they become ready.
    Running,
    /// Every task has finished.
    Done,
    /// A task failed or the caller cancelled: nothing starts any more.
    Stopped,
}

/// The state machine of one run.
///
/// ```
/// use mars::graph::GraphBuilder;
/// use mars::scheduler::{Phase, Scheduler};
///
/// let mut builder = GraphBuilder::new();
/// let a = builder.push(&[])?;
/// let b = builder.push(&[a])?;
/// let graph = builder.finish()?;
/// let mut scheduler = Scheduler::new(graph, vec![0, 1], &[], &[b]);
/// let mut released = Vec::new();
///
/// assert_eq!(scheduler.start(), Some(a));
/// assert_eq!(scheduler.start(), None); // b waits for a
/// scheduler.finish(a, &mut released);
/// assert_eq!(scheduler.start(), Some(b));
/// scheduler.finish(b, &mut released);
/// assert_eq!(released, [a]); // b was asked for
/// assert_eq!(scheduler.phase(), Phase::Done);
/// # Ok::<(), mars::graph::GraphError>(())
/// ```
#[derive(Debug)]
pub struct Scheduler {
    graph: TaskGraph,
    ledger: Ledger,
    ready: ReadyQueue,
    state: Vec<TaskState>,
    /// Dependencies that have not finished.
    missing: Vec<u32>,
    rank: Vec<u32>,
    by_rank: Vec<TaskId>,
    running: usize,
    unfinished: usize,
    phase: Phase,
}

impl Scheduler {
    /// The state of a run that has not begun.
    ///
    /// `rank` is a permutation of `0..graph.len()`, one entry a task. The
    /// results of `known` exist already; those of `requested` are held for the
    /// caller. Either list may repeat a task.
    pub fn new(graph: TaskGraph, rank: Vec<u32>, known: &[TaskId], requested: &[TaskId]) -> Self {
        let n = graph.len();
        debug_assert_eq!(rank.len(), n);
        let mut ledger = Ledger::new(&graph);
        for &task in requested {
            ledger.hold(task);
        }
        let mut missing: Vec<u32> = graph
            .tasks()
            .map(|task| graph.dependencies(task).len() as u32)
            .collect();
        let mut state = vec![TaskState::Waiting; n];
        let mut unfinished = n;
        for &task in known {
            if state[task.index()] == TaskState::Finished {
                continue;
            }
            state[task.index()] = TaskState::Finished;
            unfinished -= 1;
            for dependent in graph.dependents(task) {
                missing[dependent.index()] -= 1;
            }
        }
        let mut by_rank = vec![TaskId::new(0); n];
        for task in graph.tasks() {
            by_rank[rank[task.index()] as usize] = task;
        }
        let mut first = Vec::new();
        for (r, task) in by_rank.iter().enumerate().rev() {
            let i = task.index();
            if missing[i] == 0 && state[i] == TaskState::Waiting {
                state[i] = TaskState::Ready;
                first.push(r as u32);
            }
        }
        Scheduler {
            graph,
            ledger,
            ready: ReadyQueue::new(first),
            state,
            missing,
            rank,
            by_rank,
            running: 0,
            unfinished,
            phase: if unfinished == 0 {
                Phase::Done
            } else {
                Phase::Running
            },
        }
    }

    /// Takes the ready task of lowest rank and makes it running.
    #[inline]
    pub fn start(&mut self) -> Option<TaskId> {
        let rank = self.ready.pop()?;
        let task = self.by_rank[rank as usize];
        debug_assert_eq!(self.state[task.index()], TaskState::Ready);
        self.state[task.index()] = TaskState::Running;
        self.running += 1;
        Some(task)
    }

    /// The ready task of lowest rank.
    pub fn peek(&self) -> Option<TaskId> {
        Some(self.by_rank[self.ready.peek()? as usize])
    }

    /// The ready tasks that a finished one has made ready, in no order.
    pub fn ready_since_the_start(&self) -> impl Iterator<Item = TaskId> {
        self.ready.later().map(|rank| self.by_rank[rank as usize])
    }

    /// Makes `task` running, out of turn; says whether it was ready.
    pub fn start_task(&mut self, task: TaskId) -> bool {
        let was_ready = self.state[task.index()] == TaskState::Ready
            && self.ready.take(self.rank[task.index()]);
        if was_ready {
            self.state[task.index()] = TaskState::Running;
            self.running += 1;
        }
        was_ready
    }

    /// The rank of `task`: lower ones go first.
    pub fn rank(&self, task: TaskId) -> u32 {
        self.rank[task.index()]
    }

    /// The ranks of all tasks.
    pub fn ranks(&self) -> &[u32] {
        &self.rank
    }

    /// Whether the task of this rank has a result, or had one.
    pub fn has_finished(&self, rank: u32) -> bool {
        matches!(
            self.state(self.by_rank[rank as usize]),
            TaskState::Finished | TaskState::Released
        )
    }

    /// How many holders the result of `task` has: see [`Ledger`].
    pub fn holders(&self, task: TaskId) -> u32 {
        self.ledger.holders(task)
    }

    /// A running task has a result. Adds to `released` the tasks whose results
    /// nobody holds any more.
    ///
    /// After the run has stopped nothing becomes ready and nothing is released
    /// here: whoever stopped the run took that over with
    /// [`Scheduler::stop`], and only what was still running at that time
    /// remains, to be let go with the run.
    #[inline]
    pub fn finish(&mut self, task: TaskId, released: &mut Vec<TaskId>) {
        let i = task.index();
        assert_eq!(self.state[i], TaskState::Running, "{task:?} is not running");
        self.running -= 1;
        self.state[i] = TaskState::Finished;
        if self.phase == Phase::Stopped {
            return;
        }
        for &dependent in self.graph.dependents(task) {
            let d = dependent.index();
            self.missing[d] -= 1;
            if self.missing[d] == 0 {
                self.state[d] = TaskState::Ready;
                self.ready.push(self.rank[d]);
            }
        }
        for &dependency in self.graph.dependencies(task) {
            if self.ledger.let_go(dependency) {
                self.state[dependency.index()] = TaskState::Released;
                released.push(dependency);
            }
        }
        if self.ledger.holders(task) == 0 {
            self.state[i] = TaskState::Released;
            released.push(task);
        }
        self.unfinished -= 1;
        if self.unfinished == 0 {
            self.phase = Phase::Done;
        }
    }

    /// A running task has come to nothing and shall be run once more.
    pub fn again(&mut self, task: TaskId) {
        let i = task.index();
        assert_eq!(self.state[i], TaskState::Running, "{task:?} is not running");
        self.running -= 1;
        if self.phase == Phase::Running {
            self.state[i] = TaskState::Ready;
            self.ready.push(self.rank[i]);
        } else {
            self.state[i] = TaskState::Waiting; // for ever
        }
    }

    /// A running task failed: the run stops.
    pub fn fail(&mut self, task: TaskId, released: &mut Vec<TaskId>) {
        let i = task.index();
        assert_eq!(self.state[i], TaskState::Running, "{task:?} is not running");
        self.running -= 1;
        self.state[i] = TaskState::Erred;
        self.stop(released);
    }

    /// Nothing starts any more. Adds to `released` every result that no running
    /// task reads. Stopping a run that is done or stopped changes nothing.
    pub fn stop(&mut self, released: &mut Vec<TaskId>) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Stopped;
        self.ready.clear();
        for task in self.graph.tasks() {
            if self.state[task.index()] == TaskState::Finished
                && !self
                    .graph
                    .dependents(task)
                    .iter()
                    .any(|d| self.state[d.index()] == TaskState::Running)
            {
                self.state[task.index()] = TaskState::Released;
                released.push(task);
            }
        }
    }

    /// Where the run stands.
    #[inline]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How many tasks may start now.
    #[inline]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How many tasks have started and not ended.
    #[inline]
    pub fn running(&self) -> usize {
        self.running
    }

    /// How many tasks have no result yet.
    #[inline]
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Where `task` stands.
    pub fn state(&self, task: TaskId) -> TaskState {
        self.state[task.index()]
    }

    /// The graph of this run.
    pub fn graph(&self) -> &TaskGraph {
        &self.graph
    }

    /// The tasks from `task` up to one that nothing depends on: who asked for
    /// it, the nearest first. Used to explain an error.
    pub fn asked_for_by(&self, task: TaskId) -> Vec<TaskId> {
        let mut chain = Vec::new();
        let mut task = task;
        while let Some(&dependent) = self.graph.dependents(task).first() {
            chain.push(dependent);
            task = dependent;
        }
        chain
    }

    /// Checks everything that `README.md` says always holds.
    ///
    /// # Panics
    ///
    /// If an invariant is broken. Linear in the graph: for tests.
    pub fn check_invariants(&self) {
        let count = |s| self.state.iter().filter(|x| **x == s).count();
        assert_eq!(self.running, count(TaskState::Running));
        for task in self.graph.tasks() {
            let i = task.index();
            let missing = (self.graph.dependencies(task).iter())
                .filter(|d| {
                    !matches!(
                        self.state[d.index()],
                        TaskState::Finished | TaskState::Released
                    )
                })
                .count();
            if self.phase == Phase::Stopped {
                continue;
            }
            assert_eq!(self.missing[i] as usize, missing, "{task:?}");
            match self.state[i] {
                TaskState::Waiting => assert!(missing > 0, "{task:?} should be ready"),
                TaskState::Ready | TaskState::Running => {
                    assert_eq!(missing, 0, "{task:?} started too early");
                    for d in self.graph.dependencies(task) {
                        assert_eq!(
                            self.state[d.index()],
                            TaskState::Finished,
                            "{d:?} was let go before {task:?} ran"
                        );
                    }
                }
                TaskState::Finished => assert!(self.ledger.holders(task) > 0),
                TaskState::Released => assert_eq!(self.ledger.holders(task), 0),
                TaskState::Erred => panic!("{task:?} erred in a run that goes on"),
            }
        }
        match self.phase {
            Phase::Running => {
                assert_eq!(self.ready.len(), count(TaskState::Ready));
                assert!(
                    self.ready.len() + self.running > 0,
                    "nothing runs and nothing can start"
                );
            }
            Phase::Done => assert_eq!(
                count(TaskState::Finished) + count(TaskState::Released),
                self.graph.len()
            ),
            Phase::Stopped => assert_eq!(self.ready.len(), 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphBuilder;

    fn id(i: usize) -> TaskId {
        TaskId::new(i)
    }

    /// One row of dependencies a task.
    fn graph(rows: &[&[usize]]) -> TaskGraph {
        let mut b = GraphBuilder::new();
        for row in rows {
            let row: Vec<_> = row.iter().map(|&i| id(i)).collect();
            b.push(&row).unwrap();
        }
        b.finish().unwrap()
    }

    /// 0   1
    ///  \ / \
    ///   2   3
    ///    \ /
    ///     4
    fn diamonds(known: &[TaskId]) -> Scheduler {
        let g = graph(&[&[], &[], &[0, 1], &[1], &[2, 3]]);
        Scheduler::new(g, vec![0, 1, 2, 3, 4], known, &[id(4)])
    }

    #[test]
    fn results_are_released_after_their_last_dependent() {
        let mut s = diamonds(&[]);
        let mut released = Vec::new();
        let mut expect = vec![
            (0, vec![]),
            (1, vec![]),
            (2, vec![id(0)]),
            (3, vec![id(1)]),
            (4, vec![id(2), id(3)]),
        ]
        .into_iter();
        while let Some(task) = s.start() {
            s.check_invariants();
            released.clear();
            s.finish(task, &mut released);
            s.check_invariants();
            assert_eq!(expect.next(), Some((task.index(), released.clone())));
        }
        assert_eq!(s.phase(), Phase::Done);
        assert_eq!(s.state(id(4)), TaskState::Finished);
    }

    #[test]
    fn known_results_do_not_run() {
        let mut s = diamonds(&[id(0), id(1), id(1)]);
        s.check_invariants();
        assert_eq!(s.start(), Some(id(2)));
        assert_eq!(s.start(), Some(id(3)));
        assert_eq!(s.start(), None);
        assert_eq!(s.running(), 2);
    }

    #[test]
    fn a_graph_of_known_results_is_done_at_once() {
        let s = Scheduler::new(graph(&[&[]]), vec![0], &[id(0)], &[id(0)]);
        assert_eq!(s.phase(), Phase::Done);
        s.check_invariants();
    }

    #[test]
    fn a_failure_starts_nothing_more_and_spares_what_is_being_read() {
        let mut s = diamonds(&[]);
        let mut released = Vec::new();
        for _ in 0..2 {
            let task = s.start().unwrap();
            s.finish(task, &mut released);
        }
        let reader = s.start().unwrap(); // 2 reads 0 and 1
        let failing = s.start().unwrap(); // 3 reads 1
        s.fail(failing, &mut released);
        s.check_invariants();
        assert_eq!(released, []); // 0 and 1 are being read by 2
        assert_eq!(s.start(), None);
        s.finish(reader, &mut released);
        assert_eq!(s.start(), None);
        assert_eq!(s.phase(), Phase::Stopped);
    }

    #[test]
    fn stopping_releases_what_nobody_reads() {
        let mut s = diamonds(&[]);
        let mut released = Vec::new();
        for _ in 0..2 {
            let task = s.start().unwrap();
            s.finish(task, &mut released);
        }
        s.stop(&mut released);
        assert_eq!(released, [id(0), id(1)]);
        released.clear();
        s.stop(&mut released);
        assert_eq!(released, []);
    }

    #[test]
    fn a_task_may_start_again_until_the_run_stops() {
        let mut s = diamonds(&[]);
        let first = s.start().unwrap();
        let second = s.start().unwrap();
        s.again(first);
        s.check_invariants();
        assert_eq!(s.start(), Some(first));
        s.fail(second, &mut Vec::new());
        s.again(first);
        s.check_invariants();
        assert_eq!((s.start(), s.running()), (None, 0));
    }

    #[test]
    #[should_panic(expected = "is not running")]
    fn what_did_not_start_cannot_start_again() {
        diamonds(&[]).again(id(0));
    }

    #[test]
    #[should_panic(expected = "is not running")]
    fn finishing_what_did_not_start_is_refused() {
        diamonds(&[]).finish(id(0), &mut Vec::new());
    }

    #[test]
    #[should_panic(expected = "is not running")]
    fn finishing_twice_is_refused() {
        let mut s = diamonds(&[]);
        let task = s.start().unwrap();
        s.finish(task, &mut Vec::new());
        s.finish(task, &mut Vec::new());
    }

    #[test]
    fn the_chain_of_askers_ends_at_an_output() {
        let s = diamonds(&[]);
        assert_eq!(s.asked_for_by(id(0)), [id(2), id(4)]);
        assert_eq!(s.asked_for_by(id(4)), []);
    }
}
