//! Who waits for whose result, to refuse a wait that could never end.
//!
//! A task that wants an object which another task has claimed waits for it. If
//! the function of that object waits in turn, over however many others, for the
//! one that the first task belongs to, nobody would ever go on.

use super::run::WaitedBy;
use crate::executor::fork;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The waits of this moment.
static WAITS: Mutex<Vec<Wait>> = Mutex::new(Vec::new());

struct Wait {
    number: u64,
    /// Waits of a parent process are nobody's.
    generation: u32,
    waiting: WaitedBy,
    on: usize,
}

/// A wait, until dropped.
pub(super) struct Ticket(u64);

fn lock() -> MutexGuard<'static, Vec<Wait>> {
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ticket {
    /// `waiting` wait for the object `on`. None if it waits for one of them.
    pub(super) fn new(waiting: &WaitedBy, on: usize) -> Option<Self> {
        let mut waits = lock();
        let generation = fork::generation();
        let waiters = waiting.all();
        let mut reached = vec![on];
        let mut next = 0;
        while let Some(&object) = reached.get(next) {
            next += 1;
            if waiters.contains(&object) {
                return None;
            }
            for wait in waits.iter() {
                if wait.generation == generation
                    && !reached.contains(&wait.on)
                    && wait.waiting.all().contains(&object)
                {
                    reached.push(wait.on);
                }
            }
        }
        let number = waits.last().map_or(0, |wait| wait.number + 1);
        waits.push(Wait {
            number,
            generation,
            waiting: waiting.clone(),
            on,
        });
        Some(Ticket(number))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock().retain(|wait| wait.number != self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waited_by(objects: &[usize]) -> WaitedBy {
        WaitedBy::new(objects.to_vec())
    }

    #[test]
    fn a_wait_that_could_not_end_is_refused() {
        // 1 -> 2 -> 3; then 3 -> 1 would close the ring, and 3 -> 4 does not.
        let first = Ticket::new(&waited_by(&[101]), 102);
        let second = Ticket::new(&waited_by(&[102, 999]), 103);
        assert!(first.is_some() && second.is_some());
        assert!(Ticket::new(&waited_by(&[103]), 101).is_none());
        assert!(Ticket::new(&waited_by(&[103]), 104).is_some());
        assert!(Ticket::new(&waited_by(&[105]), 105).is_none());
        drop(second);
        assert!(Ticket::new(&waited_by(&[103]), 101).is_some());
    }
}
