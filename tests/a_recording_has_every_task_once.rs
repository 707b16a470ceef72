//! Whoever records gets each task once, with the thread that ran it and two
//! moments that fit those of the tasks around it.

mod common;

use common::case::{Case, random_cases};
use common::{LONG, cases, id, within};
use mars::events::{Event, Kind, Recorded, Recording, RunNumber};
use mars::executor::Caller;
use mars::graph::TaskId;
use mars::testing::graphs::{chain, flat};
use mars::testing::{FakeError, What};
use proptest::prelude::*;
use std::collections::HashMap;

/// The tasks of one run; other tests run at the same time.
fn tasks_of(recorded: &Recorded, run: RunNumber) -> Vec<Event> {
    let events = recorded.events.iter();
    events
        .filter(|e| e.run == run && e.kind.is_task())
        .copied()
        .collect()
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn of_any_graph(case in random_cases(60)) {
        within(LONG, move || {
            let recording = Recording::begin(usize::MAX);
            let run = case.prepare(|_| Ok(()));
            let number = run.record().number;
            let outcome = case.finish(run, || Ok(()), usize::MAX);
            recording.stop();
            let events = recording.look(|recorded| tasks_of(recorded, number));

            let mut ran: Vec<TaskId> = events.iter().map(|e| e.task).collect();
            ran.sort_unstable();
            assert_eq!(ran, case.work.to_run());
            assert!(events.iter().all(|e| e.kind == Kind::Finished && e.start <= e.end));

            // Nothing starts before what it needs has ended.
            let by_task: HashMap<_, _> = events.iter().map(|e| (e.task, e)).collect();
            for event in &events {
                for dependency in case.work.graph.dependencies(event.task) {
                    if let Some(needed) = by_task.get(dependency) {
                        assert!(needed.end <= event.start, "{needed:?} {event:?}");
                    }
                }
            }
            // A thread does one thing after the other, and is the one that ran it.
            let mut threads: HashMap<u64, u32> = HashMap::new();
            for done in outcome.record.events().iter().filter(|e| e.what == What::Finished) {
                let lane = by_task[&done.task].lane;
                assert_eq!(*threads.entry(done.thread).or_insert(lane), lane);
            }
            let mut events = events;
            events.sort_unstable_by_key(|e| (e.lane, e.start, e.end));
            for pair in events.windows(2).filter(|pair| pair[0].lane == pair[1].lane) {
                assert!(pair[0].end <= pair[1].start, "{pair:?}");
            }
        });
    }
}

#[test]
fn in_totals_where_there_is_no_room_for_all() {
    within(LONG, || {
        const TASKS: usize = 100_000;
        let recording = Recording::begin(1000);
        let case = Case::new(flat(TASKS), &[], 2, Caller::Waits);
        let run = case.prepare(|_| Ok(()));
        let number = run.record().number;
        assert!(case.finish(run, || Ok(()), usize::MAX).result.is_ok());
        recording.stop();
        recording.look(|recorded| {
            assert!(recorded.events.len() <= 1000);
            assert!(recorded.dropped_below > 0);
            let count: u64 = (recorded.totals.iter())
                .filter(|((run, _), _)| *run == number)
                .map(|(_, total)| total.count)
                .sum();
            assert_eq!(count, TASKS as u64);
            let kept = tasks_of(recorded, number).len() as u64;
            assert!(recorded.dropped + kept >= TASKS as u64);
        });
    });
}

#[test]
fn with_how_it_went() {
    within(LONG, || {
        let recording = Recording::begin(usize::MAX);
        let case = Case::new(chain(3), &[], 1, Caller::Helps);
        let run = case.prepare(|task| match task.index() {
            1 => Err(FakeError::Failed(task)),
            _ => Ok(()),
        });
        let record = run.record().clone();
        assert!(case.finish(run, || Ok(()), usize::MAX).result.is_err());
        let events = recording.look(|recorded| tasks_of(recorded, record.number));
        let went: Vec<_> = events.iter().map(|e| (e.task, e.kind)).collect();
        assert_eq!(went, [(id(0), Kind::Finished), (id(1), Kind::Failed)]);
        assert_eq!((record.finished(), record.total), (1, 3));
        assert!(record.ended().is_some_and(|end| end >= events[1].end));
    });
}

#[test]
fn of_nested_runs_inside_the_task_that_made_them() {
    within(LONG, || {
        let recording = Recording::begin(usize::MAX);
        let inner = Case::new(flat(5), &[], 1, Caller::Helps);
        let case = Case::new(flat(1), &[], 1, Caller::Waits);
        let run = case.prepare(move |_| {
            inner
                .run(|_| Ok(()))
                .result
                .map_err(|_| FakeError::Interrupted)
        });
        let outer = run.record().clone();
        assert!(case.finish(run, || Ok(()), usize::MAX).result.is_ok());
        recording.stop();
        recording.look(|recorded| {
            let around = tasks_of(recorded, outer.number)[0];
            let nested = (recorded.runs.values())
                .find(|r| r.outer == Some(outer.number))
                .unwrap();
            assert!(nested.is_in(outer.number) && !outer.is_in(nested.number));
            let events = tasks_of(recorded, nested.number);
            assert_eq!(events.len(), 5);
            for event in events.iter().filter(|event| event.lane == around.lane) {
                assert!(event.nested && !around.nested);
                assert!(around.start <= event.start && event.end <= around.end);
            }
        });
    });
}

#[test]
fn until_it_is_stopped() {
    within(LONG, || {
        let recording = Recording::begin(usize::MAX);
        recording.stop();
        let case = Case::new(flat(10), &[], 1, Caller::Helps);
        let run = case.prepare(|_| Ok(()));
        let number = run.record().number;
        assert!(case.finish(run, || Ok(()), usize::MAX).result.is_ok());
        recording.stop();
        assert_eq!(
            recording.look(|recorded| tasks_of(recorded, number).len()),
            0
        );
    });
}
