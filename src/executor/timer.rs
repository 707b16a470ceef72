//! Calls that are due after a while.
//!
//! One thread waits for all of them, and ends when none is left.

use crate::fork::PerProcess;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

static STATE: PerProcess<State> = PerProcess::new();

#[derive(Default)]
struct State {
    calls: BinaryHeap<Reverse<Call>>,
    /// Tells calls that are due at the same time apart: first come, first served.
    count: u64,
    /// The thread that waits, if there is one, sleeps here.
    changed: Arc<Condvar>,
    waits: bool,
}

struct Call {
    due: Instant,
    number: u64,
    /// Whether anybody still wants it.
    wanted: Box<dyn Fn() -> bool + Send>,
    call: Box<dyn FnOnce() + Send>,
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Call {}

impl PartialOrd for Call {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Call {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// Calls `call` after `delay`, on a thread of its own kind, where it must not
/// take long; unless it is not `wanted` any more when [`forget_unwanted`] is called. If
/// the system gives no thread it is called here and at once.
pub fn after(
    delay: Duration,
    wanted: impl Fn() -> bool + Send + 'static,
    call: impl FnOnce() + Send + 'static,
) {
    let mut state = STATE.lock();
    state.count += 1;
    let number = state.count;
    state.calls.push(Reverse(Call {
        due: Instant::now() + delay,
        number,
        wanted: Box::new(wanted),
        call: Box::new(call),
    }));
    if state.waits {
        state.changed.notify_one();
        return;
    }
    let thread = std::thread::Builder::new().name("mars-timer".to_owned());
    match thread.spawn(wait) {
        Ok(_) => state.waits = true,
        Err(_) => {
            let calls = std::mem::take(&mut state.calls);
            drop(state);
            for Reverse(call) in calls.into_sorted_vec().into_iter().rev() {
                (call.call)();
            }
        }
    }
}

/// Lets go of calls that nobody wants; the thread ends if none is left.
pub fn forget_unwanted() {
    let mut state = STATE.lock();
    let calls = std::mem::take(&mut state.calls).into_vec();
    let (kept, gone): (Vec<_>, Vec<_>) = calls.into_iter().partition(|c| (c.0.wanted)());
    state.calls = kept.into();
    state.changed.notify_one();
    drop(state);
    drop(gone);
}

fn wait() {
    let mutex: &Mutex<State> = STATE.get();
    let mut state = mutex.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some(Reverse(next)) = state.calls.peek() else {
            state.waits = false;
            return;
        };
        let now = Instant::now();
        if next.due > now {
            let pause = next.due - now;
            let changed = state.changed.clone();
            state = (changed.wait_timeout(state, pause))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        } else if let Some(Reverse(call)) = state.calls.pop() {
            drop(state);
            (call.call)();
            state = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn calls_come_when_they_are_due_in_whatever_order_they_were_asked_for() {
        let (said, heard) = mpsc::channel();
        let begin = Instant::now();
        for delay in [60, 20, 40] {
            let said = said.clone();
            after(
                Duration::from_millis(delay),
                || true,
                move || {
                    let _ = said.send((delay, begin.elapsed()));
                },
            );
        }
        let calls: Vec<_> = (0..3)
            .map(|_| heard.recv_timeout(Duration::from_secs(10)).unwrap())
            .collect();
        assert_eq!(calls.iter().map(|c| c.0).collect::<Vec<_>>(), [20, 40, 60]);
        for (delay, elapsed) in calls {
            assert!(elapsed >= Duration::from_millis(delay));
        }
        // The thread has ended or is about to; another one takes the next call.
        after(
            Duration::ZERO,
            || true,
            move || {
                let _ = said.send((0, begin.elapsed()));
            },
        );
        assert_eq!(heard.recv_timeout(Duration::from_secs(10)).unwrap().0, 0);
    }

    #[test]
    fn what_nobody_wants_any_more_is_forgotten() {
        let (said, heard) = mpsc::channel::<()>();
        after(
            Duration::from_secs(3600),
            || false,
            move || said.send(()).unwrap(),
        );
        forget_unwanted();
        // The call is gone, and with it the one who could have said anything.
        assert!(heard.recv_timeout(Duration::from_secs(10)).is_err());
        assert!(
            heard
                .try_recv()
                .is_err_and(|e| e == mpsc::TryRecvError::Disconnected)
        );
    }
}
