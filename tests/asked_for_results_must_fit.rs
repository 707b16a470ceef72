//! Asked-for results are in memory all at once in the end. A run of which they do not fit
//! says so as soon as it can be told, once, and fails when it is certain.

mod common;

use common::limited::Limited;
use common::{LONG, within};
use mars::executor::{Caller, Ended, Ran};
use mars::testing::graphs::{chain, flat};
use mars::testing::{FakeError, FakeMemory, What};
use std::sync::mpsc;
use std::thread;

fn all_asked_for(tasks: usize, bytes: u64) -> Limited {
    let mut limited = Limited::new(flat(tasks), &vec![bytes; tasks]);
    limited.requested = limited.graph.tasks().collect();
    limited
}

#[test]
fn or_the_run_is_told_once_and_then_fails() {
    within(LONG, || {
        for observed in [false, true] {
            let memory = FakeMemory::new(100_000);
            let mut limited = all_asked_for(10, 20_000);
            limited.observed = observed;
            let run = limited.prepare(&memory, |_| Ok(()));
            let (record, told) = (run.runner().record(), run.runner().told());
            let Err(Ended::Failed { error, .. }) = limited.execute(&run) else {
                panic!("the run should have failed");
            };
            assert_eq!(error, FakeError::DoesNotFit(120_000));
            assert_eq!(record.tasks(What::Started).len(), 6);
            assert_eq!(*told.lock().unwrap(), [200_000]);
            drop(run);
            record.wait_until_runner_is_gone();
            memory.assert_empty();
        }
    });
}

#[test]
fn the_last_byte_counts() {
    within(LONG, || {
        let memory = FakeMemory::new(100_000);
        assert!(all_asked_for(5, 20_000).run(&memory, |_| Ok(())).0.is_ok());
        let (result, record) = all_asked_for(5, 20_001).run(&memory, |_| Ok(()));
        assert!(matches!(result, Err(Ended::Failed { .. })));
        assert_eq!(record.tasks(What::Finished).len(), 5, "until it is certain");
        memory.assert_empty();
    });
}

#[test]
fn shared_memory_counts_once() {
    within(LONG, || {
        let memory = FakeMemory::new(300_000);
        let mut limited = all_asked_for(10, 100);
        for result in &mut limited.results {
            result.shared = Some((1, 90_000));
        }
        let (result, record) = limited.run(&memory, |_| Ok(()));
        assert!(result.is_ok());
        assert_eq!(record.peak(), 10);
        assert_eq!((memory.peak(), memory.moves()), (91_000, vec![]));
        memory.assert_empty();
    });
}

#[test]
fn what_is_not_asked_for_need_not() {
    within(LONG, || {
        let memory = FakeMemory::new(50_000);
        let limited = Limited::new(chain(10), &[20_000; 10]);
        let run = limited.prepare(&memory, |_| Ok(()));
        let told = run.runner().told();
        assert!(limited.execute(&run).is_ok());
        assert!(told.lock().unwrap().is_empty());
    });
}

#[test]
fn promised_ones_as_well() {
    within(LONG, || {
        // Whoever comes last must not be the only one to tell.
        for _ in 0..30 {
            let memory = FakeMemory::new(100_000);
            let mut limited = all_asked_for(10, 20_000);
            limited.options = common::options(1, Caller::Waits);
            let (send, receive) = mpsc::channel();
            let run = limited.prepare_promising(&memory, move |_, later, reading| {
                drop(reading);
                send.send(later.promise()).unwrap();
                Ok(Ran::Promised)
            });
            let told = run.runner().told();
            // All are promised before the first one is settled.
            let settles = thread::spawn(move || {
                let promises: Vec<_> = receive.iter().take(10).collect();
                for promise in promises {
                    if let Some(run) = promise.run() {
                        run.runner().deliver(promise.task());
                    }
                    promise.settle(Ok(()));
                }
            });
            let Err(Ended::Failed { error, .. }) = limited.execute(&run) else {
                panic!("the run should have failed");
            };
            settles.join().unwrap();
            assert_eq!(error, FakeError::DoesNotFit(120_000));
            assert_eq!(*told.lock().unwrap(), [200_000]);
        }
    });
}
