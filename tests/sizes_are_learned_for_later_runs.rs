//! What the outputs of a prefix have taken is expected of others with this prefix, in the
//! same run and in later ones: tasks start side by side only if their outputs will fit.

mod common;

use common::limited::Limited;
use common::{LONG, within};
use mars::executor::Caller;
use mars::testing::FakeMemory;
use mars::testing::graphs::flat;
use std::sync::Barrier;
use std::thread::yield_now;

const WORKERS: usize = 4;

#[test]
fn so_that_no_more_tasks_run_than_there_is_room_for() {
    within(LONG, || {
        let memory = FakeMemory::new(100_000);
        let mut limited = Limited::new(flat(WORKERS), &[40_000; WORKERS]);
        limited.options = common::options(WORKERS, Caller::Waits);
        // Nothing is known of them yet: all run at the same time.
        let all = Barrier::new(WORKERS);
        let (result, _) = limited.run(&memory, move |_| {
            all.wait();
            Ok(())
        });
        assert!(result.is_ok());
        for observed in [false, true] {
            let mut later = Limited::new(flat(40), &[40_000; 40]);
            later.options = limited.options;
            later.observed = observed;
            let (result, record) = later.run(&memory, |_| {
                yield_now();
                Ok(())
            });
            assert!(result.is_ok());
            assert!(record.most_running() <= 2, "{}", record.most_running());
            // Others are not held up by that.
            let mut others = Limited::new(flat(WORKERS), &[40_000; WORKERS]);
            others.prefixes = vec!["other".to_owned() + &observed.to_string(); WORKERS];
            others.options = limited.options;
            let all = Barrier::new(WORKERS);
            let (result, _) = others.run(&memory, move |_| {
                all.wait();
                Ok(())
            });
            assert!(result.is_ok());
        }
        memory.assert_empty();
    });
}
