//! One walk through the graph: the order itself, and the peak it costs.

use super::labels::Labels;
use crate::graph::{TaskGraph, TaskId};

#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub child: u8,
    pub target: u8,
}

#[derive(Clone, Copy, Default)]
struct State {
    missing: u32,
    waiters: u32,
    last: u32,
    done: bool,
}

pub(super) struct Walk<'g> {
    graph: &'g TaskGraph,
    state: Vec<State>,
    pub sequence: Vec<TaskId>,
    live: usize,
    pub peak: usize,
    pub area: u64,
    free: Vec<TaskId>,
    stack: Vec<TaskId>,
    touched: Vec<TaskId>,
    plan: Plan,
}

impl<'g> Walk<'g> {
    pub fn new(
        graph: &'g TaskGraph,
        plan: Plan,
        known: &dyn Fn(TaskId) -> bool,
        requested: &dyn Fn(TaskId) -> bool,
    ) -> Self {
        let mut w = Walk {
            graph,
            state: graph
                .tasks()
                .map(|t| State {
                    missing: graph.dependencies(t).len() as u32,
                    waiters: graph.dependents(t).len() as u32,
                    last: graph
                        .dependents(t)
                        .iter()
                        .fold(0, |x, t| x ^ t.index() as u32),
                    done: false,
                })
                .collect(),
            sequence: Vec::with_capacity(graph.len()),
            live: 0,
            peak: 0,
            area: 0,
            free: vec![],
            stack: vec![],
            touched: vec![],
            plan,
        };
        for t in graph.tasks() {
            if known(t) {
                w.state[t.index()].done = true;
                w.state[t.index()].waiters += 2;
                w.sequence.push(t);
                for &u in graph.dependents(t) {
                    w.state[u.index()].missing -= 1;
                }
            } else if requested(t) {
                w.state[t.index()].waiters += 2;
            }
        }
        w
    }

    fn run(&mut self, t: TaskId) {
        debug_assert!(self.state[t.index()].missing == 0 && !self.state[t.index()].done);
        self.state[t.index()].done = true;
        self.sequence.push(t);
        self.live += 1;
        self.peak = self.peak.max(self.live);
        for &d in self.graph.dependencies(t) {
            let s = &mut self.state[d.index()];
            s.waiters -= 1;
            s.last ^= t.index() as u32;
            if s.waiters == 0 {
                self.live -= 1;
            } else if s.waiters == 1 {
                let u = s.last;
                let su = self.state[u as usize];
                if su.missing == 0 && !su.done {
                    self.free.push(TaskId::new(u as usize));
                }
            }
        }
        self.area += self.live as u64;
        for &u in self.graph.dependents(t) {
            let s = &mut self.state[u.index()];
            s.missing -= 1;
            if s.missing == 0 {
                if self
                    .graph
                    .dependencies(u)
                    .iter()
                    .any(|d| self.state[d.index()].waiters == 1)
                {
                    self.free.push(u);
                }
            } else if self.plan.target == 3 {
                self.touched.push(u);
            }
        }
    }

    fn drain(&mut self) {
        while let Some(t) = self.free.pop() {
            if !self.state[t.index()].done {
                self.run(t);
            }
        }
    }

    fn reach(&mut self, target: TaskId, labels: &Labels) {
        self.stack.push(target);
        while let Some(&t) = self.stack.last() {
            let s = self.state[t.index()];
            if s.done {
                self.stack.pop();
                continue;
            }
            if s.missing == 0 {
                self.stack.pop();
                self.run(t);
                self.drain();
                continue;
            }
            let start = self.stack.len();
            for &d in self.graph.dependencies(t) {
                if !self.state[d.index()].done {
                    self.stack.push(d);
                }
            }
            let row = &mut self.stack[start..];
            row.reverse();
            match self.plan.child {
                0 => row.sort_by_key(|d| labels.need[d.index()]),
                1 => row.sort_by_key(|d| std::cmp::Reverse(labels.need[d.index()])),
                2 => row.sort_by_key(|d| labels.size[d.index()]),
                3 => row.sort_by_key(|d| std::cmp::Reverse(labels.size[d.index()])),
                _ => {}
            }
        }
    }

    pub fn go(&mut self, labels: &Labels) {
        let mut terminals: Vec<TaskId> = self
            .graph
            .tasks()
            .filter(|&t| self.graph.dependents(t).is_empty())
            .collect();
        match self.plan.target {
            1 => terminals.sort_by_key(|d| labels.size[d.index()]),
            2 => terminals.sort_by_key(|d| std::cmp::Reverse(labels.size[d.index()])),
            _ => {}
        }
        for t in terminals {
            if self.plan.target == 3 {
                while let Some(u) = self.touched.pop() {
                    if !self.state[u.index()].done {
                        self.reach(u, labels);
                    }
                }
            }
            if !self.state[t.index()].done {
                self.reach(t, labels);
            }
        }
    }
}
