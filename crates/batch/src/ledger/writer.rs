//! Appends lines, so that a line that was acknowledged survives a crash of the machine.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// The interval of retries while the disk is full.
const FULL_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of lines that share an `fdatasync`: those of tasks that end while the previous one runs.
const MAX_GROUP: usize = 1024;

/// Whether lines can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_enums, reason = "a batch goes on, waits or ends")]
pub enum LedgerState {
    /// Lines can be written.
    #[default]
    Writing,
    /// The disk is full: pending lines wait until it has room.
    Full,
}

/// The file below a writer.
pub(super) trait Storage: Send + 'static {
    /// Makes one write call, and returns the number of bytes written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Truncates the file to this length.
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// Returns when all that was written is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// Appends to a results file. A clone is another handle. When the ledger is closed or the last handle is dropped, the file is closed
/// and its lock released.
#[derive(Debug, Clone)]
pub struct LedgerWriter {
    jobs: Sender<Job>,
    state: watch::Receiver<LedgerState>,
    gives_up: watch::Sender<bool>,
}

#[derive(Debug)]
enum Job {
    Append(Line),
    Close,
}

#[derive(Debug)]
struct Line {
    text: String,
    written: oneshot::Sender<io::Result<()>>,
}

impl LedgerWriter {
    /// Starts a writer at the end of a file of this length.
    pub(super) fn start(storage: impl Storage, len: u64) -> io::Result<(Self, JoinHandle<()>)> {
        let (jobs, receiver) = channel();
        let (state_sender, state) = watch::channel(LedgerState::Writing);
        let (gives_up, ended) = watch::channel(false);
        let mut appender = Appender { storage, len, state: state_sender, given_up: ended };
        let run = move || appender.run(&receiver);
        let thread = std::thread::Builder::new().name("results".to_owned()).spawn(run)?;
        Ok((Self { jobs, state, gives_up }, thread))
    }

    /// Appends a line and returns once it is synced to disk. Waits while the disk is full.
    ///
    /// # Errors
    ///
    /// If the file cannot be written. It then contains no part of the line.
    pub async fn append(&self, line: String) -> io::Result<()> {
        let (written, receiver) = oneshot::channel();
        let gone = || io::Error::other("the thread that writes the results has ended");
        self.jobs.send(Job::Append(Line { text: line, written })).map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }

    /// Returns whether lines can be written, now and whenever that changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LedgerState> {
        self.state.clone()
    }

    /// Ends the writer after the lines that were appended before. Later ones fail.
    pub(super) fn close(&self) {
        // A writer that has ended is closed.
        self.jobs.send(Job::Close).ok();
    }

    /// Stops waiting for room on a full disk: pending lines are lost, and their tasks run again.
    pub fn give_up(&self) {
        self.gives_up.send_replace(true);
    }
}

struct Appender<S> {
    storage: S,
    len: u64,
    state: watch::Sender<LedgerState>,
    given_up: watch::Receiver<bool>,
}

impl<S: Storage> Appender<S> {
    fn run(&mut self, jobs: &Receiver<Job>) {
        let mut is_closed = false;
        while !is_closed && let Ok(first) = jobs.recv() {
            let mut group = Vec::new();
            for job in std::iter::once(first).chain(jobs.try_iter().take(MAX_GROUP - 1)) {
                match job {
                    Job::Append(line) => group.push(line),
                    Job::Close => {
                        is_closed = true;
                        break;
                    }
                }
            }
            if group.is_empty() {
                continue;
            }
            let written = self.write_group(&group);
            for line in group {
                let result = match &written {
                    Ok(()) => Ok(()),
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                };
                // The task that waits for this line may have been dropped meanwhile.
                line.written.send(result).ok();
            }
        }
    }

    /// Writes all of the lines and syncs once, or writes nothing.
    fn write_group(&mut self, group: &[Line]) -> io::Result<()> {
        loop {
            let written = self.try_write(group);
            let error = match written {
                Ok(len) => {
                    self.len = len;
                    self.set_state(LedgerState::Writing);
                    return Ok(());
                }
                Err(error) => error,
            };
            self.storage.cut(self.len)?;
            // The tasks of a batch that was dropped do not wait for their lines.
            let is_awaited = group.iter().any(|line| !line.written.is_closed());
            if !is_full(&error) || !is_awaited || *self.given_up.borrow() {
                return Err(error);
            }
            self.set_state(LedgerState::Full);
            std::thread::sleep(FULL_INTERVAL);
        }
    }

    fn try_write(&mut self, group: &[Line]) -> io::Result<u64> {
        let mut len = self.len;
        for Line { text, .. } in group {
            let written = loop {
                match self.storage.write(text.as_bytes()) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other?,
                }
            };
            // A disk that fills up may accept only the beginning of a line.
            if written < text.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            len += text.len() as u64;
        }
        self.storage.sync()?;
        Ok(len)
    }

    fn set_state(&self, state: LedgerState) {
        self.state.send_if_modified(|known| std::mem::replace(known, state) != state);
    }
}

/// Returns whether a later write may succeed.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A disk with room for a number of bytes that the test can raise.
    #[derive(Debug, Clone, Default)]
    struct Disk(Arc<Mutex<Inner>>);

    #[derive(Debug, Default)]
    struct Inner {
        bytes: Vec<u8>,
        room: usize,
        grows_by: usize,
        syncs: usize,
        cuts: usize,
    }

    impl Storage for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let left = disk.room.saturating_sub(disk.bytes.len());
            if left == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = left.min(bytes.len());
            disk.bytes.extend(&bytes[..taken]);
            Ok(taken)
        }

        fn cut(&mut self, len: u64) -> io::Result<()> {
            let mut disk = self.0.lock().unwrap();
            disk.bytes.truncate(usize::try_from(len).unwrap());
            disk.room += disk.grows_by;
            disk.cuts += 1;
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            self.0.lock().unwrap().syncs += 1;
            Ok(())
        }
    }

    #[tokio::test]
    async fn write_waits_for_full_disk() {
        let disk = Disk(Arc::new(Mutex::new(Inner { room: 10, grows_by: 6, ..Inner::default() })));
        let (writer, thread) = LedgerWriter::start(disk.clone(), 0).unwrap();
        let mut state = writer.state();
        writer.append("12345\n".to_owned()).await.unwrap();
        let second = writer.append("abcde\n".to_owned());
        // The guard prevents the writer from changing the state.
        let is_full = async { state.wait_for(|state| *state == LedgerState::Full).await.map(drop) };
        let (written, full) = tokio::join!(second, is_full);
        written.unwrap();
        full.unwrap();
        assert_eq!(*writer.state().borrow(), LedgerState::Writing);
        drop(writer);
        thread.join().unwrap();
        let disk = disk.0.lock().unwrap();
        assert_eq!((disk.bytes.as_slice(), disk.cuts, disk.syncs), (b"12345\nabcde\n".as_slice(), 1, 2));
    }

    #[tokio::test]
    async fn wait_for_full_disk_can_be_cancelled() {
        let disk = Disk(Arc::new(Mutex::new(Inner { room: 3, ..Inner::default() })));
        let (writer, _) = LedgerWriter::start(disk.clone(), 0).unwrap();
        writer.give_up();
        assert_eq!(writer.append("12345\n".to_owned()).await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(disk.0.lock().unwrap().bytes.is_empty(), "nothing of it is left");
    }

    #[tokio::test]
    async fn close_needs_no_other_handle_dropped() {
        let disk = Disk(Arc::new(Mutex::new(Inner { room: 10, ..Inner::default() })));
        let (writer, thread) = LedgerWriter::start(disk.clone(), 0).unwrap();
        writer.append("12345\n".to_owned()).await.unwrap();
        // The second line has no room, and no task waits for it.
        let lost = writer.clone();
        let appending = tokio::spawn(async move { lost.append("7890abc\n".to_owned()).await });
        tokio::task::yield_now().await;
        appending.abort();
        writer.close();
        tokio::task::spawn_blocking(move || thread.join()).await.unwrap().unwrap();
        assert!(writer.append("6\n".to_owned()).await.is_err());
        assert_eq!(disk.0.lock().unwrap().bytes, b"12345\n");
    }

    #[tokio::test]
    async fn pending_lines_share_a_sync() {
        let disk = Disk(Arc::new(Mutex::new(Inner { room: 1 << 20, ..Inner::default() })));
        let (writer, _) = LedgerWriter::start(disk.clone(), 0).unwrap();
        let mut appends = tokio::task::JoinSet::new();
        for number in 0..500 {
            let writer = writer.clone();
            appends.spawn(async move { writer.append(format!("{number}\n")).await });
        }
        assert!(appends.join_all().await.iter().all(Result::is_ok));
        let disk = disk.0.lock().unwrap();
        assert_eq!(disk.bytes.split(|byte| *byte == b'\n').count(), 501);
        assert!(disk.syncs <= 500);
    }
}
