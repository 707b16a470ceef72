//! What the core alone costs a task: the state machine, and the executor with
//! a runner that does nothing. No Python; graph and ranks are made before.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mars::executor::{Caller, Later, Observer, Options, Ran, Run, Runner};
use mars::graph::{TaskGraph, TaskId};
use mars::order::order;
use mars::scheduler::Scheduler;
use mars::testing::graphs::{chain, flat, layered, outputs, tree};
use std::any::Any;
use std::hint::black_box;

const TASKS: usize = 100_000;

/// Runs nothing and keeps nothing.
struct Nothing;

impl Runner for Nothing {
    type Error = ();
    type Token<'t> = ();

    fn attach<T>(&self, work: impl for<'t> FnOnce(Self::Token<'t>) -> T) -> T {
        work(())
    }

    fn thread(&self, (): ()) -> u64 {
        0
    }

    fn breathe(&self, (): ()) {}

    fn run(&self, (): (), task: TaskId, _: Later<'_, Self>) -> Result<Ran, ()> {
        black_box(task);
        Ok(Ran::Finished)
    }

    fn release(&self, (): (), task: TaskId) {
        black_box(task);
    }

    fn panicked(&self, _task: TaskId, _payload: Box<dyn Any + Send>) {}
}

impl Observer for Nothing {
    type Error = ();

    fn starting(&mut self, _: TaskId) -> Result<(), ()> {
        Ok(())
    }

    fn finished(&mut self, _: TaskId, _: u64, _: &[TaskId], _: &[TaskId]) -> Result<(), ()> {
        Ok(())
    }
}

/// A graph ready to run.
struct Shape {
    name: &'static str,
    graph: TaskGraph,
    rank: Vec<u32>,
    requested: Vec<TaskId>,
}

impl Shape {
    fn all() -> Vec<Shape> {
        let graphs = [
            ("flat", flat(TASKS)),
            ("chain", chain(TASKS)),
            ("tree", tree(TASKS)),
            ("layered", layered(TASKS, 100, 3, 1)),
        ];
        let shape = |(name, graph): (&'static str, TaskGraph)| Shape {
            name,
            rank: order(&graph),
            requested: outputs(&graph),
            graph,
        };
        graphs.into_iter().map(shape).collect()
    }

    fn scheduler(&self) -> Scheduler {
        let (graph, rank) = (self.graph.clone(), self.rank.clone());
        Scheduler::new(graph, rank, &[], &self.requested)
    }
}

fn state_machine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler");
    group.throughput(Throughput::Elements(TASKS as u64));
    group.sample_size(20);
    for shape in Shape::all() {
        group.bench_function(shape.name, |bencher| {
            let drive = |mut scheduler: Scheduler| {
                let mut released = Vec::new();
                while let Some(task) = scheduler.start() {
                    released.clear();
                    scheduler.finish(task, &mut released);
                }
                scheduler
            };
            bencher.iter_batched(|| shape.scheduler(), drive, BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn executor(criterion: &mut Criterion) {
    let ways = [
        ("caller alone", 1, Caller::Helps, false),
        ("one worker", 1, Caller::Waits, false),
        ("two workers", 2, Caller::Waits, false),
        ("two workers, observed", 2, Caller::Waits, true),
    ];
    for (way, limit, caller, observed) in ways {
        let mut group = criterion.benchmark_group(way);
        group.throughput(Throughput::Elements(TASKS as u64));
        group.sample_size(10);
        for shape in Shape::all() {
            let options = Options {
                limit,
                caller,
                rerun_on_caller: false,
            };
            group.bench_function(BenchmarkId::from_parameter(shape.name), |bencher| {
                let execute = |run: std::sync::Arc<Run<Nothing>>| {
                    let ended = if observed {
                        run.execute_observed(&mut Nothing, || Ok(()))
                    } else {
                        run.execute(|| Ok(()))
                    };
                    assert!(ended.is_ok());
                    run
                };
                let run = || Run::new(shape.scheduler(), Nothing, options);
                bencher.iter_batched(run, execute, BatchSize::LargeInput);
            });
        }
        group.finish();
    }
}

/// The way there and back for one task: what a tiny graph pays.
fn latency(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one task");
    for (way, caller) in [
        ("caller alone", Caller::Helps),
        ("one worker", Caller::Waits),
    ] {
        let options = Options {
            limit: 1,
            caller,
            rerun_on_caller: false,
        };
        group.bench_function(way, |bencher| {
            bencher.iter(|| {
                let graph = flat(1);
                let rank = order(&graph);
                let scheduler = Scheduler::new(graph, rank, &[], &[TaskId::new(0)]);
                let run = Run::new(scheduler, Nothing, options);
                assert!(run.execute(|| Ok(())).is_ok());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, state_machine, executor, latency);
criterion_main!(benches);
