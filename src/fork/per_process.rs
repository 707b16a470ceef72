//! State that a forked child does not share with its parent.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One `T` a process, made when it is first needed. A child leaks its parent's.
pub(crate) struct PerProcess<T>(AtomicPtr<Here<T>>);

struct Here<T> {
    generation: u32,
    state: Mutex<T>,
}

impl<T: Default> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        PerProcess(AtomicPtr::new(ptr::null_mut()))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'static, T>
    where
        T: 'static,
    {
        self.get().lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, which stays as long as the process.
    #[inline]
    pub(crate) fn get(&self) -> &'static Mutex<T>
    where
        T: 'static,
    {
        let here = self.0.load(Ordering::Acquire);
        // SAFETY: a pointer stored here came from Box::into_raw and is never
        // freed: the process or the forked child keeps it for ever.
        match unsafe { here.as_ref() } {
            Some(here) if here.generation == super::generation() => &here.state,
            _ => self.make(here),
        }
    }

    #[cold]
    fn make(&self, before: *mut Here<T>) -> &'static Mutex<T>
    where
        T: 'static,
    {
        super::count();
        let fresh = Box::into_raw(Box::new(Here {
            generation: super::generation(),
            state: Mutex::default(),
        }));
        let here =
            match (self.0).compare_exchange(before, fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => fresh,
                Err(theirs) => {
                    // SAFETY: `fresh` came from Box::into_raw above and lost the
                    // race, so nobody else has seen it.
                    drop(unsafe { Box::from_raw(fresh) });
                    theirs
                }
            };
        // SAFETY: as in `get`.
        &unsafe { &*here }.state
    }
}
