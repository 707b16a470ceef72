//! Under any limit, however small, every run ends: no task reads what is not in
//! memory, nothing is left in the end, and memory never holds more than the limit and
//! what running tasks read and make.

mod common;

use common::programs::random_programs;
use common::{cases, within};
use proptest::prelude::*;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn of_one_caller(program in random_programs(25, 1, 0)) {
        within(DEADLINE, move || program.run());
    }

    #[test]
    fn of_several_at_once(program in random_programs(12, 4, 0)) {
        within(DEADLINE, move || program.run());
    }

    #[test]
    fn with_tasks_that_fail_and_cancel(program in random_programs(12, 3, 2)) {
        within(DEADLINE, move || program.run());
    }

    /// The disk is full sooner or later, which ends the run that writes.
    #[test]
    fn with_a_small_disk(mut program in random_programs(12, 3, 0), disk in 0..100_000u64) {
        program.disk = disk;
        within(DEADLINE, move || program.run());
    }
}
