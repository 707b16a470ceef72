//! Values that are made once, and that a forked child finds made or not begun.
//!
//! PyO3's own cell is locked while its value is made, and lets the interpreter lock go in
//! between: a child forked by another thread then would find it locked for ever. Here
//! nobody holds anything: who comes meanwhile makes a value too, and the first one counts.

use pyo3::prelude::*;
use pyo3::types::PyString;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A value that is made when it is first needed, and stays as long as the process.
pub(super) struct Once<T>(AtomicPtr<T>);

impl<T: Send + Sync + 'static> Once<T> {
    pub(super) const fn new() -> Self {
        Once(AtomicPtr::new(ptr::null_mut()))
    }

    pub(super) fn get(&self, _py: Python<'_>) -> Option<&T> {
        // SAFETY: a pointer stored here came from Box::into_raw and is never freed.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    pub(super) fn get_or_try_init<E>(
        &self,
        py: Python<'_>,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<&T, E> {
        if let Some(value) = self.get(py) {
            return Ok(value);
        }
        let fresh = Box::into_raw(Box::new(make()?));
        let theirs = (self.0)
            .compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire)
            .err();
        // SAFETY: see `get`; a `fresh` that lost the race nobody else has seen.
        unsafe {
            if let Some(theirs) = theirs {
                drop(Box::from_raw(fresh));
                return Ok(&*theirs);
            }
            Ok(&*fresh)
        }
    }
}

/// The string of one place in the code.
pub(super) struct Name(Once<Py<PyString>>);

impl Name {
    pub(super) const fn new() -> Self {
        Name(Once::new())
    }

    pub(super) fn get<'py>(
        &'static self,
        py: Python<'py>,
        text: &str,
    ) -> &'py Bound<'py, PyString> {
        let make = || Ok::<_, std::convert::Infallible>(PyString::intern(py, text).unbind());
        match self.0.get_or_try_init(py, make) {
            Ok(name) => name.bind(py),
            Err(never) => match never {},
        }
    }
}

/// As `pyo3::intern`.
macro_rules! intern {
    ($py:expr, $text:expr) => {{
        static NAME: $crate::python::once::Name = $crate::python::once::Name::new();
        NAME.get($py, $text)
    }};
}
pub(super) use intern;
