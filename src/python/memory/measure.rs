//! How many bytes a result takes.

use crate::memory::Footprint;
use crate::python::once::{Once, intern};
use crate::python::threads::interpreter_call;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use smallvec::smallvec;

static FOOTPRINT: Once<Py<PyAny>> = Once::new();

/// Whether `value` is so small that it is not worth being counted.
pub(super) fn is_small(value: &Bound<'_, PyAny>) -> bool {
    let kind = value.get_type_ptr();
    value.is_none()
        || kind == &raw mut ffi::PyLong_Type
        || kind == &raw mut ffi::PyFloat_Type
        || kind == &raw mut ffi::PyBool_Type
}

/// The bytes of `value`; None if that cannot be told.
pub(super) fn measure(value: &Bound<'_, PyAny>) -> PyResult<Option<Footprint>> {
    let py = value.py();
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        let length = bytes.as_bytes().len() as u64;
        let owner = value.as_ptr() as u64; // of arrays that are views of it, too
        return Ok(Some(Footprint {
            own: 0,
            shared: smallvec![(owner, length)],
        }));
    }
    let footprint = FOOTPRINT.get_or_try_init(py, || {
        let sizes = py.import(intern!(py, "mars._sizes"))?;
        sizes.getattr(intern!(py, "footprint")).map(Bound::unbind)
    })?;
    let told = interpreter_call::call(py, footprint, &[value])?;
    if told.is_none() {
        return Ok(None);
    }
    let (own, pairs): (u64, Vec<u64>) = told.extract()?;
    let shared = pairs.chunks_exact(2).map(|pair| (pair[0], pair[1]));
    Ok(Some(Footprint {
        own,
        shared: shared.collect(),
    }))
}
