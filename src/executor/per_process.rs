//! State that a forked child does not share with its parent.
//!
//! The threads and locks of a parent do not come along in a fork: a child leaks
//! its parent's state and starts with none.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One `T` a process, made when it is first needed.
pub(super) struct PerProcess<T>(AtomicPtr<Mutex<T>>);

impl<T: Default> PerProcess<T> {
    pub(super) const fn new() -> Self {
        PerProcess(AtomicPtr::new(ptr::null_mut()))
    }

    pub(super) fn lock(&self) -> MutexGuard<'static, T>
    where
        T: 'static,
    {
        self.get().lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, which stays as long as the process.
    pub(super) fn get(&self) -> &'static Mutex<T>
    where
        T: 'static,
    {
        let mut state = self.0.load(Ordering::Acquire);
        if state.is_null() {
            super::fork::forget_in_children();
            let fresh = Box::into_raw(Box::new(Mutex::new(T::default())));
            match (self.0).compare_exchange(state, fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => state = fresh,
                Err(theirs) => {
                    // SAFETY: `fresh` came from Box::into_raw above and lost the
                    // race, so nobody else has seen it.
                    drop(unsafe { Box::from_raw(fresh) });
                    state = theirs;
                }
            }
        }
        // SAFETY: a pointer stored here came from Box::into_raw and is never
        // freed: the process or the forked child keeps it for ever.
        unsafe { &*state }
    }

    /// Starts anew, in a forked child. Only stores to an atomic.
    #[cfg(unix)]
    pub(super) fn forget(&self) {
        self.0.store(ptr::null_mut(), Ordering::Release);
    }
}
