//! A run as those see it who watch: where it stands, and what becomes of its places for workers.

use super::run::{Progress, Run};
use super::runner::Runner;
use crate::events::{Places, RunRecord, Stamp, Standing, Watched};
use crate::scheduler::Phase;
use std::any::Any;
use std::sync::Arc;

/// Why places for workers are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// No task is ready.
    NothingReady,
    /// Ready tasks wait for the memory limit.
    Held,
    /// They are not going to be: somebody is on the way.
    Invited,
}

impl<E> Progress<E> {
    /// Why places are empty.
    #[inline]
    pub(super) fn emptiness(&self) -> Empty {
        match &self.admission {
            Some(admission) if admission.holds() => Empty::Held,
            _ if self.startable() == 0 => Empty::NothingReady,
            _ => Empty::Invited,
        }
    }

    /// Tells what became of the places that are not taken, before that changes.
    pub(super) fn tell_places(&mut self, record: &RunRecord) {
        self.tell_places_as(record, self.emptiness());
    }

    /// The same after what makes tasks ready, or room: `before` is why places were empty. What
    /// this thread takes itself is not ready for others.
    #[inline]
    pub(super) fn tell_places_if_changed(&mut self, record: &RunRecord, before: Empty) {
        if before != Empty::Invited && self.active < record.limit && self.emptiness() != before {
            self.tell_places_as(record, before);
        }
    }

    fn tell_places_as(&mut self, record: &RunRecord, why: Empty) {
        let now = Stamp::now();
        let ticks = now.ticks_since(std::mem::replace(&mut self.places_told, now));
        let empty = record.limit.saturating_sub(self.active) as u64;
        if empty == 0 || self.scheduler.phase() == Phase::Stopped {
            return;
        }
        match why {
            Empty::Held => Places::add(&record.places.held, empty * ticks),
            Empty::NothingReady => Places::add(&record.places.nothing_ready, empty * ticks),
            Empty::Invited => {}
        }
    }

    /// How many of the tasks that had to be run have been.
    pub(super) fn finished(&self, record: &RunRecord) -> usize {
        record.total - self.scheduler.unfinished().min(record.total)
    }
}

impl<R: Runner> Watched for Run<R> {
    fn record(&self) -> &Arc<RunRecord> {
        &self.record
    }

    fn standing(&self) -> Standing {
        let progress = self.lock();
        Standing {
            finished: progress.finished(&self.record),
            ready: progress.scheduler.ready(),
            stopping: progress.scheduler.phase() == Phase::Stopped,
            holds: (progress.admission.as_ref()).is_some_and(|admission| admission.holds()),
        }
    }

    fn tell_places(&self) {
        self.lock().tell_places(&self.record);
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
