//! Results that are counted, and moved to disk and back.
//!
//! A run under a limit keeps its results in [`Cell`]s instead of bare references. How
//! large one is says [`measure`]; what may stay in memory is for the core to decide
//! ([`crate::memory`]); a cell knows how to get to disk and back.

mod cell;
mod errors;
mod limited;
mod measure;
mod pickles;
mod pool;

pub(super) use cell::Kept;
pub(super) use errors::{does_not_fit, is_out_of_memory, report_will_not_fit};
pub(super) use limited::Limited;
pub(super) use measure::{bytes_of, owners};
pub(super) use pool::{Memory, remove_all};

use crate::python::once::intern;
use crate::python::threads::{Inside, interpreter_call};
use pyo3::prelude::*;

/// Gives memory back to the system that libraries keep for later.
pub(super) fn trim(py: Python<'_>) {
    let released = py
        .import(intern!(py, "mars._pickles"))
        .and_then(|module| module.getattr(intern!(py, "release_unused")))
        .and_then(|release| interpreter_call::call(py, &release.unbind(), &[]));
    if let Err(error) = released {
        error.write_unraisable(py, None);
    }
    if let Ok(inside) = Inside::enter(py) {
        inside.outside(py, crate::memory::trim);
    }
}

/// Removes everything from the disk; for a process that ends without exit handlers.
#[pyfunction]
fn remove_spilled() {
    remove_all();
}

pub(super) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Memory>()?;
    module.add_function(wrap_pyfunction!(remove_spilled, module)?)?;
    module.add(
        "MemoryLimitError",
        module.py().get_type::<errors::MemoryLimitError>(),
    )?;
    module.add("SpillError", module.py().get_type::<errors::SpillError>())
}
