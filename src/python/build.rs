//! How this library was built.

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What a report of a fault should tell: the profile, the compiler and the target.
#[pyfunction]
pub(super) fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    let is_debug = cfg!(debug_assertions);
    info.set_item("profile", if is_debug { "debug" } else { "release" })?;
    info.set_item("rust", env!("MARS_RUSTC"))?;
    info.set_item("target", env!("MARS_TARGET"))?;
    Ok(info)
}
