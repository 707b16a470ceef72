//! A lock that a forked child does not find locked.
//!
//! A thread of the parent may hold it when the child is made, and is not there to let it
//! go. So each process that uses it has a state of its own, the child an empty one.

use crate::fork;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One `T` for every process that a fork has led to.
pub(super) struct Generations<T> {
    generation: u32,
    state: Mutex<T>,
    /// That of a child, made when it is first needed there.
    child: AtomicPtr<Generations<T>>,
}

impl<T: Default> Generations<T> {
    pub(super) fn new() -> Self {
        Generations {
            generation: fork::generation(),
            state: Mutex::default(),
            child: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// This process's state.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        if self.generation == fork::generation() {
            return self.state.lock().unwrap_or_else(PoisonError::into_inner);
        }
        self.of_child().lock()
    }

    #[cold]
    fn of_child(&self) -> &Self {
        let mut child = self.child.load(Ordering::Acquire);
        if child.is_null() {
            let fresh = Box::into_raw(Box::new(Self::new()));
            let theirs = (self.child)
                .compare_exchange(child, fresh, Ordering::AcqRel, Ordering::Acquire)
                .err();
            child = theirs.unwrap_or(fresh);
            if theirs.is_some() {
                // SAFETY: `fresh` lost the race, so nobody else has seen it.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
        // SAFETY: a pointer stored here came from Box::into_raw and is freed with `self`.
        unsafe { &*child }
    }
}

impl<T> Drop for Generations<T> {
    fn drop(&mut self) {
        let child = *self.child.get_mut();
        if !child.is_null() {
            // SAFETY: as above; nobody else has it any more.
            drop(unsafe { Box::from_raw(child) });
        }
    }
}
