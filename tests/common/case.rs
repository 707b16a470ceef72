//! Random graphs, and random ways to run them.

use super::model::Model;
use super::observer::Follower;
use super::options;
use mars::executor::{Caller, Ended, Run};
use mars::graph::{TaskGraph, TaskId};
use mars::order::order;
use mars::scheduler::Scheduler;
use mars::testing::graphs::{flat, graph};
use mars::testing::{FakeError, FakeRunner, Record, What};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::HashMap;
use std::sync::Arc;

/// A graph, and what is known of it and wanted from it.
#[derive(Debug, Clone)]
pub struct Work {
    pub graph: TaskGraph,
    pub known: Vec<TaskId>,
    pub requested: Vec<TaskId>,
}

/// Work, and how to carry it out.
#[derive(Debug, Clone)]
pub struct Case {
    pub work: Work,
    pub limit: usize,
    pub caller: Caller,
    pub observed: bool,
}

/// How tasks lean on earlier ones.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// On nothing.
    Flat,
    /// On the one before, and on others.
    Chain,
    /// On one earlier task: everything grows from one root.
    Spread,
    /// On any earlier tasks.
    Sparse,
    /// On tasks of the layer before, which has this width.
    Layered(usize),
}

impl Shape {
    fn row(self, i: usize, picks: &[Index]) -> Vec<usize> {
        let among = |start: usize, end: usize| {
            let picks = if start < end { picks } else { &[] };
            (picks.iter()).map(move |pick| start + pick.index(end - start))
        };
        match self {
            Shape::Flat => Vec::new(),
            Shape::Chain => i.checked_sub(1).into_iter().chain(among(0, i)).collect(),
            Shape::Spread => among(0, i).take(1).collect(),
            Shape::Sparse => among(0, i).collect(),
            Shape::Layered(width) => {
                let start = (i / width) * width;
                among(start.saturating_sub(width), start).collect()
            }
        }
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        1 => Just(Shape::Flat),
        2 => Just(Shape::Chain),
        2 => Just(Shape::Spread),
        4 => Just(Shape::Sparse),
        4 => (1..7usize).prop_map(Shape::Layered),
    ]
}

/// Acyclic graphs of up to `most` tasks, numbered in any order.
pub fn random_graphs(most: usize) -> impl Strategy<Value = TaskGraph> {
    let rows = (shapes(), vec(vec(any::<Index>(), 0..4), 1..=most)).prop_map(|(shape, picks)| {
        let rows = picks.iter().enumerate();
        rows.map(|(i, picks)| shape.row(i, picks))
            .collect::<Vec<_>>()
    });
    rows.prop_flat_map(|rows| {
        let numbers: Vec<usize> = (0..rows.len()).collect();
        (Just(rows), Just(numbers).prop_shuffle())
    })
    .prop_map(|(rows, number)| {
        let mut renumbered = vec![Vec::new(); rows.len()];
        for (i, row) in rows.iter().enumerate() {
            renumbered[number[i]] = row.iter().map(|d| number[*d]).collect();
        }
        graph(renumbered)
    })
}

/// Random graphs with random tasks asked for. What is known depends on
/// nothing and is needed by somebody, as in a graph that was culled.
pub fn random_work(most: usize) -> impl Strategy<Value = Work> {
    let graphs = random_graphs(most).prop_flat_map(|graph| {
        let n = graph.len();
        let some = |share| vec(prop::bool::weighted(share), n);
        (Just(graph), some(0.3), some(0.3))
    });
    graphs.prop_map(|(graph, known, requested)| {
        let requested: Vec<_> = graph.tasks().filter(|t| requested[t.index()]).collect();
        let may_be_known = |t: &TaskId| {
            graph.dependencies(*t).is_empty()
                && (requested.contains(t) || !graph.dependents(*t).is_empty())
        };
        let known = (graph.tasks().filter(|t| known[t.index()]))
            .filter(may_be_known)
            .collect();
        Work {
            graph,
            known,
            requested,
        }
    })
}

/// Random work, carried out in random ways.
pub fn random_cases(most: usize) -> impl Strategy<Value = Case> {
    let callers = prop_oneof![Just(Caller::Helps), Just(Caller::Waits)];
    (random_work(most), 1..5usize, callers, any::<bool>()).prop_map(
        |(work, limit, caller, observed)| Case {
            work,
            limit,
            caller,
            observed,
        },
    )
}

/// A random case, and one of the tasks that it will run, if there is any.
pub fn random_cases_and_tasks(most: usize) -> impl Strategy<Value = (Case, Option<TaskId>)> {
    (random_cases(most), any::<Index>()).prop_map(|(case, pick)| {
        let tasks = case.work.to_run();
        let task = (!tasks.is_empty()).then(|| *pick.get(&tasks));
        (case, task)
    })
}

/// What became of a run whose every thread has left it.
pub struct Outcome {
    pub result: Result<(), Ended<FakeError>>,
    pub record: Arc<Record>,
    /// How many tasks had been started when the caller was told the end.
    pub started_before_end: usize,
    /// Told to start and not told to have finished; of an observed run.
    pub open: Vec<TaskId>,
    /// The results that were there when the caller was told the end; a worker
    /// may let go of a last one a moment later.
    pub results_at_end: Vec<TaskId>,
}

impl Work {
    pub fn model(&self) -> Model {
        Model::new(&self.graph, &self.known, &self.requested)
    }

    /// The tasks whose results do not exist yet.
    pub fn to_run(&self) -> Vec<TaskId> {
        let tasks = self.graph.tasks();
        tasks.filter(|t| !self.known.contains(t)).collect()
    }

    pub fn scheduler(&self) -> Scheduler {
        let rank = order(&self.graph);
        Scheduler::new(self.graph.clone(), rank, &self.known, &self.requested)
    }

    pub fn runner(
        &self,
        body: impl Fn(TaskId) -> Result<(), FakeError> + Send + Sync + 'static,
    ) -> FakeRunner {
        FakeRunner::new(&self.graph, &self.known, body)
    }
}

impl Case {
    pub fn new(graph: TaskGraph, requested: &[TaskId], limit: usize, caller: Caller) -> Self {
        let work = Work {
            graph,
            known: Vec::new(),
            requested: requested.to_vec(),
        };
        Case {
            work,
            limit,
            caller,
            observed: false,
        }
    }

    /// A run that has not begun.
    pub fn prepare(
        &self,
        body: impl Fn(TaskId) -> Result<(), FakeError> + Send + Sync + 'static,
    ) -> Arc<Run<FakeRunner>> {
        let options = options(self.limit, self.caller);
        Run::new(self.work.scheduler(), self.work.runner(body), options)
    }

    /// Carries out `run` and waits until its last thread has left it.
    pub fn finish(
        &self,
        run: Arc<Run<FakeRunner>>,
        mut poll: impl FnMut() -> Result<(), FakeError>,
        patience: usize,
    ) -> Outcome {
        let record = run.runner().record();
        let mut follower = Follower::new(self.work.model());
        follower.patience = patience;
        let result = if self.observed {
            run.execute_observed(&mut follower, &mut poll)
        } else {
            run.execute(&mut poll)
        };
        let started_before_end = record.tasks(What::Started).len();
        let results_at_end = record.results();
        drop(run);
        record.wait_until_runner_is_gone();
        Outcome {
            result,
            started_before_end,
            open: follower.open(),
            results_at_end,
            record,
        }
    }

    /// Runs every task with `body`.
    pub fn run(
        &self,
        body: impl Fn(TaskId) -> Result<(), FakeError> + Send + Sync + 'static,
    ) -> Outcome {
        self.finish(self.prepare(body), || Ok(()), usize::MAX)
    }
}

impl Outcome {
    /// After a stop nobody starts a task but those who were about to, and of
    /// the results only those stay that were being read or made.
    pub fn assert_stopped(&self, case: &Case, about_to_start: usize) {
        self.record.assert_promises_kept();
        let started = self.record.tasks(What::Started).len();
        assert!(started <= self.started_before_end + about_to_start);
        let in_hand = if case.observed {
            self.open.clone()
        } else {
            self.last_of_each_thread()
        };
        let graph = &case.work.graph;
        let stays = |t: &TaskId| {
            in_hand
                .iter()
                .any(|h| h == t || graph.dependencies(*h).contains(t))
        };
        let results = self.record.results();
        let forgotten: Vec<_> = results.iter().filter(|t| !stays(t)).collect();
        assert!(
            forgotten.is_empty(),
            "{forgotten:?} of {:#?}",
            self.record.events()
        );
        assert_pool_is_usable(case.limit);
    }

    /// What each thread finished last, if it did not fail: all that can have
    /// been running when the run stopped.
    fn last_of_each_thread(&self) -> Vec<TaskId> {
        let mut last = HashMap::new();
        for event in self.record.events() {
            if matches!(event.what, What::Finished | What::Failed) {
                last.insert(event.thread, event);
            }
        }
        let last = last
            .into_values()
            .filter(|event| event.what == What::Finished);
        last.map(|event| event.task).collect()
    }
}

/// The pool still works: a run with as many tasks as threads succeeds.
pub fn assert_pool_is_usable(limit: usize) {
    let next = Case::new(flat(limit), &[], limit, Caller::Waits);
    let outcome = next.run(|_| Ok(()));
    assert!(outcome.result.is_ok());
    outcome.record.assert_promises_kept();
}
