//! The recorder that writes a conversation to disk.

use crate::error::JournalError;
use crate::replay::Recovered;
use crate::writer::Writer;
use opencode_run_core::{ErrorChain, Input, Recorder, SessionId, Task, TurnStart};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

/// Writes a conversation to a file as it grows.
///
/// A write error does not affect the turn: the journal stops, logs the error once, and keeps it for
/// [`error`](Self::error). Dropping the journal syncs the file to disk and releases its lock.
#[derive(Debug)]
pub struct Journal {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// No turn has begun, so there is no file yet.
    Pending {
        folder: PathBuf,
        task: Task,
        session: Option<SessionId>,
    },
    Open(Box<Writer>),
    Broken(Arc<JournalError>),
    /// The journal was deleted and records nothing more.
    Deleted,
}

impl Journal {
    /// Creates the journal of a task's conversation; `session` is the session that is continued, if any.
    ///
    /// The file, and the directory if it does not exist, is created when the first turn begins: a conversation without
    /// turns leaves no file.
    pub fn new(folder: impl Into<PathBuf>, task: Task, session: Option<SessionId>) -> Self {
        Self { state: Mutex::new(State::Pending { folder: folder.into(), task, session }) }
    }

    /// Opens a journal to continue its conversation. Removes the incomplete line that a crash may have left at its
    /// end.
    ///
    /// # Errors
    ///
    /// [`JournalError::Busy`] if it is open elsewhere, and the errors of [`read`](crate::read).
    pub fn open(path: &Path) -> Result<(Self, Recovered), JournalError> {
        let (writer, recovered) = Writer::open(path)?;
        Ok((Self::with_writer(writer), recovered))
    }

    pub(crate) fn with_writer(writer: Writer) -> Self {
        Self { state: Mutex::new(State::Open(Box::new(writer))) }
    }

    /// Returns the path of the file; `None` before the first turn, and if it cannot be written.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        match &*self.lock() {
            State::Open(writer) => Some(writer.path().to_owned()),
            State::Pending { .. } | State::Broken(_) | State::Deleted => None,
        }
    }

    /// Returns the error that stopped the journal, if there was one.
    #[must_use]
    pub fn error(&self) -> Option<Arc<JournalError>> {
        match &*self.lock() {
            State::Broken(error) => Some(Arc::clone(error)),
            State::Pending { .. } | State::Open(_) | State::Deleted => None,
        }
    }

    /// Deletes the file, and its directory if that is empty, and stops recording.
    ///
    /// A file that cannot be deleted stays, which is harmless.
    pub fn delete(&self) {
        let mut state = self.lock();
        if let State::Open(writer) = &*state {
            let path = writer.path();
            let deleted = fs::remove_file(path).map(|()| path.parent().map(fs::remove_dir));
            if let Err(error) = deleted {
                tracing::warn!("the journal {} cannot be deleted: {error}", path.display());
            }
        }
        *state = State::Deleted;
    }

    // A panic while the lock is held leaves at most a partial line, which every reader can handle.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, write: impl FnOnce(&mut Writer) -> io::Result<()>) {
        let State::Open(writer) = self else { return };
        if let Err(error) = write(writer) {
            let error = JournalError::io(writer.path())(error);
            self.stop(error);
        }
    }

    fn stop(&mut self, error: JournalError) {
        tracing::warn!("the journal of the conversation stopped: {}", ErrorChain::new(&error));
        *self = Self::Broken(Arc::new(error));
    }
}

impl Recorder for Journal {
    fn turn_started(&self, start: &TurnStart) {
        let mut state = self.lock();
        if let State::Pending { folder, task, session } = &*state {
            match Writer::create(folder, task, session.as_ref(), start.started_at) {
                Ok(writer) => *state = State::Open(Box::new(writer)),
                Err(error) => state.stop(error),
            }
        }
        state.write(|writer| writer.turn(start));
    }

    fn input(&self, at: Duration, input: &Input) {
        self.lock().write(|writer| writer.input(at, input));
    }

    fn flush(&self) {
        self.lock().write(Writer::flush);
    }
}
