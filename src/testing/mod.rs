//! Graphs, and runners that keep a record, for tests of the core; no Python.

pub mod events;
mod fake_runner;
pub mod graphs;
mod limited_runner;
mod memory;
mod record;

pub use fake_runner::{FakeError, FakeRunner};
pub use limited_runner::{LimitedRunner, Reading};
pub use memory::{FakeCell, FakeMemory, FakeResult, Move, Writing};
pub use record::{Event, Record, What, thread_number};
