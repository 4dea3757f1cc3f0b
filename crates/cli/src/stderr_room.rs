//! Whether stderr has room, and writes that do not block for long.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

/// The timeout for a full stderr. Even a slow reader makes room in less time.
pub(crate) const FULL_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause before the next attempt if the system reports room and then refuses to write.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Writes the bytes unchanged if there is room now. Returns whether they were written.
pub(crate) fn write_if_room(bytes: &[u8]) -> bool {
    let mut stderr = io::stderr().lock();
    has_room(&stderr, Duration::ZERO) && write_fully(&mut stderr, bytes).is_ok()
}

/// Writes all bytes. Waits if another process made stderr non-blocking and it is full.
pub(crate) fn write_fully(stderr: &mut io::StderrLock<'_>, mut bytes: &[u8]) -> io::Result<()> {
    let began = Instant::now();
    while !bytes.is_empty() {
        match stderr.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if may_succeed_later(&error) && began.elapsed() < FULL_TIMEOUT => {
                has_room(stderr, FULL_TIMEOUT);
                std::thread::sleep(RETRY_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn may_succeed_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(unix)]
pub(crate) fn has_room(stderr: &io::StderrLock<'_>, timeout: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec { tv_sec: timeout.as_secs().cast_signed(), tv_nsec: timeout.subsec_nanos().into() };
    // If polling is not supported or the reader is gone, the write itself reports it.
    poll(&mut [PollFd::new(stderr, PollFlags::OUT)], Some(&limit)) != Ok(0)
}

#[cfg(not(unix))]
pub(crate) fn has_room(_: &io::StderrLock<'_>, _: Duration) -> bool {
    true
}
