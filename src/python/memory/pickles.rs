//! From a value to bytes and back: pickle protocol 5, large buffers on their own.

use crate::memory::spill::{SpillDirectory, SpillError, SpillFile};
use crate::python::once::{Once, intern};
use crate::python::threads::{Inside, interpreter_call};
use pyo3::buffer::PyBuffer;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyTuple};
use std::mem::MaybeUninit;
use std::sync::Arc;

struct Functions {
    dumps: Py<PyAny>,
    loads: Py<PyAny>,
    moved: Py<PyAny>,
    directory_made: Py<PyAny>,
}

static FUNCTIONS: Once<Functions> = Once::new();

fn functions(py: Python<'_>) -> PyResult<&'static Functions> {
    FUNCTIONS.get_or_try_init(py, || {
        let module = py.import(intern!(py, "mars._pickles"))?;
        Ok(Functions {
            dumps: module.getattr(intern!(py, "dumps"))?.unbind(),
            loads: module.getattr(intern!(py, "loads"))?.unbind(),
            moved: module.getattr(intern!(py, "moved"))?.unbind(),
            directory_made: module.getattr(intern!(py, "directory_made"))?.unbind(),
        })
    })
}

/// Tells Python that a directory for results beyond `limit` has been made.
pub(super) fn directory_made(
    py: Python<'_>,
    directory: &SpillDirectory,
    limit: u64,
) -> PyResult<()> {
    let path = directory.path().into_pyobject(py)?;
    let limit = limit.into_pyobject(py)?;
    let swept = directory.swept().into_pyobject(py)?;
    let args = [path.as_any(), limit.as_any(), swept.as_any()];
    interpreter_call::call(py, &functions(py)?.directory_made, &args).map(drop)
}

/// Tells Python that a result of type `kind` has been written.
pub(super) fn moved(py: Python<'_>, kind: &str, bytes: u64) -> PyResult<()> {
    let kind = kind.into_pyobject(py)?;
    let bytes = bytes.into_pyobject(py)?;
    let args = [kind.as_any(), bytes.as_any()];
    interpreter_call::call(py, &functions(py)?.moved, &args).map(drop)
}

/// A value as bytes. The buffers are the value's own memory, and keep it.
pub(super) struct Dumped {
    pickle: Py<PyBytes>,
    buffers: Vec<PyBuffer<u8>>,
}

/// Fails if `value` cannot be pickled.
pub(super) fn dump(value: &Bound<'_, PyAny>) -> PyResult<Dumped> {
    let py = value.py();
    let dumped = interpreter_call::call(py, &functions(py)?.dumps, &[value])?;
    let (pickle, views): (Bound<'_, PyBytes>, Bound<'_, PyList>) = dumped.extract()?;
    let buffers = views.iter().map(|view| PyBuffer::get(&view));
    Ok(Dumped {
        pickle: pickle.unbind(),
        buffers: buffers.collect::<PyResult<_>>()?,
    })
}

impl Dumped {
    /// Writes it, with the interpreter lock let go.
    pub(super) fn write(
        &self,
        py: Python<'_>,
        inside: &Inside,
        directory: &Arc<SpillDirectory>,
    ) -> Result<SpillFile, SpillError> {
        let mut parts: Vec<&[u8]> = vec![self.pickle.as_bytes(py)];
        parts.extend(self.buffers.iter().map(|buffer| {
            if buffer.len_bytes() == 0 {
                return [].as_slice();
            }
            // SAFETY: the buffer is contiguous (`PickleBuffer.raw` is) and exported as long
            // as `self` lives. Nobody writes to a result while it is moved.
            unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes()) }
        }));
        inside.outside(py, || directory.write(&parts))
    }
}

/// Reads what [`Dumped::write`] has written; the buffers are read to where they stay.
pub(super) fn load(py: Python<'_>, inside: &Inside, file: &SpillFile) -> PyResult<Py<PyAny>> {
    let mut arrays = Vec::new();
    for &length in file.lengths() {
        arrays.push(uninitialized(py, length)?);
    }
    let mut parts: Vec<&mut [MaybeUninit<u8>]> = (arrays.iter())
        .map(|array| {
            // SAFETY: new, so that nobody else has it, and it lives until the end of this
            // function; as long as it says, and not resized meanwhile.
            unsafe {
                let start = ffi::PyByteArray_AsString(array.as_ptr()).cast();
                std::slice::from_raw_parts_mut(start, array.len())
            }
        })
        .collect();
    let read = inside.outside(py, || file.read_into(&mut parts));
    read.map_err(|error| super::errors::not_read(&error))?;
    let Some((pickle, buffers)) = arrays.split_first() else {
        return Err(crate::python::errors::internal(
            "a spilled result without parts",
        ));
    };
    let buffers = PyTuple::new(py, buffers)?;
    let loads = &functions(py)?.loads;
    interpreter_call::call(py, loads, &[pickle.as_any(), buffers.as_any()]).map(Bound::unbind)
}

fn uninitialized(py: Python<'_>, length: usize) -> PyResult<Bound<'_, PyByteArray>> {
    // SAFETY: attached; without a source the bytes are left as they are, and nobody reads
    // them before they are written.
    let array = unsafe {
        let length = length as ffi::Py_ssize_t;
        let array = ffi::PyByteArray_FromStringAndSize(std::ptr::null(), length);
        Bound::from_owned_ptr_or_err(py, array)?
    };
    Ok(array.cast_into::<PyByteArray>()?)
}
