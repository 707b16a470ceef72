//! The containers around the value at hand, to notice one inside itself.

use super::errors;
use pyo3::prelude::*;
use std::collections::HashSet;

/// Containers that were entered and not left, by identity.
#[derive(Default)]
pub(super) struct Open(HashSet<usize>);

impl Open {
    /// Raises `RecursionError` if `container` is around itself.
    pub(super) fn enter(&mut self, container: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.0.insert(container.as_ptr() as usize) {
            Ok(())
        } else {
            Err(errors::contains_itself(container))
        }
    }

    pub(super) fn leave(&mut self, container: &Bound<'_, PyAny>) {
        self.0.remove(&(container.as_ptr() as usize));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
