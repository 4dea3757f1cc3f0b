//! A results file, opened for a batch.

use super::history::History;
use super::line::{LINE_START, LineError};
use super::writer::{LedgerWriter, Storage};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a locked file is tried. A child that another thread is starting keeps the lock of a ledger that was just
/// closed, until it executes its program.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);
/// The interval of these tries.
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

/// A results file under its lock.
#[derive(Debug)]
pub struct Ledger {
    writer: Option<LedgerWriter>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

/// The incomplete last line that a crash left in a results file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Torn {
    /// The number of the line.
    pub line: u64,
    /// The size of the partial line in bytes.
    pub bytes: u64,
    /// The file that the partial line was moved to.
    pub moved_to: PathBuf,
}

/// A results file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The file cannot be opened for writing.
    #[error("the results cannot be written to {}", path.display())]
    Open {
        /// The results file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another batch writes to it.
    #[error("another batch is writing to {}", path.display())]
    Busy {
        /// The results file.
        path: PathBuf,
    },
    /// A line is not a result.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The incomplete last line cannot be moved to another file.
    #[error("the torn last line of {} cannot be moved to {}", path.display(), moved_to.display())]
    Torn {
        /// The results file.
        path: PathBuf,
        /// The file for incomplete lines.
        moved_to: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl Ledger {
    /// Opens a results file and reads its lines. Creates the file if it does not exist; moves an incomplete last line
    /// to a separate file.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, another batch is writing to it, or a line is not a result.
    pub fn open(path: &Path) -> Result<(Self, History, Option<Torn>), LedgerError> {
        let open = |source: io::Error| LedgerError::Open { path: path.to_owned(), source };
        let is_new = !path.exists();
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(open)?;
        if !file.metadata().map_err(open)?.is_file() {
            return Err(open(io::Error::other("it is not a file")));
        }
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_TIMEOUT => std::thread::sleep(LOCK_INTERVAL),
                Err(TryLockError::WouldBlock) => return Err(LedgerError::Busy { path: path.to_owned() }),
                Err(TryLockError::Error(error)) => return Err(open(error)),
            }
        }
        if is_new && let Some(folder) = path.parent() {
            // The directory is synced too, so that a new file survives a crash. Some file systems do not support that.
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder).and_then(|folder| folder.sync_all()).ok();
        }
        let (history, end) = read(&file, path)?;
        let torn = end.repair(&file, path)?;
        let len = file.metadata().map_err(open)?.len();
        let (writer, thread) = LedgerWriter::start(Locked(file), len).map_err(open)?;
        Ok((Self { writer: Some(writer), thread: Some(thread), path: path.to_owned() }, history, torn))
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a handle that appends lines; `None` after the file was closed.
    #[must_use]
    pub fn writer(&self) -> Option<LedgerWriter> {
        self.writer.clone()
    }

    /// Closes the file after all lines are written, and releases its lock. Handles that are left cannot append any more.
    ///
    /// It blocks the thread for one write, or until a full disk has room for lines that a task waits for.
    pub fn close(mut self) {
        if let Some(writer) = self.writer.take() {
            writer.close();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The end of a results file.
enum End {
    /// With a line break.
    Whole,
    /// A complete result without its line break, as an editor may leave it.
    NoLineBreak,
    /// In the middle of a line.
    Torn { line: u64, offset: u64, bytes: Vec<u8> },
}

fn read(file: &File, path: &Path) -> Result<(History, End), LedgerError> {
    let mut history = History::default();
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut text = Vec::new();
    let mut line = 0;
    let mut offset = 0;
    loop {
        text.clear();
        let read =
            reader.read_until(b'\n', &mut text).map_err(|source| LineError::Io { path: path.to_owned(), source })?;
        if read == 0 {
            return Ok((history, End::Whole));
        }
        line += 1;
        let start = offset;
        offset += read as u64;
        if text.ends_with(b"\n") {
            if !text.trim_ascii().is_empty() {
                history.add(&text, path, line)?;
            }
            continue;
        }
        return match history.add(&text, path, line) {
            Ok(()) => Ok((history, End::NoLineBreak)),
            Err(error @ LineError::Version { .. }) => Err(error.into()),
            Err(_) if may_be_torn(&text) => Ok((history, End::Torn { line, offset: start, bytes: text })),
            // Not a results file: nothing of it may be moved away.
            Err(error) => Err(error.into()),
        };
    }
}

/// Returns whether a partial line may be the beginning of a result. After a power failure, a file system may have
/// zeros instead of its last bytes.
fn may_be_torn(bytes: &[u8]) -> bool {
    let begins = &bytes[..bytes.len().min(LINE_START.len())];
    let written = begins.split(|byte| *byte == 0).next().unwrap_or_default();
    LINE_START.starts_with(written)
}

impl End {
    fn repair(self, mut file: &File, path: &Path) -> Result<Option<Torn>, LedgerError> {
        match self {
            Self::Whole => Ok(None),
            Self::NoLineBreak => {
                let written = file.write_all(b"\n").and_then(|()| file.sync_data());
                written.map_err(|source| LedgerError::Open { path: path.to_owned(), source })?;
                Ok(None)
            }
            Self::Torn { line, offset, bytes } => {
                let mut name = path.file_name().unwrap_or_default().to_owned();
                name.push(".torn");
                let moved_to = path.with_file_name(name);
                let moved = || {
                    let mut torn = OpenOptions::new().append(true).create(true).open(&moved_to)?;
                    torn.write_all(&bytes)?;
                    torn.write_all(b"\n")?;
                    torn.sync_data()?;
                    file.set_len(offset)?;
                    file.sync_data()
                };
                match moved() {
                    Ok(()) => Ok(Some(Torn { line, bytes: bytes.len() as u64, moved_to })),
                    Err(source) => Err(LedgerError::Torn { path: path.to_owned(), moved_to, source }),
                }
            }
        }
    }
}

/// The file; dropping it releases the lock.
struct Locked(File);

impl Storage for Locked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
