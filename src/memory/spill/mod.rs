//! Results on disk.
//!
//! A [`SpillDirectory`] belongs to one process and holds one file for every
//! spilled result; a [`SpillFile`] stands for it and takes it along when it is
//! dropped. What holds always:
//!
//! - Only who wrote reads. What a file must contain (lengths, checksum, number)
//!   is kept in memory, so nothing on disk is trusted: a file is read as it was
//!   written or refused.
//! - Bytes are reserved against the limit before they are written, and given
//!   back when the file goes or was not made after all.
//! - Nothing is left: files go with their values, the directory with its last
//!   reference, and what a killed process left is swept by the next one that
//!   makes a directory beside it. A living process is known by the lock that it
//!   holds on the file `lock`.
//! - A forked child may read its parent's files. It never writes there and never
//!   removes anything, whatever it drops.

mod directory;
mod error;
mod file;
mod header;
mod lock;
mod name;
mod pieces;
mod space;
mod sweep;
mod system;

pub use directory::SpillDirectory;
pub use error::SpillError;
pub use file::SpillFile;
pub use sweep::sweep;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
