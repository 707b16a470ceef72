//! Graphs, and a runner that keeps a record, for tests of the core; no Python.

mod fake_runner;
pub mod graphs;
mod record;

pub use fake_runner::{FakeError, FakeRunner};
pub use record::{Event, Record, What, thread_number};
