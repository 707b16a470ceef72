//! What goes wrong under a memory limit.

use super::super::threads::interpreter_call;
use crate::memory::Size;
use crate::memory::spill;
use pyo3::create_exception;
use pyo3::exceptions::{PyMemoryError, PyOSError};
use pyo3::prelude::*;

create_exception!(
    mars,
    MemoryLimitError,
    PyMemoryError,
    "The results do not fit: not into the memory limit, nor on the disk or within its limit."
);
create_exception!(
    mars,
    SpillError,
    PyOSError,
    "A result that was moved to disk cannot be read again."
);

/// Whether there was no memory to be had; not that results do not fit into a limit.
pub(in crate::python) fn is_out_of_memory(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyMemoryError>(py) && !error.is_instance_of::<MemoryLimitError>(py)
}

pub(in crate::python) fn does_not_fit(bytes: u64, finished: u64, count: u64, limit: u64) -> PyErr {
    MemoryLimitError::new_err(format!(
        "the asked-for results do not fit: {finished} of {count} take {} already, and the memory limit is {}. \
         Reduce them before compute(), write them with to_zarr() or to_parquet(), or raise the limit",
        Size(bytes),
        Size(limit),
    ))
}

/// Tells the log that the asked-for results are not going to fit.
pub(in crate::python) fn report_will_not_fit(py: Python<'_>, projected: u64, limit: u64) {
    warn(
        py,
        &format!(
            "the asked-for results are going to take about {}, more than the memory limit of {}: \
             the computation will fail when they do",
            Size(projected),
            Size(limit)
        ),
    );
}

pub(super) fn warn(py: Python<'_>, message: &str) {
    let told = (|| {
        let logger = py.import("logging")?.call_method1("getLogger", ("mars",))?;
        let warning = logger.getattr("warning")?.unbind();
        let message = pyo3::types::PyString::new(py, message);
        let format = pyo3::types::PyString::new(py, "%s");
        interpreter_call::call(py, &warning, &[format.as_any(), message.as_any()])
    })();
    if let Err(error) = told {
        error.write_unraisable(py, None);
    }
}

/// The exception for a result that could not be written.
pub(super) fn not_written(error: &spill::SpillError) -> PyErr {
    MemoryLimitError::new_err(format!(
        "results do not fit into the memory limit, and cannot go to disk: {error}"
    ))
}

/// The exception for a result that could not be read.
pub(super) fn not_read(error: &spill::SpillError) -> PyErr {
    SpillError::new_err(format!(
        "a result that was moved to disk cannot be read: {error}"
    ))
}
