//! Which objects the garbage collector has to look at.
//!
//! The collector goes over all that it tracks again and again while many objects
//! are made, which costs more than making them. An object that refers only to
//! numbers, strings, functions without a closure, and objects like itself cannot
//! be part of a cycle that anybody lets go of, and is left out; it is tracked from
//! the moment when it has a result that may refer to anything.

use super::object::Object;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyFloat, PyFunction, PyInt, PyString, PyWeakrefReference,
};

/// Values that contain nothing, told by their type alone.
#[inline]
pub(super) fn is_scalar(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyBytes>()
        || value.is_exact_instance_of::<PyComplex>()
}

/// A function that refers to nothing but its module.
#[inline]
pub(super) fn is_open_function(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyFunction>()
        // SAFETY: attached; `value` is a function.
        && unsafe { ffi::PyFunction_GetClosure(value.as_ptr()).is_null() }
}

pub(super) fn is_tracked(object: &Bound<'_, Object>) -> bool {
    // SAFETY: attached; a live object of a type with support for the collector.
    unsafe { ffi::PyObject_GC_IsTracked(object.as_ptr()) != 0 }
}

/// Leaves a new object out.
pub(super) fn untrack(object: &Bound<'_, Object>) {
    // SAFETY: as above; untracking is undone by `track`, or not needed any more.
    unsafe { ffi::PyObject_GC_UnTrack(object.as_ptr().cast()) };
}

/// A weak reference to `object`, which the collector need not look at: it refers to
/// nothing that could be counted.
pub(super) fn weakref(object: &Bound<'_, Object>) -> PyResult<Py<PyWeakrefReference>> {
    let weak = PyWeakrefReference::new(object.as_any())?;
    // SAFETY: attached; weak references have support for the collector, and may
    // be untracked twice.
    unsafe { ffi::PyObject_GC_UnTrack(weak.as_ptr().cast()) };
    Ok(weak.unbind())
}

/// Has the collector look at `object` from now on.
pub(super) fn track(object: &Bound<'_, Object>) {
    if !is_tracked(object) {
        // SAFETY: as above; it is not tracked, and whole.
        unsafe { ffi::PyObject_GC_Track(object.as_ptr().cast()) };
    }
}
