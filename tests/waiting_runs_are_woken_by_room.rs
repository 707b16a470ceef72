//! A run whose tasks wait for memory goes on as soon as there is some, whoever made it:
//! another run, or whoever let go of a result that no run needed.

mod common;

use common::limited::Limited;
use common::{Door, LONG, id, ids, within};
use mars::executor::{Caller, Run};
use mars::testing::graphs::{diamonds, flat};
use mars::testing::{FakeError, FakeMemory, FakeResult, LimitedRunner, Writing};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// What an output takes, except where it is said to take nothing.
const LARGE: u64 = 60_000;

/// A memory that knows what outputs take; and workers for all tasks that wait.
fn memory(limit: u64) -> Arc<FakeMemory> {
    let memory = FakeMemory::new(limit);
    let mut first = Limited::new(flat(2), &[0, LARGE]);
    first.options = common::options(4, Caller::Waits);
    assert!(first.run(&memory, |_| Ok(())).0.is_ok());
    memory
}

/// Tests one after the other: their tasks wait for each other, on the same workers.
fn alone(test: impl FnOnce() + Send + 'static) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    within(LONG, test);
}

fn held_by_nobody(memory: &Arc<FakeMemory>, bytes: u64) -> Arc<mars::testing::FakeCell> {
    let result = FakeResult {
        writing: Writing::Fails,
        ..FakeResult::of(bytes)
    };
    memory.keep(id(0), result)
}

/// A run of `0  1  2` by two workers. Task 1 goes on when 2 has started as well, which
/// waits for memory when this returns.
fn waiting(memory: &Arc<FakeMemory>, observed: bool) -> JoinHandle<()> {
    let mut limited = Limited::new(flat(3), &[0, LARGE, LARGE]);
    limited.ranks = vec![0, 1, 2];
    limited.requested = vec![id(0)];
    limited.options = common::options(2, Caller::Waits);
    limited.observed = observed;
    let (first, second) = (Door::default(), Door::default());
    let run: Arc<Run<LimitedRunner>> = limited.prepare(memory, move |task| {
        if task == id(0) {
            first.wait();
        } else if task == id(1) {
            first.open();
            second.wait();
        } else {
            second.open();
        }
        Ok(())
    });
    let runs = run.clone();
    let thread = thread::spawn(move || assert!(limited.execute(&runs).is_ok()));
    // Who settles the first task sees at once that the last one has to wait.
    while run.counts().0 == 0 {
        thread::yield_now();
    }
    assert_eq!(run.counts().0, 1);
    thread
}

#[test]
fn when_an_idle_result_goes() {
    alone(|| {
        let memory = memory(3 * LARGE - 1);
        let idle = held_by_nobody(&memory, LARGE);
        let run = waiting(&memory, false);
        drop(idle);
        run.join().unwrap();
        memory.assert_empty();
    });
}

#[test]
fn when_an_idle_result_goes_and_the_run_is_observed() {
    alone(|| {
        // It may be gone before the caller comes to look for room.
        for _ in 0..50 {
            let memory = memory(3 * LARGE - 1);
            let idle = held_by_nobody(&memory, LARGE);
            let run = waiting(&memory, true);
            drop(idle);
            run.join().unwrap();
            memory.assert_empty();
        }
    });
}

/// A task of another run that has a place for its output until it ends.
fn other(
    memory: &Arc<FakeMemory>,
    result: Result<(), FakeError>,
    bytes: u64,
) -> (JoinHandle<()>, Door) {
    let mut limited = Limited::new(flat(1), &[LARGE]);
    limited.results[0] = FakeResult::of(bytes);
    let (inside, leave) = (Door::default(), Door::default());
    let (opens, waits, within) = (inside.clone(), leave.clone(), memory.clone());
    let thread = thread::spawn(move || {
        let ended = result.clone();
        let (ended, _) = limited.run(&within, move |_| {
            opens.open();
            waits.wait();
            ended.clone()
        });
        assert_eq!(ended.is_ok(), result.is_ok());
    });
    inside.wait();
    (thread, leave)
}

#[test]
fn when_another_run_releases_a_result() {
    alone(|| {
        let memory = memory(3 * LARGE - 1);
        let (other, leave) = other(&memory, Ok(()), LARGE);
        let run = waiting(&memory, false);
        leave.open();
        run.join().unwrap();
        other.join().unwrap();
        memory.assert_empty();
    });
}

#[test]
fn when_a_task_of_another_run_made_less_than_expected() {
    alone(|| {
        let memory = memory(3 * LARGE - 1);
        let (other, leave) = other(&memory, Ok(()), 0);
        let run = waiting(&memory, false);
        leave.open();
        run.join().unwrap();
        other.join().unwrap();
        memory.assert_empty();
    });
}

#[test]
fn when_a_task_of_another_run_fails() {
    alone(|| {
        let memory = memory(3 * LARGE - 1);
        let (other, leave) = other(&memory, Err(FakeError::Failed(id(0))), LARGE);
        let run = waiting(&memory, false);
        leave.open();
        run.join().unwrap();
        other.join().unwrap();
        memory.assert_empty();
    });
}

/// Nothing of the run is under way, and what it waits for is being written by another.
#[test]
fn when_another_run_has_written_a_result() {
    alone(|| {
        for observed in [false, true] {
            let memory = memory(LARGE);
            let threads = (0..4).map(|_| {
                let memory = memory.clone();
                thread::spawn(move || {
                    let mut limited = Limited::new(diamonds(), &[LARGE; 5]);
                    limited.requested = ids([4]).to_vec();
                    limited.observed = observed;
                    for _ in 0..10 {
                        assert!(limited.run(&memory, |_| Ok(())).0.is_ok());
                    }
                })
            });
            for thread in threads.collect::<Vec<_>>() {
                thread.join().unwrap();
            }
            memory.assert_empty();
        }
    });
}
