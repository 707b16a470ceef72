//! What a forked child must forget: it has none of its parent's threads.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the forks that led to this process.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A number that differs between a process and its forked children: what one of
/// the parent's threads had in hand when the child was made, nobody has there.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Makes forked children start without threads of ours; only the first call counts.
#[cfg(unix)]
pub fn forget_in_children() {
    extern "C" fn forget() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
        super::pool::forget();
        super::timer::forget();
        super::worker::forget_workers();
    }
    static ONCE: std::sync::Once = std::sync::Once::new();
    // SAFETY: registers a handler that only stores to atomics, which is
    // async-signal-safe as a fork handler must be.
    ONCE.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(forget));
    });
}

/// There is no fork.
#[cfg(not(unix))]
pub fn forget_in_children() {}
