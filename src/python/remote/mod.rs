//! `mars.remote` in Rust: lazy calls, and the graph that they make.
//!
//! ```text
//! spawn(func, args)        template   finds the objects in the arguments
//!         ▼
//! Object                   object     a handle: the call, and where it stands in sessions
//!         ▼ execute
//! plan                     the objects that have no result yet become the tasks of a graph
//!         ▼
//! run                      each task claims its object (claim), calls, and keeps the result
//!         ▼
//! Store                    store      the results of one session
//! ```
//!
//! What holds always:
//!
//! * an object is claimed by at most one task at a time, while its function runs or
//!   the object that it returned does, and that of a Dask collection by one run: so
//!   it runs once, and whoever else wants it is told the outcome;
//! * an object that has a result holds no other object alive;
//! * no lock of an object or a store is held while Python code may run, nor
//!   taken by a thread that is not attached.

mod capture;
mod claim;
mod current;
mod drops;
mod execution;
mod key;
mod methods;
mod object;
mod plan;
mod python_side;
mod run;
mod spawning;
mod store;
mod template;
mod tracking;
mod waits;

pub(super) use current::waiting;
pub(in crate::python) use execution::Execution;
pub(super) use object::Object;
pub(super) use plan::{Objects, PendingObjects, compile_object, is_object};
pub(super) use run::{Remote, run};
pub(super) use store::Store;
pub(super) use waits::WaitedBy;

use pyo3::prelude::*;

/// Adds classes and functions to the module `mars._mars`.
pub(super) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Object>()?;
    module.add_class::<Store>()?;
    module.add_class::<execution::Execution>()?;
    spawning::add_to(module)?;
    module.add_function(wrap_pyfunction!(spawning::convert, module)?)?;
    module.add_function(wrap_pyfunction!(execution::execute_objects, module)?)?;
    module.add_function(wrap_pyfunction!(execution::fetch_objects, module)?)?;
    module.add_function(wrap_pyfunction!(current_object, module)?)?;
    module.add_function(wrap_pyfunction!(task_cancelled, module)?)?;
    module.add_function(wrap_pyfunction!(in_task, module)?)?;
    Ok(())
}

/// The object whose function the calling thread is in; None outside of all.
#[pyfunction]
pub(super) fn current_object(py: Python<'_>) -> Option<Py<Object>> {
    current::innermost(py)
}

/// Whether the calling thread is in a task of any execution.
#[pyfunction]
pub(super) fn in_task() -> bool {
    crate::executor::in_task()
}

/// Whether nobody waits any more for the task that the calling thread is in:
/// its execution was cancelled, or has failed elsewhere.
#[pyfunction]
pub(super) fn task_cancelled() -> bool {
    crate::executor::is_stopped()
}
