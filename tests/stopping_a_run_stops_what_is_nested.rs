//! A run that was made inside a task stops with the run of that task, however
//! deep it is; its own caller is told that it was cancelled.

mod common;

use common::case::{Case, assert_pool_is_usable};
use common::{Door, LONG, when_a_worker_comes, within};
use mars::executor::{Caller, Ended};
use mars::testing::graphs::{chain, flat};
use mars::testing::{FakeError, What, thread_number};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

// outer 0 ── runs ── middle 0 ── runs ── inner 0 → 1 → 2
//                                        held    never runs
#[test]
fn at_every_depth() {
    fn attempt() -> Option<()> {
        let (begun, go_on) = (Door::default(), Door::default());
        let (begins, waits) = (begun.clone(), go_on.clone());
        let caller = thread_number();
        let cancelled = Arc::new(AtomicUsize::new(0));
        let count = cancelled.clone();
        let outer = Case::new(flat(1), &[], 2, Caller::Waits).prepare(move |_| {
            if thread_number() == caller {
                return Ok(());
            }
            let (begins, waits, inner_count) = (begins.clone(), waits.clone(), count.clone());
            let middle = Case::new(flat(1), &[], 2, Caller::Helps).run(move |_| {
                let (begins, waits) = (begins.clone(), waits.clone());
                let inner = Case::new(chain(3), &[], 2, Caller::Helps).run(move |_| {
                    begins.open();
                    waits.wait();
                    Ok(())
                });
                assert_eq!(inner.record.tasks(What::Started).len(), 1);
                assert!(matches!(inner.result, Err(Ended::Cancelled)));
                inner_count.fetch_add(1, Ordering::SeqCst);
                Ok(())
            });
            assert!(matches!(middle.result, Err(Ended::Cancelled)));
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        let (cancels, begins) = (outer.clone(), begun.clone());
        let other = thread::spawn(move || {
            begun.wait();
            cancels.cancel();
        });
        let result = outer.execute(|| Ok(()));
        if result.is_ok() {
            begins.open();
            other.join().unwrap();
            return None;
        }
        assert!(matches!(result, Err(Ended::Cancelled)));
        assert_eq!(cancelled.load(Ordering::SeqCst), 0);
        go_on.open();
        let record = outer.runner().record();
        drop(outer);
        other.join().unwrap();
        record.wait_until_runner_is_gone();
        assert_eq!(cancelled.load(Ordering::SeqCst), 2);
        assert_pool_is_usable(2);
        Some(())
    }
    within(LONG, || when_a_worker_comes(attempt));
}

/// The run is made after the outer one has stopped: it is stopped at once.
#[test]
fn made_too_late() {
    fn attempt() -> Option<()> {
        let (begun, stopped) = (Door::default(), Door::default());
        let (begins, waits) = (begun.clone(), stopped.clone());
        let caller = thread_number();
        let outer = Case::new(flat(1), &[], 1, Caller::Waits).prepare(move |_| {
            if thread_number() == caller {
                return Ok(());
            }
            begins.open();
            waits.wait();
            let inner = Case::new(chain(2), &[], 1, Caller::Helps).run(|_| Ok(()));
            assert!(matches!(inner.result, Err(Ended::Cancelled)));
            assert!(inner.record.events().is_empty());
            Ok(())
        });
        let result = outer.execute(|| {
            if begun.is_open() {
                return Err(FakeError::Interrupted);
            }
            Ok(())
        });
        if result.is_ok() {
            return None;
        }
        assert!(matches!(result, Err(Ended::Interrupted(_))));
        let record = outer.runner().record();
        drop(outer);
        stopped.open();
        record.wait_until_runner_is_gone();
        assert_eq!(record.tasks(What::Finished).len(), 1);
        Some(())
    }
    within(LONG, || when_a_worker_comes(attempt));
}

/// The error of one task cancels what its sibling has made.
#[test]
fn by_the_error_of_a_sibling() {
    within(LONG, || {
        let begun = Door::default();
        let outer = Case::new(flat(2), &[], 2, Caller::Waits);
        let outcome = outer.run(move |task| {
            if task.index() == 0 {
                begun.wait();
                return Err(FakeError::Failed(task));
            }
            let begins = begun.clone();
            // It ends only because it is stopped.
            let inner = Case::new(chain(1_000_000), &[], 1, Caller::Helps).run(move |_| {
                begins.open();
                Ok(())
            });
            match inner.result {
                Err(Ended::Cancelled) => Ok(()),
                other => panic!("{other:?}"),
            }
        });
        assert!(matches!(outcome.result, Err(Ended::Failed { .. })));
        outcome.record.assert_promises_kept();
    });
}
