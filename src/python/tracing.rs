//! Trace and profile functions that a program has set for all its threads.
//!
//! `threading.settrace` and `threading.setprofile` reach threads that Python
//! starts. Ours take them over while they work for a run, so that coverage,
//! debuggers and profilers see tasks as they do in Dask's own threads.

use crate::python::once::Once;
use crate::python::once::intern;
use pyo3::prelude::*;
use std::cell::Cell;

thread_local! {
    /// Hooks are set for this thread.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The functions in force when a run began.
#[derive(Default)]
pub(super) struct Tracing {
    trace: Option<Py<PyAny>>,
    profile: Option<Py<PyAny>>,
}

impl Tracing {
    /// What `threading.gettrace` and `threading.getprofile` say now.
    pub(super) fn current(py: Python<'_>) -> PyResult<Self> {
        static GETTERS: Once<[Py<PyAny>; 2]> = Once::new();
        let [trace, profile] = GETTERS.get_or_try_init(py, || {
            let threading = py.import("threading")?;
            PyResult::Ok([
                threading.getattr("gettrace")?.unbind(),
                threading.getattr("getprofile")?.unbind(),
            ])
        })?;
        let ask = |getter: &Py<PyAny>| -> PyResult<Option<Py<PyAny>>> {
            let hook = getter.call0(py)?;
            Ok((!hook.is_none(py)).then_some(hook))
        };
        Ok(Tracing {
            trace: ask(trace)?,
            profile: ask(profile)?,
        })
    }

    fn is_off(&self) -> bool {
        self.trace.is_none() && self.profile.is_none()
    }

    /// Calls `work` with the functions set for the calling thread, which has
    /// none of its own. Inside another such call they are set already.
    pub(super) fn during<T>(&self, py: Python<'_>, work: impl FnOnce() -> T) -> T {
        if self.is_off() || INSIDE.replace(true) {
            return work();
        }
        self.set(py, true);
        let value = work();
        self.set(py, false);
        INSIDE.set(false);
        value
    }

    fn set(&self, py: Python<'_>, on: bool) {
        let Ok(sys) = py.import("sys") else {
            return;
        };
        for (name, hook) in [
            (intern!(py, "settrace"), &self.trace),
            (intern!(py, "setprofile"), &self.profile),
        ] {
            if let Some(hook) = hook {
                let hook = if on { hook.clone_ref(py) } else { py.None() };
                // A hook that cannot be set must not keep tasks from running.
                let _ = sys.call_method1(name, (hook,));
            }
        }
    }
}
