//! What the account has to know of a result.

use smallvec::SmallVec;

/// When a result is needed next: the lower, the sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextUse(pub(super) u64);

impl NextUse {
    /// Not known yet: its task is about to end.
    pub const NOW: NextUse = NextUse(0);
    /// By no run.
    pub const NONE: NextUse = NextUse(u64::MAX);

    /// By the task of rank `rank` in a run that was made inside of `depth` others.
    /// What an inner run needs is needed before the outer one goes on.
    pub fn new(depth: u32, rank: u32) -> Self {
        const DEEPEST: u32 = 1 << 20;
        let outward = u64::from(DEEPEST - depth.min(DEEPEST - 1));
        NextUse(outward << 32 | u64::from(rank))
    }
}

/// A result that can be moved to disk.
pub trait Holding: Send + Sync {
    /// Why it was not moved, if for want of room.
    type Error;
    /// Writes the result to disk and lets it go. Nobody reads it meanwhile.
    fn spill(&self) -> Result<Spilled, Self::Error>;
}

/// What came of spilling a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spilled {
    /// It is on disk, and takes so many bytes when it is read again.
    OnDisk(u64),
    /// It cannot be written; it stays in memory.
    Stays,
    /// It stays, and may be moved later.
    NotNow,
    /// It was let go of meanwhile.
    Gone,
}

/// What a result takes in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes that are its alone.
    pub own: u64,
    /// Memory that other results may share: who owns it, and how large it is. It is
    /// counted once, as long as a result keeps it.
    pub shared: SmallVec<[(u64, u64); 1]>,
}

impl Footprint {
    /// The bytes of a result that shares nothing.
    pub fn own(bytes: u64) -> Self {
        Footprint {
            own: bytes,
            shared: SmallVec::new(),
        }
    }

    /// All its bytes, whoever shares them.
    pub fn total(&self) -> u64 {
        self.own + self.shared.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }
}
