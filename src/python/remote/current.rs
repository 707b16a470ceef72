//! Which objects' functions the calling thread is in.

use super::object::Object;
use super::run::WaitedBy;
use pyo3::prelude::*;
use std::cell::RefCell;

struct Frame {
    object: Py<Object>,
    waited_by: WaitedBy,
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Marks the calling thread as inside the function of `object` until left.
pub(super) struct Inside(());

impl Inside {
    /// `waited_by` are those that wait for the run which the call belongs to.
    pub(super) fn enter(object: Py<Object>, waited_by: WaitedBy) -> Self {
        FRAMES.with_borrow_mut(|frames| frames.push(Frame { object, waited_by }));
        Inside(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let frame = FRAMES.with_borrow_mut(Vec::pop);
        drop(frame); // with nothing of ours borrowed
    }
}

/// The innermost object.
pub(super) fn innermost(py: Python<'_>) -> Option<Py<Object>> {
    FRAMES.with_borrow(|frames| frames.last().map(|frame| frame.object.clone_ref(py)))
}

/// The objects that wait for whatever the calling thread waits for: those whose
/// functions it is in, and those that wait for the runs of these.
pub(super) fn waiting() -> Vec<usize> {
    FRAMES.with_borrow(|frames| {
        let mut all: Vec<usize> = frames.iter().map(|f| f.object.as_ptr() as usize).collect();
        for frame in frames {
            all.extend(frame.waited_by.all());
        }
        all.sort_unstable();
        all.dedup();
        all
    })
}

/// Whether the calling thread is in a task of the run that these wait for.
pub(super) fn is_inside(waited_by: &WaitedBy) -> bool {
    FRAMES.with_borrow(|frames| frames.iter().any(|frame| frame.waited_by.is(waited_by)))
}
