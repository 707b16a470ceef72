//! A process ends when its main thread does, whatever its workers are at.
//!
//! The test starts itself once more as the process that ends.

mod common;

use common::case::Case;
use common::{Door, LONG, when_a_worker_comes, within};
use mars::executor::Caller;
use mars::testing::graphs::flat;
use mars::testing::{FakeError, thread_number};
use std::process::Command;

const CHILD: &str = "MARS_TEST_ENDS_WITH_WORK_ABANDONED";

#[test]
fn a_task_that_never_ends() {
    if std::env::var_os(CHILD).is_some() {
        when_a_worker_comes(abandon_a_task);
        return;
    }
    within(LONG, || {
        let this = std::env::current_exe().unwrap();
        let status = Command::new(this).env(CHILD, "1").status().unwrap();
        assert!(status.success());
    });
}

fn abandon_a_task() -> Option<()> {
    let begun = Door::default();
    let (begins, caller) = (begun.clone(), thread_number());
    let run = Case::new(flat(1), &[], 1, Caller::Waits).prepare(move |_| {
        if thread_number() == caller {
            return Ok(());
        }
        begins.open();
        loop {
            std::thread::park();
        }
    });
    let poll = || {
        if begun.is_open() {
            return Err(FakeError::Interrupted);
        }
        Ok(())
    };
    run.execute(poll).is_err().then_some(())
}
