//! A long run does not keep its workers while another run waits for one: they
//! leave it after a while, whatever is still ready. Alone in its process, for
//! it needs every worker of the pool.

mod common;

use common::case::Case;
use common::{Door, LONG, within};
use mars::executor::{Caller, Ended};
use mars::testing::graphs::flat;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

const WORKERS: usize = 2;

/// Two tasks that meet need a worker beside the caller, which may have come to
/// help; the long run has work for both workers until these two have met.
#[test]
fn while_tasks_of_their_own_are_ready() {
    within(LONG, || {
        let (begun, served) = (Door::default(), Door::default());
        let long = Case::new(flat(100_000), &[], WORKERS, Caller::Waits);
        let begins = begun.clone();
        let long_run = long.prepare(move |_| {
            begins.open();
            spin(Duration::from_millis(1));
            Ok(())
        });
        let record = long_run.runner().record();
        let other = thread::spawn({
            let (long_run, served) = (long_run.clone(), served.clone());
            move || {
                begun.wait();
                for caller in [Caller::Waits, Caller::Helps] {
                    let meeting = Arc::new(Barrier::new(WORKERS));
                    let short = Case::new(flat(WORKERS), &[], WORKERS, caller);
                    let outcome = short.run(move |_| {
                        meeting.wait();
                        Ok(())
                    });
                    assert!(outcome.result.is_ok());
                }
                served.open();
                long_run.cancel();
            }
        });
        let result = long_run.execute(|| Ok(()));
        assert!(served.is_open(), "the long run has ended before");
        assert!(matches!(result, Err(Ended::Cancelled)));
        other.join().unwrap();
        record.assert_promises_kept();
    });
}

fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        thread::yield_now();
    }
}
