//! Graphs and a runner for tests of the core; no Python.

mod fake_runner;

pub use fake_runner::{FakeError, FakeRunner};
