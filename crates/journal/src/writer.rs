//! Writes one line per input, and flushes them before a reader can have seen more than a few deltas.

use crate::error::JournalError;
use crate::line::{FORMAT, JournalLine, is_delta};
use crate::replay::{Recovered, recover};
use opencode_run_core::{Input, SessionId, Task, TurnStart};
use std::borrow::Cow;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, BufReader, BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The maximum size of the buffered deltas in bytes.
const MAX_BUFFERED_BYTES: usize = 64 << 10;
/// How long a locked file is tried. A child that another thread is starting keeps the lock of a writer that was just
/// dropped, until it executes its program.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);
/// The interval of these tries.
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

/// An open journal, locked against other writers.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    /// Whether the turn's session was written, which happens only once.
    session_written: bool,
    /// The time of the last progress. Only the last one before another input is written.
    progress: Option<Duration>,
}

impl Writer {
    /// Creates a journal in a directory, which is created if it does not exist. The file becomes visible with its
    /// first line.
    pub(crate) fn create(
        folder: &Path,
        task: &Task,
        session: Option<&SessionId>,
        now: SystemTime,
    ) -> Result<Self, JournalError> {
        let failed = || JournalError::io(folder);
        make_folder(folder).map_err(failed())?;
        // The start time makes the journals of a directory sort in chronological order.
        let begun = jiff::Timestamp::try_from(now).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ-").to_string();
        let file = tempfile::Builder::new().prefix(&begun).suffix(".new").tempfile_in(folder).map_err(failed())?;
        let path = file.path().with_extension("jsonl");
        lock(file.as_file(), &path)?;
        let mut first = serde_json::to_vec(&JournalLine::Journal {
            format: FORMAT,
            task: Cow::Borrowed(task),
            session: session.map(Cow::Borrowed),
        })
        .map_err(|error| failed()(error.into()))?;
        first.push(b'\n');
        file.as_file().write_all(&first).map_err(failed())?;
        let file = file.persist_noclobber(&path).map_err(|error| failed()(error.error))?;
        Ok(Self::with_file(path, file))
    }

    /// Opens a journal to continue it, without an incomplete last line.
    pub(crate) fn open(path: &Path) -> Result<(Self, Recovered), JournalError> {
        let failed = || JournalError::io(path);
        let mut file = File::options().read(true).write(true).open(path).map_err(failed())?;
        lock(&file, path)?;
        let recovered = recover(path, BufReader::new(&file))?;
        if recovered.is_newer() {
            return Err(JournalError::Newer { path: path.to_owned(), format: recovered.format });
        }
        if recovered.truncated_bytes > 0 {
            file.set_len(recovered.whole_bytes).map_err(failed())?;
        }
        file.seek(SeekFrom::End(0)).map_err(failed())?;
        Ok((Self::with_file(path.to_owned(), file), recovered))
    }

    pub(crate) fn with_file(path: PathBuf, file: File) -> Self {
        let file = BufWriter::with_capacity(MAX_BUFFERED_BYTES, file);
        Self { path, file, session_written: false, progress: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn turn(&mut self, start: &TurnStart) -> io::Result<()> {
        self.session_written = false;
        self.progress = None;
        self.write(&JournalLine::Turn(Cow::Borrowed(start)))?;
        self.flush()
    }

    pub(crate) fn input(&mut self, at: Duration, input: &Input) -> io::Result<()> {
        match input {
            Input::Progress => {
                self.progress = Some(at);
                return Ok(());
            }
            Input::Session(_) if std::mem::replace(&mut self.session_written, true) => return Ok(()),
            _ => {}
        }
        let Some(line) = JournalLine::of(at, input) else { return Ok(()) };
        if let Some(at) = self.progress.take() {
            self.write(&JournalLine::Progress { at: at.into() })?;
        }
        self.write(&line)?;
        match input {
            Input::Event(observed) if is_delta(&observed.event) => Ok(()),
            _ => self.flush(),
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn write(&mut self, line: &JournalLine<'_>) -> io::Result<()> {
        // Keeps the file at a complete line whenever possible.
        if self.file.buffer().len() > MAX_BUFFERED_BYTES / 2 {
            self.flush()?;
        }
        serde_json::to_writer(WithoutLineBreaks(&mut self.file), line)?;
        self.file.write_all(b"\n")
    }
}

/// Removes line breaks: opencode's JSON may have some between tokens, and only there.
struct WithoutLineBreaks<W>(W);

impl<W: Write> Write for WithoutLineBreaks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split(|byte| matches!(byte, b'\n' | b'\r')) {
            self.0.write_all(piece)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A failure cannot be reported from here.
        self.file.flush().and_then(|()| self.file.get_ref().sync_data()).ok();
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(folder)
}

/// Locks the file for its one writer. Closing the file releases the lock, even if the process dies.
fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_TIMEOUT => std::thread::sleep(LOCK_INTERVAL),
            Err(TryLockError::WouldBlock) => return Err(JournalError::Busy { path: path.to_owned() }),
            // A file system without locks can still hold a journal.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(JournalError::io(path)(error)),
        }
    }
}
