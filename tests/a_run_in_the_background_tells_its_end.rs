//! A detached run goes on without a caller, and others may join it.

mod common;

use common::case::{Case, assert_pool_is_usable};
use common::{Door, LONG, within};
use mars::executor::{Caller, Ended, Run};
use mars::graph::TaskId;
use mars::testing::graphs::{chain, diamonds, flat};
use mars::testing::{FakeError, FakeRunner, What};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

type Heard = mpsc::Receiver<Result<(), Ended<FakeError>>>;

fn detach(run: &Arc<Run<FakeRunner>>) -> Heard {
    let (said, heard) = mpsc::channel();
    run.detach(move |_, result| said.send(result).unwrap());
    heard
}

#[test]
fn once_and_even_if_nobody_holds_it() {
    within(LONG, || {
        let run = Case::new(diamonds(), &[TaskId::new(4)], 2, Caller::Waits).prepare(|_| Ok(()));
        let record = run.runner().record();
        let heard = detach(&run);
        drop(run);
        assert!(heard.recv().unwrap().is_ok());
        assert!(heard.recv().is_err(), "told twice");
        record.wait_until_runner_is_gone();
        record.assert_promises_kept();
        assert_eq!(record.tasks(What::Finished).len(), 5);
    });
}

#[test]
fn a_run_with_nothing_to_do_has_ended() {
    let run = Case::new(flat(0), &[], 2, Caller::Waits).prepare(|_| Ok(()));
    assert!(detach(&run).recv().unwrap().is_ok());
}

#[test]
fn its_failure() {
    within(LONG, || {
        let run = Case::new(chain(3), &[], 2, Caller::Waits).prepare(|task| match task.index() {
            1 => Err(FakeError::Failed(task)),
            _ => Ok(()),
        });
        let result = detach(&run).recv().unwrap();
        assert!(matches!(result, Err(Ended::Failed { task, .. }) if task.index() == 1));
        assert_pool_is_usable(2);
    });
}

#[test]
fn a_cancel_ends_it_at_once() {
    within(LONG, || {
        let (begun, go_on) = (Door::default(), Door::default());
        let (begins, waits) = (begun.clone(), go_on.clone());
        let run = Case::new(flat(6), &[], 2, Caller::Waits).prepare(move |_| {
            begins.open();
            waits.wait();
            Ok(())
        });
        let heard = detach(&run);
        begun.wait();
        run.cancel();
        assert!(matches!(heard.recv().unwrap(), Err(Ended::Cancelled)));
        let record = run.runner().record();
        go_on.open();
        drop(run);
        record.wait_until_runner_is_gone();
        assert!(record.tasks(What::Started).len() <= 2);
    });
}

#[test]
fn several_may_join_and_one_of_them_helps() {
    within(LONG, || {
        let run = Case::new(chain(200), &[], 2, Caller::Waits).prepare(|_| Ok(()));
        let heard = detach(&run);
        let joiners: Vec<_> = (0..4)
            .map(|i| {
                let run = run.clone();
                let caller = if i % 2 == 0 {
                    Caller::Helps
                } else {
                    Caller::Waits
                };
                thread::spawn(move || run.join(caller, None, || Ok(())).unwrap())
            })
            .collect();
        for joiner in joiners {
            assert!(joiner.join().unwrap());
        }
        assert!(heard.recv().unwrap().is_ok());
        assert!(run.join(Caller::Waits, None, || Ok(())).unwrap());
        run.runner().record().assert_promises_kept();
    });
}

#[test]
fn a_joiner_helps_when_no_worker_is_free() {
    within(LONG, || {
        let (held, go_on) = (mpsc::channel(), Door::default());
        let waits = go_on.clone();
        let said = std::sync::Mutex::new(held.0);
        let holds = Case::new(flat(2), &[], 2, Caller::Waits).prepare(move |_| {
            said.lock().unwrap().send(()).unwrap();
            waits.wait();
            Ok(())
        });
        let first = detach(&holds);
        held.1.recv().unwrap();
        held.1.recv().unwrap();
        let run = Case::new(chain(3), &[], 2, Caller::Waits).prepare(|_| Ok(()));
        let second = detach(&run);
        for caller in [Caller::Helps, Caller::Waits] {
            assert!(run.join(caller, None, || Ok(())).unwrap());
        }
        assert!(second.recv().unwrap().is_ok());
        go_on.open();
        assert!(first.recv().unwrap().is_ok());
    });
}

#[test]
fn joining_ends_at_the_deadline_or_with_an_error_of_poll_and_the_run_goes_on() {
    within(LONG, || {
        let go_on = Door::default();
        let waits = go_on.clone();
        let run = Case::new(flat(1), &[], 1, Caller::Waits).prepare(move |_| {
            waits.wait();
            Ok(())
        });
        let heard = detach(&run);
        let deadline = Instant::now() + Duration::from_millis(10);
        for caller in [Caller::Helps, Caller::Waits] {
            assert!(!run.join(caller, Some(deadline), || Ok(())).unwrap());
        }
        let interrupted = run.join(Caller::Waits, None, || Err(FakeError::Interrupted));
        assert_eq!(interrupted.unwrap_err(), FakeError::Interrupted);
        assert!(heard.try_recv().is_err());
        go_on.open();
        assert!(heard.recv().unwrap().is_ok());
    });
}

#[test]
fn ends_that_follow_from_each_other_do_not_go_deep() {
    // Each run's end ends the next one; 100,000 of them would overflow a stack.
    const RUNS: usize = 100_000;
    within(LONG, || {
        let runs: Arc<Vec<_>> = Arc::new(
            (0..RUNS)
                .map(|_| {
                    Case::new(flat(1), &[], 1, Caller::Waits).prepare(|_| panic!("never started"))
                })
                .collect(),
        );
        let (said, heard) = mpsc::channel();
        // A run that is stopped before it is detached ends when it is detached.
        fn end_next(runs: &Arc<Vec<Arc<Run<FakeRunner>>>>, i: usize, said: mpsc::Sender<usize>) {
            let Some(run) = runs.get(i) else {
                said.send(i).unwrap();
                return;
            };
            run.cancel();
            let runs = runs.clone();
            run.clone().detach(move |_, _| end_next(&runs, i + 1, said));
        }
        end_next(&runs, 0, said);
        assert_eq!(heard.recv().unwrap(), RUNS);
    });
}
