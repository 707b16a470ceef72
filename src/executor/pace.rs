//! How long a thread has kept the token, and how long it has been with one run.

use std::time::{Duration, Instant};

/// How long a worker keeps the token before it lets other threads have a turn:
/// CPython's own switch interval.
const BREATH: Duration = Duration::from_millis(5);
/// How long a worker stays with one run while other runs wait for a worker.
const SLICE: Duration = Duration::from_millis(10);

/// Tells when time has passed without asking the clock after every task.
pub(super) struct Pace {
    /// Tasks until the clock is asked again.
    countdown: u32,
    /// Tasks between two looks at the clock.
    stride: u32,
    breath: Instant,
    slice: Instant,
}

#[derive(Clone, Copy)]
pub(super) struct Tick {
    /// Others should have a turn at the token.
    pub(super) breathe: bool,
    /// Other runs should have a turn at the worker.
    pub(super) slice_over: bool,
}

impl Pace {
    const MAX_STRIDE: u32 = 64;

    pub(super) fn new() -> Self {
        let now = Instant::now();
        Pace {
            countdown: 1,
            stride: 1,
            breath: now,
            slice: now,
        }
    }

    /// To be called after each task.
    #[inline]
    pub(super) fn tick(&mut self) -> Tick {
        self.countdown -= 1;
        if self.countdown > 0 {
            return Tick {
                breathe: false,
                slice_over: false,
            };
        }
        let now = Instant::now();
        let since = now - self.breath;
        // Look less often while many tasks fit into a breath, and at once
        // more often when a few take longer than that.
        self.stride = if since < BREATH / 8 {
            (self.stride * 2).min(Self::MAX_STRIDE)
        } else if since > BREATH {
            1
        } else {
            self.stride
        };
        self.countdown = self.stride;
        let breathe = since >= BREATH;
        if breathe {
            self.breath = now;
        }
        Tick {
            breathe,
            slice_over: now - self.slice >= SLICE,
        }
    }
}
