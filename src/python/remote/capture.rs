//! What functions print goes into the logs of their objects.
//!
//! `mars.remote._log` puts a stream of its own before `sys.stdout` and `sys.stderr`.
//! Whether it is there is looked at here, before each function, since the program may
//! have put another one in its place: by two look-ups in a dict.

use super::super::threads::interpreter_call;
use super::python_side::PythonSide;
use crate::python::once::Once;
use crate::python::once::intern;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// Streams that were covered for one call.
pub(super) struct Covered(Option<Py<PyAny>>);

impl Covered {
    /// Makes sure that what the calling thread prints is seen.
    pub(super) fn now(py: Python<'_>) -> PyResult<Self> {
        static STREAMS: Once<Py<PyDict>> = Once::new();
        let streams = STREAMS.get_or_try_init(py, || {
            let streams = py.import("sys")?.dict();
            PyResult::Ok(streams.unbind())
        })?;
        let ours = PythonSide::get(py)?;
        let streams = streams.bind(py);
        let is_seen = |name: &Bound<'_, PyString>| match streams.get_item(name) {
            // SAFETY: live objects; only an address is compared.
            Ok(Some(stream)) => unsafe {
                stream.is_none() || ffi::Py_TYPE(stream.as_ptr()) == ours.tee.as_ptr().cast()
            },
            _ => true,
        };
        if is_seen(intern!(py, "stdout")) && is_seen(intern!(py, "stderr")) {
            return Ok(Covered(None));
        }
        Ok(Covered(Some(
            interpreter_call::call(py, &ours.cover, &[])?.unbind(),
        )))
    }

    /// Takes away what was put there.
    pub(super) fn end(self, py: Python<'_>) {
        if let Some(covered) = self.0 {
            let ended = PythonSide::get(py)
                .and_then(|ours| interpreter_call::call(py, &ours.uncover, &[covered.bind(py)]));
            if let Err(error) = ended {
                error.write_unraisable(py, None);
            }
        }
    }
}
