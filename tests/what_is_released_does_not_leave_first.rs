//! A result that a finished task was the last to read makes room for the next one by
//! being released: it is not written to disk, and nothing else is in its place.

mod common;

use common::limited::Limited;
use common::{LONG, within};
use mars::executor::Caller;
use mars::testing::FakeMemory;
use mars::testing::graphs::chain;

// 0 → 1 → 2 → …    two of them fit, and a task needs two
#[test]
fn in_a_chain() {
    within(LONG, || {
        for observed in [false, true] {
            for caller in [Caller::Helps, Caller::Waits] {
                let mut limited = Limited::new(chain(20), &[40_000; 20]);
                limited.options = common::options(1, caller);
                limited.observed = observed;
                let memory = FakeMemory::new(100_000);
                for _ in 0..10 {
                    assert!(limited.run(&memory, |_| Ok(())).0.is_ok());
                }
                assert_eq!(memory.moves(), [], "{observed} {caller:?}");
                memory.assert_empty();
            }
        }
    });
}
