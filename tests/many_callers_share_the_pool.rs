//! Many threads that compute at the same time share one pool, which has as
//! many workers as the largest run asked for. Alone in its process, for it
//! counts the threads.

mod common;

use common::case::Case;
use common::{LONG, within};
use mars::executor::{Caller, pool};
use mars::testing::graphs::{layered, outputs};
use mars::testing::thread_number;
use std::collections::HashSet;
use std::sync::{Arc, Barrier};
use std::thread;

const CALLERS: usize = 12;
const WORKERS: usize = 3;

#[test]
fn and_none_of_them_adds_to_it() {
    within(LONG, || {
        let all_at_once = Arc::new(Barrier::new(CALLERS));
        let callers = (0..CALLERS).map(|i| {
            let all_at_once = all_at_once.clone();
            thread::spawn(move || {
                all_at_once.wait();
                compute_ten_times(i)
            })
        });
        let callers: Vec<_> = callers.collect();
        let mut workers = HashSet::new();
        for caller in callers {
            workers.extend(caller.join().unwrap());
        }
        assert_eq!(pool::size(), WORKERS);
        // It may have grown from 1 to 2 to 3 threads, a new pool each time.
        assert!(workers.len() <= 1 + 2 + 3, "{} workers", workers.len());
    });
}

/// Ten runs, each a little different; the threads that helped with them.
fn compute_ten_times(seed: usize) -> HashSet<u64> {
    let mut threads = HashSet::new();
    for i in 0..10 {
        let graph = layered(60, 6, 2, (seed * 10 + i) as u64);
        let requested = outputs(&graph);
        let limit = 1 + (seed + i) % WORKERS;
        let caller = if i % 2 == 0 {
            Caller::Waits
        } else {
            Caller::Helps
        };
        let mut case = Case::new(graph, &requested, limit, caller);
        case.observed = i % 5 == 4;
        let outcome = case.run(|_| Ok(()));
        assert!(outcome.result.is_ok());
        outcome.record.assert_promises_kept();
        assert_eq!(outcome.record.results(), requested);
        assert!(outcome.record.most_running() <= limit);
        threads.extend(outcome.record.events().iter().map(|e| e.thread));
    }
    threads.remove(&thread_number());
    threads
}
