//! What the interpreter needs to know of our threads, and they of it.

use crate::executor::pool::{self, ThreadHooks};
use pyo3::ffi;
use pyo3::prelude::*;
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// The interpreter is going away: nobody may attach any more.
static EXITING: AtomicBool = AtomicBool::new(false);

thread_local! {
    static STATE: Cell<*mut ffi::PyThreadState> = const { Cell::new(ptr::null_mut()) };
}

/// Tells the pool what a worker thread does first and last.
///
/// A worker keeps one interpreter thread state for its life: making one for
/// every session would cost more than a small task, and lose what tasks keep
/// in `threading.local`.
pub(super) fn install() {
    pool::set_thread_hooks(ThreadHooks { begin, end });
}

fn begin() {
    if EXITING.load(Ordering::Acquire) {
        park();
    }
    // SAFETY: a new thread of ours, not attached. The state made here stays
    // until `end`, for later attachments of this thread to find.
    unsafe {
        ffi::PyGILState_Ensure();
        STATE.set(ffi::PyEval_SaveThread());
    }
}

fn end() {
    let state = STATE.replace(ptr::null_mut());
    if state.is_null() || EXITING.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: this thread made `state` in `begin` and is not attached; the
    // second call undoes the first one of `begin`.
    unsafe {
        ffi::PyEval_RestoreThread(state);
        ffi::PyGILState_Release(ffi::PyGILState_STATE::PyGILState_LOCKED);
    }
}

/// The number that `threading.get_ident` gives for the calling thread.
pub(super) fn ident() -> u64 {
    unsafe extern "C" {
        fn PyThread_get_thread_ident() -> std::ffi::c_ulong;
    }
    // SAFETY: a function of CPython's API that may be called from any thread.
    unsafe { PyThread_get_thread_ident() as u64 }
}

/// Stops this thread for good, if it is a worker and the interpreter is going
/// away: a thread that tries to attach then is ended by CPython in the middle
/// of its Rust frames.
pub(super) fn park_if_exiting() {
    if EXITING.load(Ordering::Acquire) && is_worker() {
        park();
    }
}

/// Whether the calling thread belongs to the pool.
pub(super) fn is_worker() -> bool {
    !STATE.get().is_null()
}

/// Whether the interpreter is going away.
pub(super) fn is_exiting() -> bool {
    EXITING.load(Ordering::Acquire)
}

fn park() -> ! {
    loop {
        std::thread::park();
    }
}

/// Tells workers to touch the interpreter no more; called at its exit.
#[pyfunction]
pub(super) fn shutdown() {
    EXITING.store(true, Ordering::Release);
}

/// The number of worker threads; 0 before the first computation that needed one.
#[pyfunction]
pub(super) fn pool_size(py: Python<'_>) -> usize {
    py.detach(pool::size)
}

/// Calls into the interpreter that may come back to a dead one.
///
/// Before CPython 3.14 a thread that wants the interpreter lock during
/// finalization is ended with `pthread_exit`, which unwinds its stack. These
/// calls may be unwound through, and park the thread for ever instead: it holds
/// nothing that the process still needs.
pub(super) mod interpreter_call {
    use super::park;
    use pyo3::ffi::PyObject;

    struct ParkIfUnwound;

    impl Drop for ParkIfUnwound {
        fn drop(&mut self) {
            park();
        }
    }

    mod unwinding {
        use super::PyObject;
        unsafe extern "C-unwind" {
            pub(super) fn PyObject_Vectorcall(
                callable: *mut PyObject,
                args: *const *mut PyObject,
                nargsf: usize,
                kwnames: *mut PyObject,
            ) -> *mut PyObject;
            pub(super) fn Py_DecRef(object: *mut PyObject);
        }
    }

    /// `PyObject_Vectorcall`.
    ///
    /// Safety: as for the C function.
    #[inline]
    pub(in crate::python) unsafe fn vectorcall(
        callable: *mut PyObject,
        args: *const *mut PyObject,
        nargsf: usize,
        kwnames: *mut PyObject,
    ) -> *mut PyObject {
        let guard = ParkIfUnwound;
        // SAFETY: forwarded.
        let value = unsafe { unwinding::PyObject_Vectorcall(callable, args, nargsf, kwnames) };
        std::mem::forget(guard);
        value
    }

    /// `Py_DECREF`, which may run any destructor.
    ///
    /// Safety: as for the C function.
    #[inline]
    pub(in crate::python) unsafe fn decref(object: *mut PyObject) {
        let guard = ParkIfUnwound;
        // SAFETY: forwarded.
        unsafe { unwinding::Py_DecRef(object) };
        std::mem::forget(guard);
    }
}
