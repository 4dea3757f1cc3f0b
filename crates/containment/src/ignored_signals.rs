//! The signals that this process was started to ignore.

use std::sync::OnceLock;

/// A set of signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalSet(u64);

impl SignalSet {
    /// Returns whether a signal, by its number, is in the set.
    #[must_use]
    pub fn contains(self, signal: i32) -> bool {
        (1..=64).contains(&signal) && self.0 & (1 << (signal - 1)) != 0
    }
}

/// Returns the signals that were ignored at the first call. Call it before any handler is installed.
///
/// `nohup` ignores SIGHUP, and a shell without job control ignores SIGINT and SIGQUIT in its background processes. A
/// handler would undo that, so install none for these signals. Empty except on Linux, where `/proc/self/status` has the
/// set.
#[must_use]
pub fn ignored_signals() -> SignalSet {
    static IGNORED: OnceLock<SignalSet> = OnceLock::new();
    *IGNORED.get_or_init(|| {
        let status =
            if cfg!(target_os = "linux") { std::fs::read_to_string("/proc/self/status") } else { Ok(String::new()) };
        SignalSet(status.ok().and_then(|status| parse(&status)).unwrap_or_default())
    })
}

/// Parses the line `SigIgn:` of a process's status.
fn parse(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_is_read_by_signal_number() {
        let ignored = SignalSet(parse("Name:\tx\nSigIgn:\t0000000000001003\nSigCgt:\t00\n").unwrap());
        assert!(ignored.contains(1) && ignored.contains(2) && ignored.contains(13));
        assert!(!ignored.contains(15) && !ignored.contains(0) && !ignored.contains(65));
        assert_eq!(parse("Name:\tx\n"), None);
    }
}
