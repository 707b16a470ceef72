//! What the interpreter needs to know of our threads, and they of it.

use crate::executor::pool::{self, ThreadHooks};
use crate::fork;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The interpreter is going away.
static EXITING: AtomicBool = AtomicBool::new(false);
/// The one thread that may still use it then.
static FINALIZER: AtomicU64 = AtomicU64::new(0);
/// Threads that use the interpreter in a place where they must not be ended.
static INSIDE: AtomicIsize = AtomicIsize::new(0);

/// Whether workers keep their thread states: see [`install`].
static KEEP_STATES: AtomicBool = AtomicBool::new(true);

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
    static STATE: Cell<*mut ffi::PyThreadState> = const { Cell::new(ptr::null_mut()) };
}

/// Tells the pool what a worker thread does first and last.
///
/// A worker keeps one interpreter thread state for its life: making one for
/// every session would cost more than a small task, and lose what tasks keep
/// in `threading.local`.
///
/// Not so on a free-threaded interpreter. There an object that another thread
/// lets go of is freed by the thread that made it, when that runs Python again:
/// what an idle worker has made would stay in memory. Without a thread state the
/// maker counts as gone, and the object is freed at once.
pub(super) fn install(py: Python<'_>) -> PyResult<()> {
    let disabled =
        (py.import("sysconfig")?).call_method1("get_config_var", ("Py_GIL_DISABLED",))?;
    KEEP_STATES.store(!disabled.is_truthy()?, Ordering::Relaxed);
    crate::executor::prepare();
    fork::in_children(forget_insiders);
    pool::set_thread_hooks(ThreadHooks { begin, end });
    exit_handler::install();
    let leave = wrap_pyfunction!(shutdown, py)?;
    py.import("atexit")?.call_method1("register", (leave,))?;
    Ok(())
}

/// Leaves the process at once, after Python has gone, if tasks still run.
///
/// `exit` ends with the destructors of shared libraries, while abandoned tasks
/// go on: OpenBLAS frees the memory that they compute with, or waits for its own
/// threads for ever. Python's part of the exit is over by then, and handlers
/// registered after ours have run; what is left out is of use to no one.
mod exit_handler {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    pub(super) fn install() {
        use std::ffi::{c_int, c_void};
        use std::sync::Once;

        unsafe extern "C" {
            fn on_exit(handler: extern "C" fn(c_int, *mut c_void), arg: *mut c_void) -> c_int;
        }
        extern "C" fn leave(status: c_int, _: *mut c_void) {
            if crate::executor::anybody_works() {
                // SAFETY: functions of the C library that may be called in an
                // exit handler; the second one does not return.
                unsafe {
                    libc::fflush(std::ptr::null_mut());
                    libc::_exit(status);
                }
            }
        }
        static ONCE: Once = Once::new();
        // SAFETY: registers a function that stays as long as this library,
        // which is never unloaded.
        ONCE.call_once(|| unsafe {
            on_exit(leave, std::ptr::null_mut());
        });
    }

    /// Other C libraries do not tell a handler the status to leave with.
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    pub(super) fn install() {}
}

/// A forked child has none of the threads that were inside in its parent.
fn forget_insiders() {
    INSIDE.store(0, Ordering::SeqCst);
}

fn begin() {
    IS_WORKER.set(true);
    if !KEEP_STATES.load(Ordering::Relaxed) {
        return;
    }
    park_at_exit();
    // SAFETY: a new thread of ours, not attached. The state made here stays
    // until `end`, for later attachments of this thread to find.
    unsafe {
        ffi::PyGILState_Ensure();
        STATE.set(ffi::PyEval_SaveThread());
    }
}

fn end() {
    let state = STATE.replace(ptr::null_mut());
    if state.is_null() || !may_attach() {
        return;
    }
    // SAFETY: this thread made `state` in `begin` and is not attached; the
    // second call undoes the first one of `begin`.
    unsafe {
        interpreter_call::restore(state);
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

/// Whether the calling thread belongs to the pool.
pub(super) fn is_worker() -> bool {
    IS_WORKER.get()
}

/// Whether the interpreter is going away.
pub(super) fn is_exiting() -> bool {
    EXITING.load(Ordering::SeqCst)
}

/// Whether the calling thread may use the interpreter.
pub(super) fn may_attach() -> bool {
    !is_exiting() || FINALIZER.load(Ordering::SeqCst) == ident()
}

/// Stops the calling thread for good if it may not use the interpreter any more.
pub(super) fn park_at_exit() {
    if !may_attach() {
        park_detached();
    }
}

/// Stops the calling thread for good; whoever needs the interpreter lock has it.
fn park_detached() -> ! {
    // SAFETY: may be called from any thread. One that is attached detaches, and
    // never uses the interpreter again.
    unsafe {
        if ffi::PyGILState_Check() != 0 {
            ffi::PyEval_SaveThread();
        }
    }
    park();
}

fn park() -> ! {
    loop {
        std::thread::park();
    }
}

/// A thread inside the interpreter, in code of ours that CPython must not end.
///
/// Before CPython 3.14 a thread that wants the interpreter lock while the
/// interpreter goes away is ended by unwinding its stack, which aborts the
/// process where it meets Rust frames that do not expect it. So [`shutdown`]
/// waits for the threads inside, and nobody gets inside any more. The time in
/// tasks does not count: see [`interpreter_call`].
pub(super) struct Inside(());

impl Inside {
    /// For an attached thread. At exit a thread that somebody may wait for gets
    /// an exception, as from Dask's own pools; others do not return.
    pub(super) fn enter(py: Python<'_>) -> PyResult<Self> {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        let inside = Inside(());
        if may_attach() {
            return Ok(inside);
        }
        if is_worker() {
            drop(inside);
            park_detached();
        }
        let thread = (py.import("threading")?).call_method0("current_thread")?;
        if !thread.getattr("daemon")?.is_truthy()? {
            return Err(PyRuntimeError::new_err(
                "cannot compute in another thread while the interpreter exits",
            ));
        }
        drop(inside);
        // SAFETY: attached, and this thread never uses the interpreter again.
        unsafe { ffi::PyEval_SaveThread() };
        park();
    }

    /// Calls `work` outside, detached from the interpreter.
    pub(super) fn outside<T: Send>(&self, py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        py.detach(|| {
            let value = work();
            Self::come_back();
            value
        })
    }

    /// To be called before a detached thread attaches.
    fn come_back() {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        if !may_attach() {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
            park_detached();
        }
    }

    /// Calls `work`, which runs a task, attached; the exit does not wait for it.
    pub(super) fn while_outside<T>(&self, work: impl FnOnce() -> T) -> T {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        let value = work();
        Self::come_back();
        value
    }

    /// Calls a function of Python's that may take long; the exit does not wait for it.
    pub(super) fn call<'py>(
        &self,
        py: Python<'py>,
        callable: &Py<PyAny>,
        args: &[&Bound<'py, PyAny>],
    ) -> PyResult<Bound<'py, PyAny>> {
        self.while_outside(|| interpreter_call::call(py, callable, args))
    }

    /// Calls `work` inside, on a thread that is outside.
    pub(super) fn again<T>(work: impl FnOnce(Python<'_>, &Inside) -> T) -> T {
        Self::come_back();
        let inside = Inside(());
        Python::attach(|py| work(py, &inside))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Keeps all threads but the calling one away from the interpreter, from now
/// on; called at its exit.
#[pyfunction]
pub(super) fn shutdown(py: Python<'_>) {
    /// What is inside is soon outside, unless a callback or a key's own
    /// methods take long; the exit does not wait for these.
    const PATIENCE: Duration = Duration::from_secs(1);
    FINALIZER.store(ident(), Ordering::SeqCst);
    EXITING.store(true, Ordering::SeqCst);
    py.detach(|| {
        let begin = Instant::now();
        while INSIDE.load(Ordering::SeqCst) > 0 && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_micros(100));
        }
        // Not every result is let go of before the process ends.
        super::memory::remove_all();
    });
}

/// The number of worker threads; 0 before the first computation that needed one.
#[pyfunction]
pub(super) fn pool_size() -> usize {
    pool::size()
}

/// Lets idle worker threads end, and busy ones when they have done what they have.
#[pyfunction]
pub(super) fn retire_pool() {
    pool::retire(); // waits for nobody
}

/// Calls into the interpreter that may come back to a dead one.
///
/// Before CPython 3.14 a thread that wants the interpreter lock during
/// finalization is ended with `pthread_exit`, which unwinds its stack. These
/// calls may be unwound through, and park the thread for ever instead: it holds
/// nothing that the process still needs.
pub(super) mod interpreter_call {
    use super::{park, park_at_exit};
    use pyo3::ffi::{self, PyObject, PyThreadState};
    use pyo3::prelude::*;

    struct ParkIfUnwound;

    impl Drop for ParkIfUnwound {
        fn drop(&mut self) {
            park();
        }
    }

    mod unwinding {
        use super::{PyObject, PyThreadState};
        unsafe extern "C-unwind" {
            pub(super) fn PyObject_Vectorcall(
                callable: *mut PyObject,
                args: *const *mut PyObject,
                nargsf: usize,
                kwnames: *mut PyObject,
            ) -> *mut PyObject;
            pub(super) fn Py_DecRef(object: *mut PyObject);
            pub(super) fn PyEval_RestoreThread(state: *mut PyThreadState);
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

    /// Calls `callable`, from code that is not [`Inside`](super::Inside): a call that
    /// takes long keeps no exit waiting.
    pub(in crate::python) fn call<'py>(
        py: Python<'py>,
        callable: &Py<PyAny>,
        args: &[&Bound<'py, PyAny>],
    ) -> PyResult<Bound<'py, PyAny>> {
        let args: smallvec::SmallVec<[*mut PyObject; 5]> =
            args.iter().map(|arg| arg.as_ptr()).collect();
        // SAFETY: attached; all are live objects.
        unsafe {
            let value = vectorcall(
                callable.as_ptr(),
                args.as_ptr(),
                args.len(),
                std::ptr::null_mut(),
            );
            Bound::from_owned_ptr_or_err(py, value)
        }
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

    /// `PyEval_RestoreThread`.
    ///
    /// Safety: as for the C function.
    pub(in crate::python) unsafe fn restore(state: *mut PyThreadState) {
        let guard = ParkIfUnwound;
        // SAFETY: forwarded.
        unsafe { unwinding::PyEval_RestoreThread(state) };
        std::mem::forget(guard);
    }

    /// Lets the interpreter lock go and takes it again, giving others a turn.
    pub(in crate::python) fn breathe(_py: Python<'_>) {
        // SAFETY: attached; nothing happens between the two calls that could
        // notice that this thread is not.
        unsafe {
            let state = ffi::PyEval_SaveThread();
            park_at_exit();
            restore(state);
        }
    }
}
