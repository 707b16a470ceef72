//! Who still needs which result.
//!
//! The core never holds a result: a [`Runner`](crate::executor::Runner) does.
//! What is kept here is how many holders each result still has, so that the
//! runner is told to let a result go at the moment the last one is done.

mod ledger;

pub use ledger::Ledger;
