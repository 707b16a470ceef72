//! How many bytes a result takes.

use crate::memory::Footprint;
use crate::python::once::{Once, intern};
use crate::python::threads::interpreter_call;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use smallvec::smallvec;

static FOOTPRINT: Once<Py<PyAny>> = Once::new();

/// Whether `value` is so small that it is not worth being counted.
pub(super) fn is_small(value: &Bound<'_, PyAny>) -> bool {
    let kind = value.get_type_ptr();
    if kind == &raw mut ffi::PyLong_Type {
        let mut overflow = 0;
        // SAFETY: an int; no exception is set for one that is too large.
        unsafe { ffi::PyLong_AsLongLongAndOverflow(value.as_ptr(), &raw mut overflow) };
        return overflow == 0;
    }
    value.is_none() || kind == &raw mut ffi::PyFloat_Type || kind == &raw mut ffi::PyBool_Type
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

/// The bytes that `value` takes, with what it shares with others; None if that cannot be told.
pub(in crate::python) fn bytes_of(value: &Bound<'_, PyAny>) -> Option<u64> {
    /// About what a number takes.
    const SMALL: u64 = 32;
    if is_small(value) {
        return Some(SMALL);
    }
    // An object that fails to tell its size has none; that is no failure of its task.
    let footprint = measure(value).ok().flatten()?;
    Some(footprint.total())
}

/// Who owns the memory that results can be views of, if `value` is what a graph came with.
pub(in crate::python) fn owners(value: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    let has_none = is_small(value) || value.is_instance_of::<PyString>() || value.is_callable();
    if has_none {
        return Ok(Vec::new());
    }
    let shared = measure(value)?.unwrap_or_default().shared;
    Ok(shared.into_iter().map(|(owner, _)| owner).collect())
}
