//! Writing: a line for each input, flushed before anybody can have seen more than a few deltas of it.

use crate::error::JournalError;
use crate::line::{FORMAT, Line, is_delta};
use crate::replay::{Recovered, recover};
use opencode_run_core::{Input, SessionId, Task, TurnStart};
use std::borrow::Cow;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, BufReader, BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How many bytes of deltas are held back at most.
const HELD_BACK: usize = 64 << 10;

/// An open journal, locked against other writers.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    /// The turn's session has been written: the turn takes no second one.
    session_told: bool,
    /// The last bytes that came by. Only the last before something else makes a difference.
    progress: Option<Duration>,
}

impl Writer {
    /// Makes a journal in a folder, which is made as well where it does not exist. It appears with its first line in it.
    pub(crate) fn create(
        folder: &Path,
        task: &Task,
        session: Option<&SessionId>,
        now: SystemTime,
    ) -> Result<Self, JournalError> {
        let failed = || JournalError::io(folder);
        make_folder(folder).map_err(failed())?;
        // So that the names of a folder's journals are in the order of their beginnings.
        let begun = jiff::Timestamp::try_from(now).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ-").to_string();
        let file = tempfile::Builder::new().prefix(&begun).suffix(".new").tempfile_in(folder).map_err(failed())?;
        let path = file.path().with_extension("jsonl");
        lock(file.as_file(), &path)?;
        let mut first = serde_json::to_vec(&Line::Journal {
            format: FORMAT,
            task: Cow::Borrowed(task),
            session: session.map(Cow::Borrowed),
        })
        .map_err(|error| failed()(error.into()))?;
        first.push(b'\n');
        file.as_file().write_all(&first).map_err(failed())?;
        let file = file.persist_noclobber(&path).map_err(|error| failed()(error.error))?;
        Ok(Self::over(path, file))
    }

    /// Opens a journal to go on with it, without what a crash left of its last line.
    pub(crate) fn open(path: &Path) -> Result<(Self, Recovered), JournalError> {
        let failed = || JournalError::io(path);
        let mut file = File::options().read(true).write(true).open(path).map_err(failed())?;
        lock(&file, path)?;
        let recovered = recover(path, BufReader::new(&file))?;
        if recovered.torn_bytes > 0 {
            file.set_len(recovered.whole_bytes).map_err(failed())?;
        }
        file.seek(SeekFrom::End(0)).map_err(failed())?;
        Ok((Self::over(path.to_owned(), file), recovered))
    }

    pub(crate) fn over(path: PathBuf, file: File) -> Self {
        let file = BufWriter::with_capacity(HELD_BACK, file);
        Self { path, file, session_told: false, progress: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn turn(&mut self, start: &TurnStart) -> io::Result<()> {
        self.session_told = false;
        self.progress = None;
        self.write(&Line::Turn(Cow::Borrowed(start)))?;
        self.flush()
    }

    pub(crate) fn input(&mut self, at: Duration, input: &Input) -> io::Result<()> {
        match input {
            Input::Progress => {
                self.progress = Some(at);
                return Ok(());
            }
            Input::Session(_) if std::mem::replace(&mut self.session_told, true) => return Ok(()),
            _ => {}
        }
        let Some(line) = Line::of(at, input) else { return Ok(()) };
        if let Some(at) = self.progress.take() {
            self.write(&Line::Progress { at: at.into() })?;
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

    fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        // So that the file ends with a whole line whenever it can.
        if self.file.buffer().len() > HELD_BACK / 2 {
            self.flush()?;
        }
        serde_json::to_writer(OneLine(&mut self.file), line)?;
        self.file.write_all(b"\n")
    }
}

/// Leaves out line breaks: what opencode wrote may hold some between the tokens of its JSON, and only there.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
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
        // There is nobody left to tell.
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

/// Takes the one place of a writer. It is given back when the file is closed, as it is when its process dies.
fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(JournalError::Busy { path: path.to_owned() }),
        // A file system without locks is a place for a journal all the same.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(JournalError::io(path)(error)),
    }
}
