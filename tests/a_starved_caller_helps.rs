//! A caller that should only wait runs its tasks itself when no worker comes:
//! all of them may be in tasks that wait for this very caller. Alone in its
//! process, for it holds every worker.

mod common;

use common::case::Case;
use common::observer::Silent;
use common::{Door, LONG, when_a_worker_comes, within};
use mars::executor::Caller;
use mars::testing::graphs::{chain, flat};
use mars::testing::thread_number;
use std::sync::Barrier;
use std::thread;

const WORKERS: usize = 2;

#[test]
fn while_all_workers_wait_for_it() {
    within(LONG, || when_a_worker_comes(attempt));
}

fn attempt() -> Option<()> {
    let (all_held, go_on) = (Door::default(), Door::default());
    let holder = thread::spawn({
        let (all_held, go_on) = (all_held.clone(), go_on.clone());
        move || hold_all_workers(&all_held, &go_on)
    });
    all_held.wait();
    let mut strangers = 0;
    for observed in [false, true] {
        let run = Case::new(chain(5), &[], WORKERS, Caller::Waits).prepare(|_| Ok(()));
        let result = if observed {
            run.execute_observed(&mut Silent, || Ok(()))
        } else {
            run.execute(|| Ok(()))
        };
        assert!(result.is_ok());
        let events = run.runner().record().events();
        let of_strangers = events.iter().filter(|e| e.thread != thread_number());
        strangers += of_strangers.count();
    }
    go_on.open();
    // If the holder had to help itself, it has left us a worker.
    holder.join().unwrap().then(|| assert_eq!(strangers, 0))
}

/// Opens `all_held` once every worker is in a task, and holds them there. Says
/// whether these were indeed the workers.
fn hold_all_workers(all_held: &Door, go_on: &Door) -> bool {
    let (begun, waits) = (all_held.clone(), go_on.clone());
    let together = Barrier::new(WORKERS);
    let outcome = Case::new(flat(WORKERS), &[], WORKERS, Caller::Waits).run(move |_| {
        together.wait();
        begun.open();
        waits.wait();
        Ok(())
    });
    assert!(outcome.result.is_ok());
    let events = outcome.record.events();
    events.iter().all(|e| e.thread != thread_number())
}
