//! What a forked child must not take over: it has none of its parent's threads.
//!
//! State that threads share is kept by the [`generation`] of the process that made it, so
//! that a child finds nothing locked or half done by a thread that is not there.

mod per_process;

pub(crate) use per_process::PerProcess;

use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Counts the forks that led to this process.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// What a child does first; null where there is nothing.
static HANDLERS: [AtomicPtr<()>; 8] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 8];

/// A number that differs between a process and its forked children: what one of
/// the parent's threads had in hand when the child was made, nobody has there.
#[inline]
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Counts forks from now on; only the first call does something.
pub fn count() {
    static ONCE: Once = Once::new();
    ONCE.call_once(watch);
}

/// Has every forked child call `handler` first, which may only store to atomics.
///
/// To be called once for each handler, of which there are few.
pub fn in_children(handler: fn()) {
    count();
    let free = HANDLERS.iter().any(|place| {
        let (none, handler) = (std::ptr::null_mut(), handler as *mut ());
        (place.compare_exchange(none, handler, Ordering::AcqRel, Ordering::Relaxed)).is_ok()
    });
    debug_assert!(free, "more handlers than places");
}

#[cfg(unix)]
fn watch() {
    extern "C" fn begin() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
        for place in &HANDLERS {
            let handler = place.load(Ordering::Acquire);
            if !handler.is_null() {
                // SAFETY: only `in_children` stores here, a function of this type.
                let handler: fn() = unsafe { std::mem::transmute(handler) };
                handler();
            }
        }
    }
    // SAFETY: registers a handler that only stores to atomics, as a fork handler must.
    unsafe {
        libc::pthread_atfork(None, None, Some(begin));
    }
}

/// There is no fork.
#[cfg(not(unix))]
fn watch() {}
