//! Which objects' functions the calling thread is in.

use super::object::Object;
use super::waits::WaitedBy;
use pyo3::prelude::*;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Pointers to what the caller of the function holds until it returns.
struct Frame {
    object: NonNull<Py<Object>>,
    waited_by: NonNull<WaitedBy>,
}

impl Frame {
    fn object(&self) -> &Py<Object> {
        // SAFETY: an `Inside` borrows what is pointed at for as long as the
        // frame is on the stack.
        unsafe { self.object.as_ref() }
    }

    fn waited_by(&self) -> &WaitedBy {
        // SAFETY: as above.
        unsafe { self.waited_by.as_ref() }
    }
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Marks the calling thread as inside the function of an object until dropped.
pub(super) struct Inside<'a>(PhantomData<(&'a Py<Object>, *const ())>);

impl<'a> Inside<'a> {
    /// `waited_by` are those that wait for the run which the call belongs to.
    pub(super) fn enter(object: &'a Py<Object>, waited_by: &'a WaitedBy) -> Self {
        FRAMES.with_borrow_mut(|frames| {
            frames.push(Frame {
                object: object.into(),
                waited_by: waited_by.into(),
            });
        });
        Inside(PhantomData)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        FRAMES.with_borrow_mut(Vec::pop);
    }
}

/// The innermost object.
pub(super) fn innermost(py: Python<'_>) -> Option<Py<Object>> {
    FRAMES.with_borrow(|frames| frames.last().map(|frame| frame.object().clone_ref(py)))
}

/// Those that wait for whatever the calling thread waits for: the object whose
/// function it is in, and who waits for the run of that; the outer ones among them.
pub(in crate::python) fn waiting() -> WaitedBy {
    FRAMES.with_borrow(|frames| {
        let innermost = frames.last();
        let object = innermost.map(|frame| frame.object().as_ptr() as usize);
        WaitedBy::new(object, innermost.map(|frame| frame.waited_by().clone()))
    })
}
