//! Lets go of references without going as deep as objects refer to each other.
//!
//! An object that was never executed holds those that its arguments name, these
//! hold theirs, and so on for a chain of any length: the last reference to the
//! first must not free them one inside the other.

use pyo3::ffi;
use pyo3::prelude::*;
use std::cell::RefCell;

thread_local! {
    static WAITING: RefCell<Option<Vec<Py<PyAny>>>> = const { RefCell::new(None) };
}

/// Drops these references, or leaves that to the call below on this thread.
/// The caller is attached.
pub(super) fn drop_flat(references: impl IntoIterator<Item = Py<PyAny>>) {
    // What others hold too is not freed here: no need to go in turn.
    let mut references = (references.into_iter())
        .filter_map(|reference| {
            // SAFETY: attached; a live object. On a free-threaded interpreter the
            // count may be too low, never too high for what is only ours.
            let only_ours = unsafe { ffi::Py_REFCNT(reference.as_ptr()) } <= 1;
            only_ours.then_some(reference)
        })
        .peekable();
    if references.peek().is_none() {
        return;
    }
    let outermost = WAITING.with_borrow_mut(|waiting| match waiting {
        Some(waiting) => {
            waiting.extend(references);
            false
        }
        None => {
            *waiting = Some(references.collect());
            true
        }
    });
    if !outermost {
        return;
    }
    loop {
        let next = WAITING.with_borrow_mut(|waiting| {
            let next = waiting.as_mut().and_then(Vec::pop);
            if next.is_none() {
                *waiting = None;
            }
            next
        });
        match next {
            Some(reference) => drop(reference),
            None => return,
        }
    }
}
