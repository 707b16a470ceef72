//! The Python module `mars._mars`: the only place that names pyo3.
//!
//! The way in is [`parse`], which turns Dask's objects into a graph and one
//! small [`program`] a task; [`runner`] runs programs for the executor; the way
//! out is [`results`]. No scheduling decision is taken here.

mod build;
mod capsule;
mod compile;
mod dask;
mod errors;
mod eval;
mod execute;
mod forecast;
mod groups;
mod keys;
mod memory;
mod observer;
mod once;
mod open;
mod parse;
mod places;
mod prefix;
mod profile;
mod program;
mod remote;
mod results;
mod runner;
mod subgraph;
mod threads;
mod tracing;
mod watch;

use pyo3::prelude::*;

/// The native part of Dask on Mars.
#[pymodule(gil_used = false)]
fn _mars(module: &Bound<'_, PyModule>) -> PyResult<()> {
    threads::install(module.py())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(build::build_info, module)?)?;
    module.add_function(wrap_pyfunction!(execute::execute, module)?)?;
    module.add_function(wrap_pyfunction!(execute::order, module)?)?;
    module.add_function(wrap_pyfunction!(forecast::forecast, module)?)?;
    module.add_function(wrap_pyfunction!(prefix::key_prefix, module)?)?;
    module.add_function(wrap_pyfunction!(threads::shutdown, module)?)?;
    module.add_function(wrap_pyfunction!(threads::pool_size, module)?)?;
    module.add_function(wrap_pyfunction!(threads::retire_pool, module)?)?;
    module.add_class::<watch::Watch>()?;
    module.add_class::<watch::Computation>()?;
    module.add_class::<watch::RunningTask>()?;
    module.add_function(wrap_pyfunction!(watch::computations, module)?)?;
    module.add_class::<profile::Profile>()?;
    module.add_class::<profile::PrefixTotals>()?;
    memory::add_to(module)?;
    remote::add_to(module)
}
