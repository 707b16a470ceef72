//! # Dask on Mars: the engine
//!
//! Takes the place of Dask's local schedulers. The modules, in the order in
//! which the data takes them:
//!
//! ```text
//! dict / HighLevelGraph / Expr        mars.remote objects
//!         │ python::parse                    │ python::remote::plan
//!         ▼   each Python object is touched once
//! graph        dense TaskId, dependencies and dependents; cycles refused
//!         ▼
//! order        a rank for every task: finish what was begun, release soonest
//!         ▼
//! scheduler    waiting → ready → running → finished → released (state machine)
//!         ▼            memory: who still holds which result; under a limit, which
//!         ▼                    task may start and what goes to disk
//! executor     a bounded pool; workers run ready tasks through a `Runner`
//!         ▼
//! python::results   the asked-for keys, nested as asked
//! ```
//!
//! Beside them `events` has what runs and what has run, for those who watch, and `fork`
//! what a forked child must not take over.
//!
//! Everything but `python` is plain Rust: it knows no interpreter and is
//! built and tested with `--no-default-features`.

mod fork;

pub mod events;

pub mod graph;

pub mod order;

pub mod scheduler;

pub mod memory;

pub mod executor;

#[cfg(feature = "python")]
mod python;

pub mod testing;
