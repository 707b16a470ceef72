//! What the operating system says of this process's memory.

/// The bytes of this process that are in memory; 0 where that cannot be told.
#[cfg(target_os = "linux")]
pub fn resident() -> u64 {
    use std::io::Read;
    let mut text = [0; 128];
    let Ok(read) =
        std::fs::File::open("/proc/self/statm").and_then(|mut file| file.read(&mut text))
    else {
        return 0;
    };
    let mut words = text[..read].split(|byte| *byte == b' ');
    let pages = words
        .nth(1)
        .and_then(|word| std::str::from_utf8(word).ok()?.parse::<u64>().ok());
    pages.unwrap_or_default() * page_size()
}

#[cfg(target_os = "linux")]
fn page_size() -> u64 {
    // SAFETY: a plain question to the C library.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}

/// The bytes of this process that are in memory; 0 where that cannot be told.
#[cfg(not(target_os = "linux"))]
pub fn resident() -> u64 {
    0
}

/// Gives memory that the C library keeps for later back to the system.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn a_process_grows_by_what_it_writes_to() {
        let before = super::resident();
        let bytes = std::hint::black_box(vec![1u8; 256 << 20]);
        // Other tests take and give back memory meanwhile, but not that much.
        let grown = super::resident() - before;
        assert!((128 << 20..512 << 20).contains(&grown), "{grown}");
        drop(bytes);
    }
}
