//! The recorder that keeps a conversation on disk.

use crate::error::JournalError;
use crate::replay::Recovered;
use crate::writer::Writer;
use opencode_run_core::{ErrorChain, Input, Recorder, SessionId, Task, TurnStart};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

/// Keeps a conversation in a file as it grows.
///
/// What cannot be written is no trouble of the turn's: the journal ends there, says so once in a log line, and keeps the
/// reason for whoever asks. Dropping it brings all of it onto the disk and lets others write to the file.
#[derive(Debug)]
pub struct Journal {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// No turn has begun: there is no file yet.
    Unborn {
        folder: PathBuf,
        task: Task,
        session: Option<SessionId>,
    },
    Open(Box<Writer>),
    Broken(Arc<JournalError>),
    /// It was deleted, and nothing is kept any more.
    Discarded,
}

impl Journal {
    /// Begins a journal of a task's conversation, in this session if one is continued.
    ///
    /// The file is made in `folder`, and `folder` where it does not exist, when the first turn begins: a conversation
    /// without a turn leaves none behind.
    pub fn new(folder: impl Into<PathBuf>, task: Task, session: Option<SessionId>) -> Self {
        Self { state: Mutex::new(State::Unborn { folder: folder.into(), task, session }) }
    }

    /// Opens a journal, to go on with the conversation that it holds. The unfinished line that a crash may have left at its
    /// end is cut off.
    ///
    /// # Errors
    ///
    /// [`JournalError::Busy`] where somebody else has it open, and what [`read`](crate::read) says.
    pub fn open(path: &Path) -> Result<(Self, Recovered), JournalError> {
        let (writer, recovered) = Writer::open(path)?;
        Ok((Self::over(writer), recovered))
    }

    pub(crate) fn over(writer: Writer) -> Self {
        Self { state: Mutex::new(State::Open(Box::new(writer))) }
    }

    /// Returns where the conversation is kept; none before its first turn, and none if it cannot be kept.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        match &*self.lock() {
            State::Open(writer) => Some(writer.path().to_owned()),
            State::Unborn { .. } | State::Broken(_) | State::Discarded => None,
        }
    }

    /// Returns why the conversation is no longer kept, where that is so.
    #[must_use]
    pub fn error(&self) -> Option<Arc<JournalError>> {
        match &*self.lock() {
            State::Broken(error) => Some(Arc::clone(error)),
            State::Unborn { .. } | State::Open(_) | State::Discarded => None,
        }
    }

    /// Deletes what was kept, with its folder if nothing else is in it, and keeps nothing more.
    ///
    /// What cannot be deleted stays, and does no harm.
    pub fn discard(&self) {
        let mut state = self.lock();
        if let State::Open(writer) = &*state {
            let path = writer.path();
            let deleted = fs::remove_file(path).map(|()| path.parent().map(fs::remove_dir));
            if let Err(error) = deleted {
                tracing::warn!("the journal {} cannot be deleted: {error}", path.display());
            }
        }
        *state = State::Discarded;
    }

    // A panic while the lock is held leaves a line half-written at most, which is what every reader is prepared for.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, write: impl FnOnce(&mut Writer) -> io::Result<()>) {
        let State::Open(writer) = self else { return };
        if let Err(error) = write(writer) {
            let error = JournalError::io(writer.path())(error);
            self.give_up(error);
        }
    }

    fn give_up(&mut self, error: JournalError) {
        tracing::warn!("the conversation is not journalled any further: {}", ErrorChain::new(&error));
        *self = Self::Broken(Arc::new(error));
    }
}

impl Recorder for Journal {
    fn turn_started(&self, start: &TurnStart) {
        let mut state = self.lock();
        if let State::Unborn { folder, task, session } = &*state {
            match Writer::create(folder, task, session.as_ref(), start.started_at) {
                Ok(writer) => *state = State::Open(Box::new(writer)),
                Err(error) => state.give_up(error),
            }
        }
        state.write(|writer| writer.turn(start));
    }

    fn input(&self, at: Duration, input: &Input) {
        self.lock().write(|writer| writer.input(at, input));
    }

    fn settle(&self) {
        self.lock().write(Writer::flush);
    }
}
