//! Standard streams that another process has made non-blocking.
//!
//! Whether a pipe or terminal blocks is a property of the open file, not of the descriptor: another process that
//! shares it, such as a Node.js server in the same CI step, may change that for all. `EAGAIN` then means "wait" and
//! is not a failure.

#[cfg(unix)]
use super::closed_streams::was_stdout_closed;
use std::io::{self, Read};

/// Writes all bytes to stdout, unbuffered, and waits whenever it is full.
///
/// # Errors
///
/// If stdout cannot be written to; [`io::ErrorKind::BrokenPipe`] if its reader is gone.
#[cfg(unix)]
pub(crate) fn write_stdout(mut bytes: &[u8]) -> io::Result<()> {
    use rustix::event::PollFlags;
    if was_stdout_closed() {
        return Err(rustix::io::Errno::BADF.into());
    }
    let stdout = io::stdout().lock();
    while !bytes.is_empty() {
        match rustix::io::write(&stdout, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => wait(&stdout, PollFlags::OUT)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes as many bytes to stdout as it takes without waiting, and returns their number. It is 0 for a file or a system
/// that does not support this.
///
/// # Errors
///
/// If stdout cannot be written to; [`io::ErrorKind::BrokenPipe`] if its reader is gone.
#[cfg(target_os = "linux")]
pub(crate) fn write_stdout_now(bytes: &[u8]) -> io::Result<usize> {
    use rustix::io::{Errno, ReadWriteFlags, pwritev2};
    if was_stdout_closed() {
        return Err(Errno::BADF.into());
    }
    // Not locked: a blocked write of another thread may have the lock.
    let stdout = io::stdout();
    // The maximum means the current position.
    match pwritev2(&stdout, &[io::IoSlice::new(bytes)], u64::MAX, ReadWriteFlags::NOWAIT) {
        Ok(written) => Ok(written),
        Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::PERM) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn write_stdout_now(_: &[u8]) -> io::Result<usize> {
    Ok(0)
}

#[cfg(not(unix))]
pub(crate) fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// A reader that waits for data instead of failing as a non-blocking one does.
#[derive(Debug)]
pub(crate) struct Blocking<R>(pub(crate) R);

#[cfg(unix)]
impl<R: Read + std::os::fd::AsFd> Read for Blocking<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&self.0, rustix::event::PollFlags::IN)?;
                }
                read => return read,
            }
        }
    }
}

#[cfg(not(unix))]
impl<R: Read> Read for Blocking<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

/// Waits until stdin has something to read or is at its end.
pub(crate) fn wait_for_stdin() -> io::Result<()> {
    #[cfg(unix)]
    wait(&io::stdin(), rustix::event::PollFlags::IN)?;
    Ok(())
}

/// Waits until a stream can be read or written, or its other end is gone.
#[cfg(unix)]
fn wait(stream: &impl std::os::fd::AsFd, events: rustix::event::PollFlags) -> io::Result<()> {
    use rustix::event::{PollFd, poll};
    match poll(&mut [PollFd::new(stream, events)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    #[test]
    fn empty_nonblocking_stream_is_awaited() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        reader.set_nonblocking(true).unwrap();
        let late = std::thread::spawn(move || {
            for piece in ["one ", "two"] {
                std::thread::sleep(Duration::from_millis(50));
                writer.write_all(piece.as_bytes()).unwrap();
            }
        });
        let mut text = String::new();
        Blocking(reader).read_to_string(&mut text).unwrap();
        late.join().unwrap();
        assert_eq!(text, "one two");
    }
}
