//! Who waits for whose result, to refuse a wait that could never end.
//!
//! A task that wants an object which another task has claimed waits for it. If
//! the function of that object waits in turn, over however many others, for the
//! one that the first task belongs to, nobody would ever go on.

use crate::fork;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The objects that wait for a run to end. It may grow: a run in the background is
/// waited for from the moment when somebody joins it.
#[derive(Clone)]
pub(in crate::python) struct WaitedBy(Arc<Mutex<Waiters>>);

#[derive(Default)]
struct Waiters {
    /// Addresses of objects; those in whose functions the run was made or joined.
    objects: Vec<usize>,
    /// Who waits for the runs of these waits for this one too.
    runs: Vec<WaitedBy>,
}

/// Outer runs of any depth are let go of one after the other.
impl Drop for Waiters {
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut self.runs);
        while let Some(WaitedBy(waiters)) = pending.pop() {
            if let Some(waiters) = Arc::into_inner(waiters) {
                let mut waiters = waiters.into_inner().unwrap_or_else(PoisonError::into_inner);
                pending.append(&mut waiters.runs);
            }
        }
    }
}

impl WaitedBy {
    pub(super) fn new(
        objects: impl IntoIterator<Item = usize>,
        runs: impl IntoIterator<Item = WaitedBy>,
    ) -> Self {
        WaitedBy(Arc::new(Mutex::new(Waiters {
            objects: objects.into_iter().collect(),
            runs: runs.into_iter().collect(),
        })))
    }

    /// Nobody, so far.
    pub(super) fn nobody() -> Self {
        WaitedBy(Arc::default())
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All objects that wait.
    fn all(&self) -> HashSet<usize> {
        self.closure().0
    }

    /// All objects that wait, and the runs (by address) whose waiters they are.
    fn closure(&self) -> (HashSet<usize>, HashSet<*const Mutex<Waiters>>) {
        let mut all = HashSet::new();
        let mut seen = HashSet::new();
        let mut pending = vec![self.clone()];
        while let Some(waited_by) = pending.pop() {
            if seen.insert(Arc::as_ptr(&waited_by.0)) {
                let waiters = waited_by.lock();
                all.extend(&waiters.objects);
                pending.extend(waiters.runs.iter().cloned());
            }
        }
        (all, seen)
    }

    /// These objects wait as well.
    pub(super) fn add(&self, objects: impl IntoIterator<Item = usize>) {
        self.lock().objects.extend(objects);
    }

    /// `joining` wait as well, as long as the answer lives.
    pub(super) fn join(&self, joining: WaitedBy) -> Result<Joined, Refused> {
        let waits = lock();
        let (waiters, runs) = joining.closure();
        if runs.contains(&Arc::as_ptr(&self.0)) {
            return Err(Refused::IsPartOfIt);
        }
        let joined = Joined {
            run: self.clone(),
            joining: joining.clone(),
        };
        self.lock().runs.push(joining);
        let never_ends = !waiters.is_empty() && leads_to(&waits, &waiters, &waiters);
        drop(waits);
        if never_ends {
            Err(Refused::IsWaitedFor)
        } else {
            Ok(joined)
        }
    }
}

/// Why a run cannot be waited for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Who would wait is in a task of it, or in one that such a task waits for.
    IsPartOfIt,
    /// It waits for who would wait.
    IsWaitedFor,
}

/// Some that wait for a run, until dropped.
pub(super) struct Joined {
    run: WaitedBy,
    joining: WaitedBy,
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut waiters = self.run.lock();
        let here = |run: &WaitedBy| Arc::ptr_eq(&run.0, &self.joining.0);
        let gone = (waiters.runs.iter().position(here)).map(|i| waiters.runs.swap_remove(i));
        drop(waiters);
        drop(gone);
    }
}

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

/// Whether the waits of `from`, followed from each to the next, lead to one of `to`.
fn leads_to(waits: &[Wait], from: &HashSet<usize>, to: &HashSet<usize>) -> bool {
    let generation = fork::generation();
    let mut left: Vec<_> = (waits.iter())
        .filter(|wait| wait.generation == generation)
        .map(|wait| (wait.waiting.all(), wait.on))
        .collect();
    let mut reached = from.clone();
    loop {
        let before = left.len();
        let mut found = false;
        left.retain(|(waiting, on)| {
            let follows = !waiting.is_disjoint(&reached);
            if follows {
                found |= to.contains(on);
                reached.insert(*on);
            }
            !follows
        });
        if found || left.len() == before {
            return found;
        }
    }
}

impl Ticket {
    /// `waiting` wait for the object `on`. None if it waits for one of them.
    pub(super) fn new(waiting: &WaitedBy, on: usize) -> Option<Self> {
        let mut waits = lock();
        let waiters = waiting.all();
        if waiters.contains(&on) || leads_to(&waits, &HashSet::from([on]), &waiters) {
            return None;
        }
        let number = waits.last().map_or(0, |wait| wait.number + 1);
        waits.push(Wait {
            number,
            generation: fork::generation(),
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
        WaitedBy::new(objects.iter().copied(), [])
    }

    #[test]
    fn a_wait_that_could_not_end_is_refused() {
        // 101 -> 102 -> 103; then 103 -> 101 would close the ring, and 103 -> 104 does not.
        let first = Ticket::new(&waited_by(&[101]), 102);
        let second = Ticket::new(&waited_by(&[102, 999]), 103);
        assert!(first.is_some() && second.is_some());
        assert!(Ticket::new(&waited_by(&[103]), 101).is_none());
        assert!(Ticket::new(&waited_by(&[103]), 104).is_some());
        assert!(Ticket::new(&waited_by(&[105]), 105).is_none());
        drop(second);
        assert!(Ticket::new(&waited_by(&[103]), 101).is_some());
    }

    #[test]
    fn who_waits_for_the_outer_run_waits_for_the_inner_one() {
        let outer = waited_by(&[201]);
        let inner = WaitedBy::new([202], [outer]);
        assert!(Ticket::new(&inner, 201).is_none());
    }

    #[test]
    fn a_long_row_of_outer_runs_needs_no_stack() {
        let mut innermost = WaitedBy::nobody();
        for object in 1_000..501_000 {
            innermost = WaitedBy::new([object], [innermost]);
        }
        assert_eq!(innermost.all().len(), 500_000);
    }

    #[test]
    fn a_run_is_not_joined_by_whom_it_waits_for() {
        // A run in the background waits for 301, over a run inside one of its tasks.
        let background = WaitedBy::nobody();
        let nested = WaitedBy::new([302], [background.clone()]);
        let ticket = Ticket::new(&nested, 301);
        assert!(ticket.is_some());
        assert!(matches!(
            background.join(waited_by(&[301])),
            Err(Refused::IsWaitedFor)
        ));
        let joined = background.join(waited_by(&[303]));
        assert!(joined.is_ok());
        assert!(background.join(WaitedBy::nobody()).is_ok());
        // Who is inside it, however deep, cannot join it.
        let inside = WaitedBy::new([304], [WaitedBy::new([302], [background.clone()])]);
        assert!(matches!(background.join(inside), Err(Refused::IsPartOfIt)));
        // The one who has joined counts, until it has given up.
        assert!(Ticket::new(&nested, 303).is_none());
        drop(joined);
        assert!(Ticket::new(&nested, 303).is_some());
        drop(ticket);
        assert!(background.join(waited_by(&[301])).is_ok());
    }
}
