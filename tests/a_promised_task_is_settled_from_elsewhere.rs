//! A runner may promise a result: its thread goes on, and the run waits.

mod common;

use common::case::{Case, assert_pool_is_usable};
use common::{LONG, within};
use mars::executor::{Caller, Ended, Later, Options, Promise, Ran, Run};
use mars::graph::TaskId;
use mars::order::order;
use mars::scheduler::Scheduler;
use mars::testing::graphs::{diamonds, graph};
use mars::testing::{FakeError, FakeRunner, What};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

fn id(i: usize) -> TaskId {
    TaskId::new(i)
}

fn prepare(
    graph: &mars::graph::TaskGraph,
    requested: &[TaskId],
    caller: Caller,
    body: impl Fn(TaskId, Later<'_, FakeRunner>) -> Result<Ran, FakeError> + Send + Sync + 'static,
) -> Arc<Run<FakeRunner>> {
    let scheduler = Scheduler::new(graph.clone(), order(graph), &[], requested);
    let options = Options {
        limit: 1,
        caller,
        rerun_on_caller: false,
    };
    Run::new(scheduler, FakeRunner::promising(graph, &[], body), options)
}

/// Settles what it is sent, from a thread of its own.
fn settler(
    result: impl Fn(TaskId) -> Result<(), FakeError> + Send + 'static,
) -> mpsc::Sender<Promise<FakeRunner>> {
    let (send, receive) = mpsc::channel::<Promise<FakeRunner>>();
    thread::spawn(move || {
        for promise in receive {
            let result = result(promise.task());
            if result.is_ok()
                && let Some(run) = promise.run()
            {
                run.runner().deliver(promise.task());
            }
            promise.settle(result);
        }
    });
    send
}

#[test]
fn dependents_wait_for_it_and_others_do_not() {
    // 0   1
    //  \ / \
    //   2   3      1 is promised, and settled only when 0 has run.
    //    \ /
    //     4
    for caller in [Caller::Waits, Caller::Helps] {
        within(LONG, move || {
            let kept = Mutex::new(None::<Promise<FakeRunner>>);
            let (zero, promised) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let settles = Mutex::new(settler(|_| Ok(())));
            let send = move |promise| settles.lock().unwrap().send(promise).unwrap();
            let run = prepare(&diamonds(), &[id(4)], caller, move |task, later| {
                if task == id(0) {
                    zero.store(1, Ordering::SeqCst);
                    if let Some(promise) = kept.lock().unwrap().take() {
                        send(promise);
                    }
                }
                if task != id(1) {
                    return Ok(Ran::Finished);
                }
                promised.store(1, Ordering::SeqCst);
                let promise = later.promise();
                if zero.load(Ordering::SeqCst) == 1 {
                    send(promise);
                } else {
                    *kept.lock().unwrap() = Some(promise);
                }
                Ok(Ran::Promised)
            });
            assert!(run.execute(|| Ok(())).is_ok());
            let record = run.runner().record();
            record.assert_promises_kept();
            assert_eq!(record.tasks(What::Promised), [id(1)]);
            assert_eq!(record.tasks(What::Finished).len(), 5);
            assert_eq!(run.counts(), (5, 5));
        });
    }
}

#[test]
fn it_may_fail() {
    within(LONG, || {
        let send = Mutex::new(settler(|task| Err(FakeError::Failed(task))));
        let run = prepare(&diamonds(), &[id(4)], Caller::Waits, move |task, later| {
            if task != id(1) {
                return Ok(Ran::Finished);
            }
            send.lock().unwrap().send(later.promise()).unwrap();
            Ok(Ran::Promised)
        });
        let Err(Ended::Failed { task, error, .. }) = run.execute(|| Ok(())) else {
            panic!("the run should have failed");
        };
        assert_eq!((task, error), (id(1), FakeError::Failed(id(1))));
        run.runner().record().assert_promises_kept();
        assert_pool_is_usable(2);
    });
}

#[test]
fn it_may_be_run_again_after_a_while() {
    within(LONG, || {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = runs.clone();
        let scheduler = Scheduler::new(diamonds(), order(&diamonds()), &[], &[id(4)]);
        let runner = FakeRunner::promising(&diamonds(), &[], move |task, later| {
            if task != id(1) || counted.fetch_add(1, Ordering::SeqCst) == 3 {
                return Ok(Ran::Finished);
            }
            later.promise().again_after(Duration::from_millis(1));
            Ok(Ran::Promised)
        })
        .allowing_runs(4);
        let options = Options {
            limit: 1,
            caller: Caller::Waits,
            rerun_on_caller: false,
        };
        let run = Run::new(scheduler, runner, options);
        assert!(run.execute(|| Ok(())).is_ok());
        assert_eq!(runs.load(Ordering::SeqCst), 4);
        run.runner().record().assert_promises_kept();
    });
}

#[test]
fn a_stopped_run_does_not_wait_for_it() {
    within(LONG, || {
        let kept = Arc::new(Mutex::new(None));
        let keeps = kept.clone();
        let (said, heard) = mpsc::channel();
        let said = Mutex::new(said);
        let run = prepare(&graph([[]; 1]), &[id(0)], Caller::Waits, move |_, later| {
            *keeps.lock().unwrap() = Some(later.promise());
            said.lock().unwrap().send(()).unwrap();
            Ok(Ran::Promised)
        });
        let cancels = run.clone();
        let other = thread::spawn(move || {
            heard.recv().unwrap();
            cancels.cancel();
        });
        assert!(matches!(run.execute(|| Ok(())), Err(Ended::Cancelled)));
        other.join().unwrap();
        // Settled too late, which harms nobody.
        kept.lock().unwrap().take().unwrap().settle(Ok(()));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is promised, and however it is settled, each task finishes once.
    #[test]
    fn random_graphs_with_random_promises_run_to_the_end(
        rows in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..40),
        promised in any::<u64>(),
        helps in any::<bool>(),
    ) {
        let rows: Vec<Vec<usize>> = rows.iter().enumerate()
            .map(|(i, row)| if i == 0 { vec![] } else { row.iter().map(|p| p.index(i)).collect() })
            .collect();
        let graph = graph(&rows);
        let caller = if helps { Caller::Helps } else { Caller::Waits };
        let finished = within(LONG, move || {
            let send = Mutex::new(settler(|_| Ok(())));
            let requested = mars::testing::graphs::outputs(&graph);
            let run = prepare(&graph, &requested, caller, move |task, later| {
                if promised >> (task.index() % 64) & 1 == 0 {
                    return Ok(Ran::Finished);
                }
                send.lock().unwrap().send(later.promise()).unwrap();
                Ok(Ran::Promised)
            });
            assert!(run.execute(|| Ok(())).is_ok());
            let record = run.runner().record();
            record.assert_promises_kept();
            record.tasks(What::Finished).len()
        });
        prop_assert_eq!(finished, rows.len());
    }
}

#[test]
fn a_case_without_promises_is_as_before() {
    let outcome = Case::new(diamonds(), &[id(4)], 2, Caller::Waits).run(|_| Ok(()));
    outcome.record.assert_promises_kept();
    assert!(outcome.record.tasks(What::Promised).is_empty());
}
