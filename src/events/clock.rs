//! The clock that events are stamped with.
//!
//! Reading the system's clock costs a tenth of what a small task does. Where the system
//! itself trusts the counter of the processor, that is read instead, at a third of the cost.

use std::sync::OnceLock;
use std::time::Instant;

/// A moment, in ticks of a clock of this process. Larger is later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Stamp(pub(super) u64);

impl Stamp {
    /// Now.
    #[inline]
    pub fn now() -> Self {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if counter::is_trusted() {
            return Stamp(counter::read());
        }
        Stamp(base().elapsed().as_nanos() as u64)
    }

    /// Ticks since `earlier`; 0 if that is later.
    #[inline]
    pub fn ticks_since(self, earlier: Stamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Seconds since `earlier`; 0 if that is later.
    pub fn seconds_since(self, earlier: Stamp) -> f64 {
        seconds(self.ticks_since(earlier))
    }
}

/// So many ticks in seconds. The first call takes some milliseconds where ticks have to be measured.
pub fn seconds(ticks: u64) -> f64 {
    ticks as f64 * second_per_tick()
}

fn second_per_tick() -> f64 {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if counter::is_trusted() {
        return counter::second_per_tick();
    }
    1e-9
}

fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now)
}

/// CPU time of the calling thread, in nanoseconds; None where the system does not tell.
pub(super) fn thread_cpu() -> Option<u64> {
    #[cfg(unix)]
    {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: writes to the place that it is given.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        if failed == 0 {
            return Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64);
        }
    }
    None
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod counter {
    use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    static TRUSTED: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;

    #[inline]
    pub(super) fn read() -> u64 {
        // SAFETY: every x86-64 processor has this instruction.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    /// Whether the kernel takes its own time from the counter: then it runs evenly and
    /// agrees between processors.
    #[inline]
    pub(super) fn is_trusted() -> bool {
        match TRUSTED.load(Ordering::Relaxed) {
            UNKNOWN => find_out(),
            known => known == YES,
        }
    }

    #[cold]
    fn find_out() -> bool {
        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let trusted = std::fs::read_to_string(source).is_ok_and(|name| name.trim() == "tsc");
        // Whoever comes first decides for all.
        let (new, now) = (if trusted { YES } else { NO }, Ordering::Relaxed);
        match TRUSTED.compare_exchange(UNKNOWN, new, now, now) {
            Ok(_) => trusted,
            Err(known) => known == YES,
        }
    }

    /// Measured once, over a moment: what has passed since the process began may
    /// include a time when the machine slept, which the two clocks see differently.
    pub(super) fn second_per_tick() -> f64 {
        // No OnceLock: a child that is forked meanwhile would wait for its parent's thread.
        static MEASURED: AtomicU64 = AtomicU64::new(0);
        match MEASURED.load(Ordering::Relaxed) {
            0 => measure(&MEASURED),
            known => f64::from_bits(known),
        }
    }

    /// Whoever comes first decides for all, so that times can be compared.
    #[cold]
    fn measure(into: &AtomicU64) -> f64 {
        let (ticks, time) = both();
        std::thread::sleep(Duration::from_millis(10));
        let (later_ticks, later_time) = both();
        let measured = (later_time - time).as_secs_f64() / (later_ticks - ticks) as f64;
        let (new, now) = (measured.to_bits(), Ordering::Relaxed);
        match into.compare_exchange(0, new, now, now) {
            Ok(_) => measured,
            Err(known) => f64::from_bits(known),
        }
    }

    /// Both clocks at the same moment: the best of some tries.
    fn both() -> (u64, Instant) {
        let tries = (0..16).map(|_| {
            let before = read();
            let time = Instant::now();
            let after = read();
            (after - before, before + (after - before) / 2, time)
        });
        let best = tries.min_by_key(|(width, ..)| *width);
        best.map_or_else(
            || (read(), Instant::now()),
            |(_, ticks, time)| (ticks, time),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn stamps_agree_with_the_clock_of_the_system() {
        let (time, stamp) = (Instant::now(), Stamp::now());
        while time.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let (outer, inner) = (
            time.elapsed().as_secs_f64(),
            Stamp::now().seconds_since(stamp),
        );
        assert!((inner / outer - 1.0).abs() < 0.02, "{inner} {outer}");
    }

    #[test]
    fn a_stamp_is_never_before_an_earlier_one_of_another_thread() {
        for _ in 0..1000 {
            let before = Stamp::now();
            let between = std::thread::spawn(Stamp::now).join().unwrap();
            assert!(before <= between && between <= Stamp::now());
        }
    }

    #[test]
    fn nothing_has_passed_since_a_later_moment() {
        let early = Stamp::now();
        let late = Stamp(early.0 + 1000);
        assert_eq!(early.seconds_since(late), 0.0);
    }
}
