//! What `mars.remote` has in Python, imported once.

use crate::python::once::Once;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// Functions and classes of `mars.remote._values`.
pub(super) struct PythonSide {
    pub(super) executable_tuple: Py<PyType>,
    /// See the functions of these names.
    pub(super) hollow: Py<PyAny>,
    pub(super) items: Py<PyAny>,
    pub(super) rebuild: Py<PyAny>,
    pub(super) outputs: Py<PyAny>,
    pub(super) item: Py<PyAny>,
    pub(super) same: Py<PyAny>,
    pub(super) log: Py<PyAny>,
    pub(super) report_retry: Py<PyAny>,
    pub(super) begin_capture: Py<PyAny>,
    pub(super) end_capture: Py<PyAny>,
    pub(super) cover: Py<PyAny>,
    pub(super) uncover: Py<PyAny>,
    pub(super) tee: Py<PyAny>,
}

static PYTHON_SIDE: Once<PythonSide> = Once::new();

impl PythonSide {
    /// Whether `function` is one of these, not the user's.
    pub(super) fn is_ours(function: &Bound<'_, PyAny>) -> bool {
        PYTHON_SIDE.get(function.py()).is_some_and(|ours| {
            [&ours.outputs, &ours.item, &ours.same, &ours.rebuild]
                .iter()
                .any(|f| f.is(function))
        })
    }

    pub(super) fn get(py: Python<'_>) -> PyResult<&'static PythonSide> {
        PYTHON_SIDE.get_or_try_init(py, || {
            let values = py.import("mars.remote._values")?;
            let function = |name: &str| values.getattr(name).map(Bound::unbind);
            let logs = py.import("mars.remote._log")?;
            let tuple = py
                .import("mars.remote._tuple")?
                .getattr("ExecutableTuple")?;
            Ok(PythonSide {
                executable_tuple: tuple.cast_into::<PyType>()?.unbind(),
                hollow: function("hollow")?,
                items: function("items")?,
                rebuild: function("rebuild")?,
                outputs: function("outputs")?,
                item: function("item")?,
                same: function("same")?,
                log: logs.getattr("Log")?.unbind(),
                report_retry: logs.getattr("report_retry")?.unbind(),
                begin_capture: logs.getattr("begin_capture")?.unbind(),
                end_capture: logs.getattr("end_capture")?.unbind(),
                cover: logs.getattr("cover")?.unbind(),
                uncover: logs.getattr("uncover")?.unbind(),
                tee: logs.getattr("_Tee")?.unbind(),
            })
        })
    }
}
