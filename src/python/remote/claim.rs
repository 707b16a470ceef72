//! Where an object stands in a session, and who may run it.

use super::super::memory::Kept;
use super::super::runner::PythonRunner;
use super::object::{Dependencies, Inner, Object, WeakDependencies, drop_objects};
use super::store::{Place, Store};
use super::template::Template;
use super::tracking;
use super::waits::Ticket;
use crate::executor::Promise;
use crate::fork;
use pyo3::prelude::*;
use smallvec::SmallVec;

/// Where an object stands in one session; nowhere yet if there is none of these.
pub(super) struct InSession {
    pub(super) store: Py<Store>,
    pub(super) state: State,
}

pub(super) enum State {
    /// A task runs it.
    Claimed {
        generation: u32,
        waiters: Vec<Waiter>,
    },
    Finished(Place),
}

/// A task of another run that wants the result.
pub(super) struct Waiter {
    promise: Promise<PythonRunner>,
    _ticket: Ticket,
}

/// What a task finds that is to run an object.
pub(super) enum Claim {
    /// It is this task's to run.
    Granted,
    /// There is a result.
    Finished(Kept),
    /// Another task runs it, and will tell.
    Promised,
    /// That task waits for this one.
    WouldWaitForItself,
}

impl Object {
    /// Its value in the session of `store`, or what `read` makes of its template, or
    /// None where it has let go of what it depends on. `read` is as above.
    pub(super) fn value_or<T>(
        &self,
        store: &Bound<'_, Store>,
        read: impl FnOnce(&Template, &[Py<Object>]) -> T,
    ) -> Option<Result<Kept, T>> {
        let inner = self.lock();
        if let Some(State::Finished(place)) = inner.state(store)
            && let Some(value) = store.get().get(store.py(), *place)
        {
            return Some(Ok(value));
        }
        let template = &inner.template;
        inner
            .former
            .is_none()
            .then(|| Err(read(template, &template.dependencies)))
    }

    /// Whether there is a result in `store`.
    pub(super) fn is_finished(&self, store: &Bound<'_, Store>) -> bool {
        let inner = self.lock();
        matches!(inner.state(store), Some(State::Finished(_)))
    }

    /// Its value in the session of `store`, if it has one there.
    pub(super) fn value(&self, store: &Bound<'_, Store>) -> Option<Kept> {
        let inner = self.lock();
        match inner.state(store) {
            Some(State::Finished(place)) => store.get().get(store.py(), *place),
            _ => None,
        }
    }

    /// Asks to run it. `promise` is kept if another task is at it already; it
    /// then waits with `ticket`, which is None where that would never end.
    pub(super) fn claim(
        &self,
        store: &Bound<'_, Store>,
        promise: impl FnOnce() -> Promise<PythonRunner>,
        ticket: impl FnOnce() -> Option<Ticket>,
    ) -> Claim {
        let mut inner = self.lock();
        let here = inner.sessions.iter().position(|s| s.store.is(store));
        let claimed = State::Claimed {
            generation: fork::generation(),
            waiters: Vec::new(),
        };
        let Some(here) = here else {
            let gone = inner.forget_stopped();
            inner.sessions.push(InSession {
                store: store.clone().unbind(),
                state: claimed,
            });
            drop(inner);
            drop(gone);
            return Claim::Granted;
        };
        match &mut inner.sessions[here].state {
            State::Finished(place) => match store.get().get(store.py(), *place) {
                Some(value) => Claim::Finished(value),
                None => Claim::Granted, // the session has stopped; nobody will ask
            },
            State::Claimed {
                generation,
                waiters,
            } if *generation == fork::generation() => match ticket() {
                Some(_ticket) => {
                    waiters.push(Waiter {
                        promise: promise(),
                        _ticket,
                    });
                    Claim::Promised
                }
                None => Claim::WouldWaitForItself,
            },
            // Claimed by a thread of the parent process, which is not here.
            state @ State::Claimed { .. } => {
                *state = claimed;
                Claim::Granted
            }
        }
    }

    /// Claims it for a run that is being planned, of which its value will be a part.
    /// Says whether it was neither finished nor claimed.
    pub(super) fn claim_for_run(&self, store: &Bound<'_, Store>) -> bool {
        let mut inner = self.lock();
        let claimed = State::Claimed {
            generation: fork::generation(),
            waiters: Vec::new(),
        };
        match inner.sessions.iter_mut().find(|s| s.store.is(store)) {
            None => inner.sessions.push(InSession {
                store: store.clone().unbind(),
                state: claimed,
            }),
            Some(InSession { state, .. }) => match state {
                State::Claimed { generation, .. } if *generation != fork::generation() => {
                    *state = claimed;
                }
                _ => return false,
            },
        }
        true
    }

    /// Keeps the result; those who waited are to be told.
    pub(super) fn finish(&self, store: &Bound<'_, Store>, value: Kept) -> Vec<Waiter> {
        let py = store.py();
        let weak = self.weak_dependencies(py);
        let place = store.get().put(value);
        let mut inner = self.lock();
        let waiters = inner.end_claim(store, place.map(State::Finished));
        // A result that came after the end of its session is no result. Without memory
        // for weak references it cannot be executed elsewhere.
        let mut dependencies = Dependencies::new();
        if place.is_some() && !inner.template.dependencies.is_empty() {
            dependencies = std::mem::take(&mut inner.template.dependencies);
            inner.former = Some(weak.unwrap_or_default());
        }
        drop(inner);
        drop_objects(dependencies);
        waiters
    }

    fn weak_dependencies(&self, py: Python<'_>) -> PyResult<WeakDependencies> {
        let dependencies: Dependencies = {
            let inner = self.lock();
            let dependencies = inner.template.dependencies.iter();
            dependencies.map(|object| object.clone_ref(py)).collect()
        };
        (dependencies.iter())
            .map(|object| tracking::weakref(object.bind(py)))
            .collect()
    }

    /// Gives the claim up: it has no result. Those who waited are to be told.
    pub(super) fn give_up(&self, store: &Bound<'_, Store>) -> Vec<Waiter> {
        self.lock().end_claim(store, None)
    }
}

impl Waiter {
    /// Tells that there is a result.
    pub(super) fn finished(self, py: Python<'_>, value: &Kept) {
        if let Some(run) = self.promise.run() {
            let delivered = (run.runner()).deliver(py, self.promise.task(), value.clone_ref(py));
            drop(self._ticket);
            self.promise.settle(delivered);
        }
    }

    /// Tells that it failed, and what is known of that.
    pub(super) fn failed(self, py: Python<'_>, error: &PyErr, captured: Option<Py<PyAny>>) {
        if let Some(captured) = captured
            && let Some(run) = self.promise.run()
        {
            (run.runner().failures()).keep(self.promise.task(), captured);
        }
        drop(self._ticket);
        self.promise.settle(Err(error.clone_ref(py)));
    }

    /// Lets the task try for itself.
    pub(super) fn try_itself(self) {
        drop(self._ticket);
        self.promise.again();
    }
}

impl Inner {
    fn state(&self, store: &Bound<'_, Store>) -> Option<&State> {
        let here = self.sessions.iter().find(|s| s.store.is(store))?;
        Some(&here.state)
    }

    fn end_claim(&mut self, store: &Bound<'_, Store>, state: Option<State>) -> Vec<Waiter> {
        let Some(here) = self.sessions.iter().position(|s| s.store.is(store)) else {
            return Vec::new();
        };
        let before = match state {
            Some(state) => std::mem::replace(&mut self.sessions[here].state, state),
            None => self.sessions.swap_remove(here).state,
        };
        match before {
            State::Claimed { waiters, .. } => waiters,
            State::Finished(_) => Vec::new(),
        }
    }

    /// Takes out what stands for sessions that have stopped.
    fn forget_stopped(&mut self) -> SmallVec<[InSession; 1]> {
        let mut gone = SmallVec::new();
        let mut i = 0;
        while i < self.sessions.len() {
            let session = &self.sessions[i];
            if matches!(session.state, State::Finished(_)) && session.store.get().stopped() {
                gone.push(self.sessions.swap_remove(i));
            } else {
                i += 1;
            }
        }
        gone
    }
}
