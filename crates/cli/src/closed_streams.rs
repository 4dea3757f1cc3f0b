//! Standard streams that were closed when the program started (`>&-`).
//!
//! Rust's runtime opens `/dev/null` for closed streams before `main`. From then on they look like streams that the
//! caller redirected to it, as Python's `DEVNULL` does, and output is lost without an error. So they are checked
//! before the runtime starts.

#[cfg(unix)]
mod unix {
    use std::sync::atomic::{AtomicBool, Ordering};

    static STDIN: AtomicBool = AtomicBool::new(false);
    static STDOUT: AtomicBool = AtomicBool::new(false);

    /// Records which streams are closed. Runs before `main`, so it only makes system calls.
    #[ctor::ctor]
    fn note() {
        let is_closed = |stream| rustix::io::fcntl_getfd(stream).is_err();
        STDIN.store(is_closed(rustix::stdio::stdin()), Ordering::Relaxed);
        STDOUT.store(is_closed(rustix::stdio::stdout()), Ordering::Relaxed);
    }

    pub(crate) fn was_stdin_closed() -> bool {
        STDIN.load(Ordering::Relaxed)
    }

    pub(crate) fn was_stdout_closed() -> bool {
        STDOUT.load(Ordering::Relaxed)
    }
}

#[cfg(unix)]
pub(crate) use unix::{was_stdin_closed, was_stdout_closed};

#[cfg(not(unix))]
pub(crate) const fn was_stdin_closed() -> bool {
    false
}

#[cfg(not(unix))]
pub(crate) const fn was_stdout_closed() -> bool {
    false
}
