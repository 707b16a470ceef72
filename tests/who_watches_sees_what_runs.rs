//! What runs now, since when, and how far runs are can be seen from outside at any
//! time, and is gone when it has ended. One test at a time: all runs are counted.

mod common;

use common::case::Case;
use common::{Door, LONG, id, within};
use mars::events::{Counts, Stamp, Watch, lanes, live};
use mars::executor::Caller;
use mars::testing::FakeError;
use mars::testing::graphs::{chain, flat, graph};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

fn alone(test: impl FnOnce() + Send + 'static) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    within(LONG, test);
}

fn counts(finished: u64, total: u64, live: usize) -> Counts {
    Counts {
        finished,
        total,
        live,
    }
}

#[test]
fn of_a_run_that_goes_on() {
    alone(|| {
        let watch = Watch::from_now_on();
        let (begun, go_on) = (Door::default(), Door::default());
        let case = Case::new(chain(3), &[], 1, Caller::Waits);
        let run = case.prepare({
            let (begun, go_on) = (begun.clone(), go_on.clone());
            move |task| {
                if task == id(1) {
                    begun.open();
                    go_on.wait();
                }
                Ok(())
            }
        });
        let number = run.record().number;
        let before = Stamp::now();
        let runs = thread::spawn(move || case.finish(run, || Ok(()), usize::MAX));
        begun.wait();
        assert_eq!(watch.counts(), counts(1, 3, 1));
        let seen: Vec<_> = (lanes().iter().flat_map(|lane| lane.doing()))
            .filter(|doing| doing.run == number)
            .collect();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].task, Some(id(1)));
        assert!(before <= seen[0].since && seen[0].since <= Stamp::now());
        let standing = live()
            .iter()
            .find(|run| run.record().number == number)
            .unwrap()
            .standing();
        assert_eq!((standing.finished, standing.ready), (1, 0));
        assert!(!standing.stopping && !standing.holds);
        go_on.open();
        assert!(runs.join().unwrap().result.is_ok());
        assert_eq!(watch.counts(), counts(3, 3, 0));
        assert!(live().iter().all(|run| run.record().number != number));
        assert!(
            lanes()
                .iter()
                .flat_map(|lane| lane.doing())
                .all(|doing| doing.run != number)
        );
    });
}

#[test]
fn of_failed_runs_what_is_true() {
    alone(|| {
        let watch = Watch::from_now_on();
        let case = Case::new(chain(5), &[], 1, Caller::Waits);
        let outcome = case.run(|task| match task.index() {
            2 => Err(FakeError::Failed(task)),
            _ => Ok(()),
        });
        assert!(outcome.result.is_err());
        assert_eq!(watch.counts(), counts(2, 5, 0));
        // Known results are not counted as work.
        let mut case = Case::new(chain(5), &[id(4)], 1, Caller::Waits);
        case.work.known = vec![id(0)];
        assert!(case.run(|_| Ok(())).result.is_ok());
        assert_eq!(watch.counts(), counts(6, 9, 0));
    });
}

#[test]
fn of_one_run_with_what_is_nested_in_it() {
    alone(|| {
        let inner = Case::new(flat(4), &[], 2, Caller::Helps);
        let case = Case::new(flat(3), &[], 2, Caller::Waits);
        let run = case.prepare(move |_| {
            inner
                .run(|_| Ok(()))
                .result
                .map_err(|_| FakeError::Interrupted)
        });
        let watch = Watch::of(run.record());
        assert_eq!(watch.counts(), counts(0, 3, 1));
        Case::new(flat(7), &[], 2, Caller::Waits).run(|_| Ok(())); // not its own
        let record = run.record().clone();
        assert!(case.finish(run, || Ok(()), usize::MAX).result.is_ok());
        assert_eq!(watch.counts(), counts(15, 15, 0));
        // Whoever comes later still learns how it ended.
        assert_eq!(Watch::of(&record).counts(), counts(3, 3, 0));
    });
}

#[test]
fn of_places_for_workers_what_became_of_them() {
    alone(|| {
        // One task at a time can run, in a place for three.
        let case = Case::new(chain(2), &[], 3, Caller::Waits);
        let long = Arc::new(Mutex::new(0));
        let took = long.clone();
        let run = case.prepare(move |_| {
            let begin = Stamp::now();
            while Stamp::now().seconds_since(begin) < 5e-3 {
                std::hint::spin_loop();
            }
            *took.lock().unwrap() += Stamp::now().ticks_since(begin);
            Ok(())
        });
        let record = run.record().clone();
        assert!(case.finish(run, || Ok(()), usize::MAX).result.is_ok());
        let wall = record.ended().unwrap().ticks_since(record.begun);
        let empty = record.places.nothing_ready.load(Ordering::Relaxed);
        assert!(
            empty >= 2 * *long.lock().unwrap() && empty <= 3 * wall,
            "{empty} {wall}"
        );
        assert_eq!(record.places.held.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn of_places_that_wait_for_one_task_that_many_need() {
    alone(|| {
        //     0
        //  / | | \
        //  1 2 3 4      in places for four
        let fan = graph(vec![vec![], vec![0], vec![0], vec![0], vec![0]]);
        let case = Case::new(fan, &[], 4, Caller::Waits);
        let long = Arc::new(Mutex::new(0));
        let took = long.clone();
        let run = case.prepare(move |task| {
            let begin = Stamp::now();
            while task == id(0) && Stamp::now().seconds_since(begin) < 5e-3 {
                std::hint::spin_loop();
            }
            *took.lock().unwrap() += Stamp::now().ticks_since(begin);
            Ok(())
        });
        let record = run.record().clone();
        assert!(case.finish(run, || Ok(()), usize::MAX).result.is_ok());
        let empty = record.places.nothing_ready.load(Ordering::Relaxed);
        assert!(empty >= 5 * *long.lock().unwrap() / 2, "{empty}"); // three places, all that time
    });
}
