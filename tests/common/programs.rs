//! Programs that compute under one memory limit, in every way there is.

use super::case::{Work, random_work};
use super::limited::Limited;
use mars::executor::{Caller, Ended, Options, Promise, Ran};
use mars::graph::TaskId;
use mars::testing::graphs::flat;
use mars::testing::{FakeError, FakeMemory, FakeResult, LimitedRunner, Writing};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

const GROUPS: usize = 4;

/// Threads that compute at the same time, with one account.
#[derive(Debug, Clone)]
pub struct Program {
    pub limit: u64,
    /// How many bytes the disk takes.
    pub disk: u64,
    /// Whether something was computed before, so that sizes are known.
    pub sizes_are_known: bool,
    pub callers: Vec<Part>,
}

/// A graph, and how it is run.
#[derive(Debug, Clone)]
pub struct Part {
    pub work: Work,
    pub results: Vec<FakeResult>,
    pub groups: Vec<usize>,
    pub does: Vec<Does>,
    pub options: Options,
    pub observed: bool,
}

/// What a task does beside making its result.
#[derive(Debug, Clone)]
pub enum Does {
    Nothing,
    /// Its result is promised, and delivered by another thread.
    IsPromised,
    /// Another thread lets it run a second time.
    RunsAgain,
    /// Computes this part, within.
    Nests(Box<Part>),
    Fails,
    Panics,
    /// Cancels the run that it is in.
    Cancels,
}

fn results() -> impl Strategy<Value = FakeResult> {
    let own = prop_oneof![
        2 => Just(0),
        2 => 1..8 * 1024u64,
        6 => 8 * 1024..64 * 1024u64,
        1 => Just(2 << 20),
    ];
    // What is shared is of one size, whoever shares it.
    let shared = (0..3u64).prop_map(|owner| (owner, [400, 20_000, 70_000][owner as usize]));
    let writing = prop_oneof![
        8 => Just(Writing::Works),
        1 => Just(Writing::WorksLater),
        1 => Just(Writing::Fails),
    ];
    (own, prop::option::weighted(0.2, shared), writing).prop_map(|(own, shared, writing)| {
        FakeResult {
            own,
            shared,
            writing,
        }
    })
}

/// `harm` says how likely it is that something goes wrong on purpose.
fn does(depth: u32, harm: u32) -> BoxedStrategy<Does> {
    let plain = prop_oneof![
        40 => Just(Does::Nothing),
        6 => Just(Does::IsPromised),
        4 => Just(Does::RunsAgain),
        harm => prop_oneof![Just(Does::Fails), Just(Does::Panics), Just(Does::Cancels)],
    ];
    if depth == 0 {
        return plain.boxed();
    }
    let nested = parts(5, depth - 1, harm).prop_map(|part| Does::Nests(Box::new(part)));
    prop_oneof![12 => plain, 1 => nested].boxed()
}

fn parts(most: usize, depth: u32, harm: u32) -> BoxedStrategy<Part> {
    let work = random_work(most).prop_flat_map(move |work| {
        let n = work.graph.len();
        let tasks = (
            vec(results(), n),
            vec(0..GROUPS, n),
            vec(does(depth, harm), n),
        );
        (Just(work), tasks)
    });
    let callers = prop_oneof![Just(Caller::Helps), Just(Caller::Waits)];
    let ways = (1..5usize, callers, any::<bool>(), any::<bool>());
    (work, ways)
        .prop_map(
            |((work, (results, groups, does)), (limit, caller, observed, rerun))| Part {
                work,
                results,
                groups,
                does,
                options: Options {
                    limit,
                    caller,
                    rerun_on_caller: rerun,
                },
                observed,
            },
        )
        .boxed()
}

/// Random programs with up to `callers` callers. `harm` is how likely tasks fail.
pub fn random_programs(most: usize, callers: usize, harm: u32) -> impl Strategy<Value = Program> {
    let limits = prop_oneof![
        1 => Just(1),
        2 => 1..50_000u64,
        4 => 50_000..400_000u64,
        1 => Just(1 << 40),
    ];
    let callers = vec(parts(most, 1, harm), 1..=callers);
    (limits, any::<bool>(), callers).prop_map(|(limit, sizes_are_known, callers)| Program {
        limit,
        disk: u64::MAX,
        sizes_are_known,
        callers,
    })
}

impl Part {
    fn largest_of(&self, group: usize) -> u64 {
        let results = self.results.iter().zip(&self.groups).zip(&self.does);
        let sizes = results.map(|((result, of), does)| {
            let own = if *of == group { result.total() } else { 0 };
            match does {
                Does::Nests(part) => own.max(part.largest_of(group)),
                _ => own,
            }
        });
        sizes.max().unwrap_or(0)
    }

    fn largest(&self) -> u64 {
        self.results
            .iter()
            .map(FakeResult::total)
            .max()
            .unwrap_or(0)
    }

    /// The bytes that may come on top of the limit while it runs.
    fn on_top(&self) -> u64 {
        let bytes = |tasks: &[TaskId]| -> u64 {
            let results = tasks.iter().map(|task| self.results[task.index()].total());
            results.sum()
        };
        let graph = &self.work.graph;
        let reads = graph.tasks().map(|task| bytes(graph.dependencies(task)));
        let nested = self.does.iter().map(|does| match does {
            Does::Nests(part) => part.on_top(),
            _ => 0,
        });
        let a_task = self.largest() + reads.max().unwrap_or(0) + nested.max().unwrap_or(0);
        let stays = graph.tasks().filter(|task| {
            let promised = matches!(self.does[task.index()], Does::IsPromised);
            promised || self.work.known.contains(task) || !self.results[task.index()].may_leave()
        });
        let stays: Vec<_> = stays.collect();
        self.options.limit as u64 * a_task + bytes(&stays)
    }

    /// Whether it need not come to a good end, because of a task of its own.
    fn may_fail(&self, limit: u64) -> bool {
        let requested: HashSet<_> = self.work.requested.iter().collect();
        let requested = requested
            .iter()
            .map(|task| self.results[task.index()].total());
        let fails = |does: &Does| matches!(does, Does::Fails | Does::Panics | Does::Cancels);
        requested.sum::<u64>() > limit || self.does.iter().any(fails)
    }

    fn limited(&self, memory: &Arc<FakeMemory>) -> Limited {
        let mut limited = Limited::new(self.work.graph.clone(), &vec![0; self.results.len()]);
        limited.requested = self.work.requested.clone();
        let known = self.work.known.iter();
        let known = known.map(|task| {
            (
                *task,
                memory.keep(*task, self.results[task.index()].clone()),
            )
        });
        limited.known = known.collect();
        limited.results = self.results.clone();
        limited.prefixes = self.groups.iter().map(usize::to_string).collect();
        limited.options = self.options;
        limited.observed = self.observed;
        limited
    }

    /// Runs it, and checks what came of it. `outer` may stop it.
    fn run(&self, memory: &Arc<FakeMemory>, send: &Settler, outer: bool) {
        let limited = self.limited(memory);
        let (does, within, settler) = (self.does.clone(), memory.clone(), send.clone());
        let repeated = Mutex::new(HashSet::new());
        let may_fail = outer || self.may_fail(memory.account().limit());
        let run = limited.prepare_promising(memory, move |task, later, reading| {
            thread::yield_now();
            match &does[task.index()] {
                Does::Nothing => {}
                Does::IsPromised => {
                    drop(reading);
                    settler.send((later.promise(), Keep::Settles));
                    return Ok(Ran::Promised);
                }
                Does::RunsAgain => {
                    if repeated.lock().unwrap().insert(task) {
                        drop(reading);
                        settler.send((later.promise(), Keep::Repeats));
                        return Ok(Ran::Promised);
                    }
                }
                Does::Nests(part) => part.run(&within, &settler, may_fail),
                Does::Fails => return Err(FakeError::Failed(task)),
                Does::Panics => std::panic::resume_unwind(Box::new(())),
                Does::Cancels => later.run().cancel(),
            }
            Ok(Ran::Finished)
        });
        let record = run.runner().record();
        let result = limited.execute(&run);
        drop(run);
        record.wait_until_runner_is_gone();
        record.assert_promises_kept();
        match result {
            Ok(()) => {}
            Err(Ended::Failed {
                error: FakeError::DoesNotFit(bytes),
                ..
            }) => assert!(bytes > memory.account().limit()),
            Err(error) => assert!(may_fail, "{error:?}"),
        }
    }
}

/// How a promise is kept.
#[derive(Debug, Clone, Copy)]
enum Keep {
    Settles,
    Repeats,
}

/// Keeps promises on a thread of its own.
#[derive(Clone)]
struct Settler(mpsc::Sender<(Promise<LimitedRunner>, Keep)>);

impl Settler {
    fn new() -> Self {
        let (send, receive) = mpsc::channel::<(Promise<LimitedRunner>, Keep)>();
        thread::spawn(move || {
            for (promise, keep) in receive {
                match keep {
                    Keep::Repeats => promise.again(),
                    Keep::Settles => {
                        if let Some(run) = promise.run() {
                            run.runner().deliver(promise.task());
                        }
                        promise.settle(Ok(()));
                    }
                }
            }
        });
        Settler(send)
    }

    fn send(&self, promise: (Promise<LimitedRunner>, Keep)) {
        self.0.send(promise).unwrap();
    }
}

impl Program {
    /// Runs all parts at the same time, and then one that must succeed.
    pub fn run(&self) {
        let memory = FakeMemory::new(self.limit);
        if self.sizes_are_known {
            self.learn(&memory);
        }
        memory.set_disk(self.disk);
        let send = Settler::new();
        let fails = self.disk < u64::MAX;
        thread::scope(|scope| {
            for part in &self.callers {
                scope.spawn(|| part.run(&memory, &send, fails));
            }
        });
        memory.assert_empty();
        if self.sizes_are_known {
            let on_top: u64 = self.callers.iter().map(Part::on_top).sum();
            let (peak, limit) = (memory.peak(), self.limit);
            assert!(peak <= limit + on_top, "{peak} > {limit} + {on_top}");
        }
        // Whatever happened, the account is as good as new.
        memory.set_disk(u64::MAX);
        let after = Limited::new(flat(5), &[30_000; 5]);
        assert!(after.run(&memory, |_| Ok(())).0.is_ok());
        memory.assert_empty();
    }

    /// Lets the account know how large a result of each group may be.
    fn learn(&self, memory: &Arc<FakeMemory>) {
        let largest =
            (0..GROUPS).map(|group| self.callers.iter().map(|p| p.largest_of(group)).max());
        let largest: Vec<u64> = largest.map(|bytes| bytes.unwrap_or(0)).collect();
        let mut first = Limited::new(flat(GROUPS), &largest);
        first.prefixes = (0..GROUPS).map(|group| group.to_string()).collect();
        assert!(first.run(memory, |_| Ok(())).0.is_ok());
    }
}
