//! A caller that waits is let go by a cancel while its tasks still run.

mod common;

use common::case::{Case, assert_pool_is_usable};
use common::{Door, LONG, within};
use mars::executor::{Caller, Ended};
use mars::testing::What;
use mars::testing::graphs::flat;
use std::thread;

#[test]
fn while_every_worker_is_held() {
    within(LONG, || {
        for observed in [false, true] {
            let mut case = Case::new(flat(6), &[], 2, Caller::Waits);
            case.observed = observed;
            let (begun, go_on) = (Door::default(), Door::default());
            let (begins, waits) = (begun.clone(), go_on.clone());
            let run = case.prepare(move |_| {
                begins.open();
                waits.wait();
                Ok(())
            });
            let cancels = run.clone();
            let other = thread::spawn(move || {
                begun.wait();
                cancels.cancel();
            });
            let record = run.runner().record();
            let result = if observed {
                let mut follower = common::observer::Follower::new(case.work.model());
                run.execute_observed(&mut follower, || Ok(()))
            } else {
                run.execute(|| Ok(()))
            };
            // Nobody has opened the door: the tasks cannot have ended.
            assert!(matches!(result, Err(Ended::Cancelled)));
            assert!(record.tasks(What::Finished).is_empty());
            // Others find workers even now.
            assert_pool_is_usable(2);
            go_on.open();
            other.join().unwrap();
            drop(run);
            record.wait_until_runner_is_gone();
            assert!(record.tasks(What::Started).len() <= 2);
        }
    });
}
