//! One walk through the graph: plays a run of one worker, counting what is live.
//!
//! Always holds: a task is run after its dependencies and once; `live` is the
//! number of results that are finished and either held to the end or still
//! waited for.

use super::Hints;
use super::groups::Groups;
use super::need::Needs;
use crate::graph::{TaskGraph, TaskId};
use std::cmp::Reverse;

/// In which order outputs are gone for.
#[derive(Clone, Copy)]
pub(super) enum Outputs {
    InOrder,
    Reversed,
    LargestFirst,
    SmallestFirst,
}

/// In which order the dependencies of a task are gone for.
#[derive(Clone, Copy)]
pub(super) enum Dependencies {
    InOrder,
    Reversed,
    HungriestFirst,
}

/// What makes one walk differ from another.
pub(super) struct Taste<'a> {
    pub outputs: Outputs,
    pub dependencies: Dependencies,
    /// With ranks to sort their members by, groups are run; else only free and
    /// forced moves are made.
    pub groups: Option<&'a [u32]>,
}

/// The order a walk has found, and its cost.
pub(super) struct Walked {
    pub sequence: Vec<TaskId>,
    /// The most results live at once.
    pub peak: u32,
    /// Live results summed over time.
    pub area: u64,
}

/// How one task stands.
#[derive(Clone, Copy)]
pub(super) struct State {
    /// Dependencies not yet done.
    missing: u32,
    /// Dependents not yet done; [`HELD`] more if the result is kept.
    waiters: u32,
    /// All dependents not yet done, xored: if one is left, it is this one.
    last: u32,
    pub done: bool,
}

impl State {
    pub fn missing(&self) -> u32 {
        self.missing
    }

    pub fn waiters(&self) -> u32 {
        self.waiters
    }
}

/// More than one, so that a held result never looks like about to be released.
const HELD: u32 = 2;

/// How every walk through a graph starts.
pub(super) struct Start {
    pub known: Vec<bool>,
    pub states: Vec<State>,
    /// No result has two users: the depth-first order is the best one.
    pub is_forest: bool,
    /// No order can have a lower peak.
    pub least_peak: u32,
}

impl Start {
    pub fn new(graph: &TaskGraph, hints: Hints<'_>) -> Self {
        let mut known = vec![false; graph.len()];
        for task in hints.known {
            known[task.index()] = true;
        }
        let mut is_forest = true;
        let mut widest = 0;
        let mut states: Vec<State> = graph
            .tasks()
            .map(|task| {
                let (above, below) = (graph.dependencies(task), graph.dependents(task));
                let done = known[task.index()];
                let missing = if hints.known.is_empty() {
                    above.len()
                } else {
                    above.iter().filter(|d| !known[d.index()]).count()
                } as u32;
                if !done {
                    is_forest &= below.len() <= 1;
                    widest = widest.max(missing + 1);
                }
                State {
                    missing,
                    waiters: below.len() as u32 + if below.is_empty() { HELD } else { 0 },
                    last: below.iter().fold(0, |x, t| x ^ t.index() as u32),
                    done,
                }
            })
            .collect();
        for task in hints.known.iter().chain(hints.requested) {
            states[task.index()].waiters = graph.dependents(*task).len() as u32 + HELD;
        }
        let held = graph.tasks().filter(|t| {
            let state = states[t.index()];
            !state.done && state.waiters as usize > graph.dependents(*t).len()
        });
        let least_peak = widest.max(held.count() as u32);
        Start {
            known,
            states,
            is_forest,
            least_peak,
        }
    }
}

/// A walk under way.
pub(super) struct Walk<'a> {
    graph: &'a TaskGraph,
    needs: &'a Needs,
    states: Vec<State>,
    sequence: Vec<TaskId>,
    live: u32,
    peak: u32,
    area: u64,
    /// Tasks that were found to be ready and the last user of an input.
    free: Vec<TaskId>,
    /// Tasks under way, each followed by dependencies to be reached first.
    stack: Vec<TaskId>,
    groups: Option<Groups<'a>>,
}

impl<'a> Walk<'a> {
    pub fn new(graph: &'a TaskGraph, start: &Start, needs: &'a Needs) -> Self {
        let mut sequence = Vec::with_capacity(graph.len());
        sequence.extend(graph.tasks().filter(|t| start.known[t.index()]));
        Walk {
            graph,
            needs,
            states: start.states.clone(),
            sequence,
            live: 0,
            peak: 0,
            area: 0,
            free: Vec::new(),
            stack: Vec::new(),
            groups: None,
        }
    }

    /// Walks to every output; gives up once more than `most` results are live.
    pub fn go(mut self, taste: &Taste<'a>, most: u32) -> Option<Walked> {
        self.groups = taste
            .groups
            .map(|base| Groups::new(self.graph, &self.states, base));
        let mut outputs: Vec<TaskId> = self
            .graph
            .tasks()
            .filter(|&t| self.graph.dependents(t).is_empty())
            .collect();
        let size = |t: &TaskId| self.needs.size[t.index()];
        match taste.outputs {
            Outputs::InOrder => {}
            Outputs::Reversed => outputs.reverse(),
            Outputs::LargestFirst => outputs.sort_by_key(|t| Reverse(size(t))),
            Outputs::SmallestFirst => outputs.sort_by_key(size),
        }
        // Behind the outputs, what only known results would have needed: nobody
        // has to run it, but it has a rank.
        for task in outputs.into_iter().chain(self.graph.tasks()) {
            if self.states[task.index()].done {
                continue;
            }
            self.reach(task, taste.dependencies, most);
            if self.peak > most {
                return None;
            }
        }
        Some(Walked {
            sequence: self.sequence,
            peak: self.peak,
            area: self.area,
        })
    }

    /// Forced moves: runs `output` after all it needs, depth first.
    fn reach(&mut self, output: TaskId, children: Dependencies, most: u32) {
        self.stack.push(output);
        while let Some(&task) = self.stack.last() {
            let state = self.states[task.index()];
            if state.done {
                self.stack.pop();
            } else if state.missing == 0 {
                self.stack.pop();
                self.run(task);
                self.settle();
                if self.peak > most {
                    return;
                }
            } else {
                // What is to go first comes to the top, so last: the lowest
                // number, or the hungriest, and the lowest number of equals.
                let from = self.stack.len();
                let dependencies = self.graph.dependencies(task).iter().rev();
                let undone = dependencies.filter(|d| !self.states[d.index()].done);
                self.stack.extend(undone);
                let row = &mut self.stack[from..];
                match children {
                    _ if row.len() == 1 => {}
                    Dependencies::InOrder => {}
                    Dependencies::Reversed => row.reverse(),
                    Dependencies::HungriestFirst => {
                        row.sort_by_key(|d| self.needs.room[d.index()]);
                    }
                }
            }
        }
    }

    /// Makes free moves and runs groups until there are none.
    fn settle(&mut self) {
        self.run_free();
        while let Some(groups) = &mut self.groups {
            let Some(members) = groups.next(&self.states) else {
                return;
            };
            // Sorted by a walk's rank: dependencies come first.
            for &task in &members {
                if !self.states[task.index()].done {
                    self.run(task);
                    self.run_free();
                }
            }
        }
    }

    fn run_free(&mut self) {
        while let Some(task) = self.free.pop() {
            if !self.states[task.index()].done {
                self.run(task);
            }
        }
    }

    fn run(&mut self, task: TaskId) {
        let graph = self.graph;
        debug_assert_eq!(self.states[task.index()].missing, 0);
        self.states[task.index()].done = true;
        self.sequence.push(task);
        self.live += 1;
        self.peak = self.peak.max(self.live);
        if let Some(groups) = &mut self.groups {
            groups.on_done(task, &self.states);
        }
        for &dependency in graph.dependencies(task) {
            let state = &mut self.states[dependency.index()];
            state.waiters -= 1;
            state.last ^= task.index() as u32;
            if state.waiters == 0 {
                self.live -= 1;
                if let Some(groups) = &mut self.groups {
                    groups.on_released(dependency, task);
                }
            } else if state.waiters == 1 {
                let last = TaskId::new(state.last as usize);
                if self.is_ready(last) {
                    self.free.push(last);
                }
            }
        }
        self.area += u64::from(self.live);
        for &dependent in graph.dependents(task) {
            let state = &mut self.states[dependent.index()];
            state.missing -= 1;
            if state.missing == 0 {
                let above = graph.dependencies(dependent);
                if above.iter().any(|d| self.states[d.index()].waiters == 1) {
                    self.free.push(dependent);
                }
            }
        }
    }

    fn is_ready(&self, task: TaskId) -> bool {
        let state = self.states[task.index()];
        state.missing == 0 && !state.done
    }
}
