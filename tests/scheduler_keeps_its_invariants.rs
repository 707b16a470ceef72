//! The state machine alone: whatever the order in which tasks start, finish
//! and fail, and whenever the run is stopped, it does what a model made of
//! sets does, and its invariants hold after every event.

mod common;

use common::case::{Work, random_work};
use common::model::Model;
use common::{cases, sorted};
use mars::graph::TaskId;
use mars::scheduler::{Phase, Scheduler, TaskState};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Something that happens; the index chooses among the running tasks.
#[derive(Debug, Clone)]
enum Event {
    Start,
    Finish(Index),
    Fail(Index),
    Stop,
}

fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        40 => Just(Event::Start),
        40 => any::<Index>().prop_map(Event::Finish),
        1 => any::<Index>().prop_map(Event::Fail),
        1 => Just(Event::Stop),
    ];
    vec(event, 0..most)
}

/// Random work and ranks, which need not respect dependencies.
fn ranked_work() -> impl Strategy<Value = (Work, Vec<u32>)> {
    random_work(25).prop_flat_map(|work| {
        let ranks: Vec<u32> = (0..work.graph.len() as u32).collect();
        (Just(work), Just(ranks).prop_shuffle())
    })
}

/// A scheduler beside its model.
struct Both {
    scheduler: Scheduler,
    model: Model,
    rank: Vec<u32>,
}

impl Both {
    fn new(work: &Work, rank: Vec<u32>) -> Self {
        let (graph, ranks) = (work.graph.clone(), rank.clone());
        let both = Both {
            scheduler: Scheduler::new(graph, ranks, &work.known, &work.requested),
            model: work.model(),
            rank,
        };
        both.check();
        both
    }

    fn start(&mut self) {
        let ready = self.model.ready();
        let lowest = ready.into_iter().min_by_key(|t| self.rank[t.index()]);
        assert_eq!(self.scheduler.start(), lowest);
        if let Some(task) = lowest {
            self.model.start(task);
        }
    }

    fn happen(&mut self, event: &Event) {
        let running: Vec<_> = self.model.running.iter().copied().collect();
        let mut released = Vec::new();
        let expected = match event {
            Event::Start => {
                self.start();
                Vec::new()
            }
            Event::Stop => {
                self.scheduler.stop(&mut released);
                self.model.stop()
            }
            Event::Finish(_) | Event::Fail(_) if running.is_empty() => Vec::new(),
            Event::Finish(pick) => {
                let task = *pick.get(&running);
                self.scheduler.finish(task, &mut released);
                self.model.finish(task).1
            }
            Event::Fail(pick) => {
                let task = *pick.get(&running);
                self.scheduler.fail(task, &mut released);
                self.model.fail(task)
            }
        };
        assert_eq!(sorted(released), sorted(expected));
        self.check();
    }

    fn check(&self) {
        self.scheduler.check_invariants();
        let ready = self.model.ready();
        assert_eq!(self.scheduler.ready(), ready.len());
        assert_eq!(self.scheduler.running(), self.model.running.len());
        let phase = match (self.model.stopped, self.model.is_done()) {
            (true, _) => Phase::Stopped,
            (false, true) => Phase::Done,
            (false, false) => Phase::Running,
        };
        assert_eq!(self.scheduler.phase(), phase);
        for task in self.scheduler.graph().tasks() {
            if let Some(state) = self.expected_state(task, &ready) {
                assert_eq!(self.scheduler.state(task), state, "{task:?}");
            }
        }
    }

    /// None for what did not start in a run that has stopped: it stays where
    /// it was, and nobody asks.
    fn expected_state(&self, task: TaskId, ready: &[TaskId]) -> Option<TaskState> {
        let model = &self.model;
        Some(if model.released.contains(&task) {
            TaskState::Released
        } else if model.finished.contains(&task) {
            TaskState::Finished
        } else if model.running.contains(&task) {
            TaskState::Running
        } else if model.erred.contains(&task) {
            TaskState::Erred
        } else if model.stopped {
            return None;
        } else if ready.contains(&task) {
            TaskState::Ready
        } else {
            TaskState::Waiting
        })
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn at_any_interleaving((work, rank) in ranked_work(), events in events(80)) {
        let mut both = Both::new(&work, rank);
        for event in &events {
            both.happen(event);
        }
        // Whatever happened: if its tasks end, so does the run.
        while both.scheduler.phase() == Phase::Running {
            both.start();
            let running: Vec<_> = both.model.running.iter().copied().collect();
            let mut released = Vec::new();
            both.scheduler.finish(running[0], &mut released);
            assert_eq!(sorted(released), sorted(both.model.finish(running[0]).1));
            both.check();
        }
    }

    /// What is not running can neither finish nor fail, and being asked to do
    /// so changes nothing.
    #[test]
    fn illegal_transitions_are_refused(
        (work, rank) in ranked_work(), events in events(40)
    ) {
        let mut both = Both::new(&work, rank);
        for event in &events {
            both.happen(event);
        }
        let tasks = work.graph.tasks();
        for task in tasks.filter(|t| !both.model.running.contains(t)) {
            for fails in [false, true] {
                assert!(is_refused(&mut both.scheduler, task, fails), "{task:?}");
                both.check();
            }
        }
        if both.scheduler.phase() != Phase::Running {
            assert_eq!(both.scheduler.start(), None);
            let mut released = Vec::new();
            both.scheduler.stop(&mut released);
            assert!(released.is_empty());
            both.check();
        }
    }
}

fn is_refused(scheduler: &mut Scheduler, task: TaskId, fails: bool) -> bool {
    let attempt = || {
        let mut released = Vec::new();
        if fails {
            scheduler.fail(task, &mut released);
        } else {
            scheduler.finish(task, &mut released);
        }
    };
    quietly(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)).is_err())
}

/// Keeps the panics of this thread out of the output: some hundred are wanted.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    thread_local! {
        static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let value = work();
    QUIET.set(false);
    value
}
