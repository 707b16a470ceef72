//! Groups of tasks within reach, and what running a whole group would change.
//!
//! A task is *within reach* when each of its dependencies is done or within
//! reach itself: no further source has to be started for it. Tasks within reach
//! form one group if one depends on the other, or if together they are all that
//! a result still waits for. The `balance` of a group is the change in live
//! results if all of it runs: one more for every member, one less for every
//! result, old or new, that only its members wait for. Groups are sets with
//! union and find; each edge is looked at when its task comes within reach.

use super::walk::State;
use crate::graph::{TaskGraph, TaskId};

#[derive(Clone, Copy)]
struct Place {
    /// Dependencies neither done nor within reach; [`SOURCE`] if there were
    /// none to start with.
    beyond: u32,
    /// Dependents not yet within reach; never zero for results that are kept.
    outside: u32,
    /// Towards the task that stands for the group.
    parent: u32,
    /// The next member of the group, in a circle.
    next: u32,
    /// Of the group, where the task stands for it.
    balance: i32,
    /// Members not yet done, where the task stands for the group.
    open: u32,
}

const SOURCE: u32 = u32::MAX;

/// All tasks' places in groups, while a walk goes on.
pub(super) struct Groups<'a> {
    graph: &'a TaskGraph,
    places: Vec<Place>,
    /// Ranks that put dependencies first, to sort members by.
    base: &'a [u32],
    /// Tasks whose group may have come into balance.
    candidates: Vec<TaskId>,
    /// Tasks within reach whose dependencies and dependents were not told yet.
    arriving: Vec<TaskId>,
}

impl<'a> Groups<'a> {
    pub fn new(graph: &'a TaskGraph, states: &[State], base: &'a [u32]) -> Self {
        let places = graph
            .tasks()
            .map(|task| {
                let beyond = states[task.index()].missing();
                Place {
                    beyond: if beyond == 0 { SOURCE } else { beyond },
                    outside: states[task.index()].waiters(),
                    parent: task.index() as u32,
                    next: task.index() as u32,
                    balance: 0,
                    open: 0,
                }
            })
            .collect();
        Groups {
            graph,
            places,
            base,
            candidates: Vec::new(),
            arriving: Vec::new(),
        }
    }

    /// The members of a group that releases at least what it adds.
    pub fn next(&mut self, states: &[State]) -> Option<Vec<TaskId>> {
        while let Some(task) = self.candidates.pop() {
            let group = self.find(task.index());
            let Place { balance, open, .. } = self.places[group];
            if open == 0 || balance > 0 {
                continue;
            }
            let mut members = Vec::with_capacity(open as usize);
            let mut i = group;
            loop {
                if !states[i].done {
                    members.push(TaskId::new(i));
                }
                i = self.places[i].next as usize;
                if i == group {
                    break;
                }
            }
            members.sort_unstable_by_key(|t| self.base[t.index()]);
            return Some(members);
        }
        None
    }

    /// A task was run: its result, promised until now, is there.
    pub fn on_done(&mut self, task: TaskId, states: &[State]) {
        if self.places[task.index()].beyond == SOURCE {
            self.arrive_behind(task, states);
            return;
        }
        let group = self.find(task.index());
        let place = &mut self.places[group];
        place.balance -= 1;
        place.open -= 1;
        if place.open > 0 && place.balance <= 0 {
            self.candidates.push(task);
        }
    }

    /// A result was released by `user`: no longer promised either.
    pub fn on_released(&mut self, result: TaskId, user: TaskId) {
        debug_assert_eq!(self.places[result.index()].outside, 0);
        let group = self.find(user.index());
        self.places[group].balance += 1;
    }

    /// A source is done: brings within reach what waited only for it.
    fn arrive_behind(&mut self, source: TaskId, states: &[State]) {
        self.tell_dependents(source);
        while let Some(task) = self.arriving.pop() {
            self.join(task, states);
            self.tell_dependents(task);
        }
    }

    fn tell_dependents(&mut self, task: TaskId) {
        for &dependent in self.graph.dependents(task) {
            let beyond = &mut self.places[dependent.index()].beyond;
            *beyond -= 1;
            if *beyond == 0 {
                self.arriving.push(dependent);
            }
        }
    }

    /// Makes a group of `task`, its dependencies within reach, and the other
    /// users of results that now wait for tasks within reach only.
    fn join(&mut self, task: TaskId, states: &[State]) {
        let mut group = task.index();
        self.places[group].balance = 1;
        self.places[group].open = 1;
        let graph = self.graph;
        let dependencies = graph.dependencies(task);
        for &dependency in dependencies {
            let i = dependency.index();
            if !states[i].done {
                group = self.unite(group, i);
            }
            let outside = &mut self.places[i].outside;
            *outside -= 1;
            if *outside == 0 {
                for user in graph.dependents(dependency) {
                    if !states[user.index()].done {
                        group = self.unite(group, user.index());
                    }
                }
                self.places[group].balance -= 1;
            }
        }
        if dependencies.len() > 1 {
            self.candidates.push(task);
        }
    }

    fn find(&mut self, mut i: usize) -> usize {
        loop {
            let parent = self.places[i].parent as usize;
            if parent == i {
                return i;
            }
            let above = self.places[parent].parent;
            self.places[i].parent = above;
            i = above as usize;
        }
    }

    /// Unites the group that `a` stands for with that of the member `b`.
    fn unite(&mut self, a: usize, b: usize) -> usize {
        let b = self.find(b);
        if a == b {
            return a;
        }
        let (small, large) = if self.places[a].open < self.places[b].open {
            (a, b)
        } else {
            (b, a)
        };
        let from = self.places[small];
        let to = &mut self.places[large];
        to.balance += from.balance;
        to.open += from.open;
        let next = std::mem::replace(&mut to.next, from.next);
        self.places[small].next = next;
        self.places[small].parent = large as u32;
        large
    }
}
