//! A caller that waits is let go by a cancel while its tasks still run.

mod common;

use common::case::{Case, assert_pool_is_usable};
use common::observer::Silent;
use common::{Door, LONG, when_a_worker_comes, within};
use mars::executor::{Caller, Ended};
use mars::testing::graphs::flat;
use mars::testing::{FakeError, What, thread_number};
use std::thread;

fn cancelled_while_tasks_are_held(observed: bool) -> Option<()> {
    let (begun, go_on) = (Door::default(), Door::default());
    let (begins, waits) = (begun.clone(), go_on.clone());
    let caller = thread_number();
    let run = Case::new(flat(6), &[], 2, Caller::Waits).prepare(move |task| {
        begins.open();
        if thread_number() == caller {
            return Err(FakeError::Failed(task));
        }
        waits.wait();
        Ok(())
    });
    let cancels = run.clone();
    let other = thread::spawn(move || {
        begun.wait();
        cancels.cancel();
    });
    let result = if observed {
        run.execute_observed(&mut Silent, || Ok(()))
    } else {
        run.execute(|| Ok(()))
    };
    other.join().unwrap();
    let record = run.runner().record();
    if record.events().iter().any(|e| e.thread == caller) {
        go_on.open();
        return None;
    }
    // Nobody has opened the door: the tasks cannot have ended.
    assert!(matches!(result, Err(Ended::Cancelled)));
    assert!(record.tasks(What::Finished).is_empty());
    // Others find workers even now.
    assert_pool_is_usable(2);
    go_on.open();
    drop(run);
    record.wait_until_runner_is_gone();
    assert!(record.tasks(What::Started).len() <= 2);
    Some(())
}

#[test]
fn while_every_worker_is_held() {
    for observed in [false, true] {
        within(LONG, move || {
            when_a_worker_comes(|| cancelled_while_tasks_are_held(observed))
        });
    }
}
