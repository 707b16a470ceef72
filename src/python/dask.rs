//! The types of Dask's graph nodes, imported once.

use crate::python::once::Once;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// What `dask._task_spec` calls its nodes.
pub(super) struct Dask {
    pub(super) graph_node: Py<PyType>,
    pub(super) task: Py<PyType>,
    pub(super) alias: Py<PyType>,
    pub(super) data_node: Py<PyType>,
    pub(super) list: Py<PyType>,
    pub(super) tuple: Py<PyType>,
    pub(super) set: Py<PyType>,
    pub(super) dict: Py<PyType>,
    pub(super) task_ref: Py<PyType>,
    pub(super) execute_subgraph: Py<PyAny>,
    pub(super) convert_legacy_task: Py<PyAny>,
}

static DASK: Once<Dask> = Once::new();

impl Dask {
    /// The types, imported at the first call.
    pub(super) fn get(py: Python<'_>) -> PyResult<&'static Dask> {
        DASK.get_or_try_init(py, || {
            let spec = py.import("dask._task_spec")?;
            let class = |name: &str| -> PyResult<Py<PyType>> {
                Ok(spec.getattr(name)?.cast_into::<PyType>()?.unbind())
            };
            Ok(Dask {
                graph_node: class("GraphNode")?,
                task: class("Task")?,
                alias: class("Alias")?,
                data_node: class("DataNode")?,
                list: class("List")?,
                tuple: class("Tuple")?,
                set: class("Set")?,
                dict: class("Dict")?,
                task_ref: class("TaskRef")?,
                execute_subgraph: spec.getattr("_execute_subgraph")?.unbind(),
                convert_legacy_task: spec.getattr("convert_legacy_task")?.unbind(),
            })
        })
    }
}
