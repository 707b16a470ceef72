//! Who still needs which result, and how many bytes there is room for.
//!
//! The core never holds a result: a [`Runner`](crate::executor::Runner) does.
//! What is kept here is how many holders each result still has ([`Ledger`]), so that the
//! runner is told to let a result go at the moment the last one is done. Under a
//! limit there is more: an [`Account`] of the bytes of all results, and an [`Admission`] for each run,
//! which decides what may start and what has to go to disk. `README.md` says how.

mod account;
mod admission;
pub mod forecast;
mod generations;
mod growth;
mod learned;
mod ledger;
mod process;
mod result;
mod size;
pub mod spill;
mod uses;

pub use account::{Account, EntryId, Totals, Waits};
pub use admission::{Admission, Asked, Groups};
pub(crate) use admission::{MakeRoom, Turn};
pub use ledger::Ledger;
pub use process::{resident, trim};
pub use result::{Footprint, Holding, NextUse, Spilled};
pub(crate) use size::Size;
