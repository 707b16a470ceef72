//! A task whose result is promised reads nothing and makes nothing: the room that it was
//! given is there for others until the promise is kept.

mod common;

use common::limited::Limited;
use common::{LONG, id, within};
use mars::executor::{Caller, Promise, Ran};
use mars::testing::graphs::flat;
use mars::testing::{FakeMemory, LimitedRunner};
use std::sync::Mutex;
use std::thread;

const LARGE: u64 = 40_000;

// 0  1    there is room for one; 0 is promised, and delivered when 1 runs
#[test]
fn until_it_is_delivered() {
    within(LONG, || {
        for observed in [false, true] {
            for caller in [Caller::Helps, Caller::Waits] {
                let memory = FakeMemory::new(LARGE + LARGE / 2);
                let mut limited = Limited::new(flat(2), &[LARGE; 2]);
                limited.ranks = vec![0, 1];
                limited.options = common::options(2, caller);
                limited.observed = observed;
                // The first time sizes become known.
                for _ in 0..2 {
                    let kept = Mutex::new(None::<Promise<LimitedRunner>>);
                    let run = limited.prepare_promising(&memory, move |task, later, reading| {
                        drop(reading);
                        if task == id(0) {
                            *kept.lock().unwrap() = Some(later.promise());
                            return Ok(Ran::Promised);
                        }
                        // It may have started first, if both fit.
                        let promise = loop {
                            match kept.lock().unwrap().take() {
                                Some(promise) => break promise,
                                None => thread::yield_now(),
                            }
                        };
                        if let Some(run) = promise.run() {
                            run.runner().deliver(promise.task());
                        }
                        promise.settle(Ok(()));
                        Ok(Ran::Finished)
                    });
                    let record = run.runner().record();
                    assert!(limited.execute(&run).is_ok());
                    drop(run);
                    record.wait_until_runner_is_gone();
                    record.assert_promises_kept();
                    memory.assert_empty();
                }
            }
        }
    });
}
