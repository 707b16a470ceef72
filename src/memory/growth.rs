//! What the process takes beyond what is counted.

use super::process;
use std::time::{Duration, Instant};

/// How often the size of the process is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How often free memory is given back to the system.
const TRIM: Duration = Duration::from_millis(100);

/// How far the process has grown since the first of the runs that go on began.
#[derive(Default)]
pub(super) struct Growth {
    /// Its size when nothing was counted.
    baseline: u64,
    /// Beyond all that is known of, and what running tasks may work with.
    excess: u64,
    looked: Option<Instant>,
    trimmed: Option<Instant>,
}

impl Growth {
    /// What the process has taken so far, less `known`, is not the runs'.
    pub(super) fn begin(&mut self, known: u64) {
        self.baseline = process::resident().saturating_sub(known);
        self.excess = 0;
    }

    /// Bytes by which the process has grown more than it should have.
    pub(super) fn excess(&self) -> u64 {
        self.excess
    }

    /// Sees how far the process has grown beyond the bytes that are `known`, now and then.
    /// A tenth of `limit` is what running tasks work with.
    pub(super) fn look(&mut self, known: u64, limit: u64) {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        let beyond = process::resident().saturating_sub(known + self.baseline);
        self.excess = beyond.saturating_sub(limit / 10);
    }

    /// Whether free memory should be given back to the system now; asked by one thread,
    /// which then does so.
    pub(super) fn wants_trim(&mut self) -> bool {
        let due = self.trimmed.is_none_or(|at| at.elapsed() >= TRIM);
        if self.excess == 0 || !due {
            return false;
        }
        self.trimmed = Some(Instant::now());
        self.looked = None;
        true
    }
}
