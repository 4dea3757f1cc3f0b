//! Reads a journal by replaying its lines through the state machine of the turn.

use crate::error::JournalError;
use crate::line::{FORMAT, JournalLine};
use crate::lines::{FileLine, FileLines};
use opencode_run_core::{Conversation, TurnMachine};
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

/// The maximum size in bytes of a line that is read. A line contains a message, or an event and its original JSON.
const MAX_LINE_BYTES: usize = 256 << 20;

/// The content of a journal.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Recovered {
    /// The conversation. Its last turn is running if the journal does not contain its end.
    pub conversation: Conversation,
    /// The size in bytes of an incomplete line at the end of the file, which was dropped.
    pub truncated_bytes: u64,
    /// The number of skipped lines, which are too long or which this version cannot read.
    pub skipped_lines: u64,
    /// The format of the file. One of a [later version](Self::is_newer) is read as far as this version knows it.
    pub format: u32,
    /// Whether the journal is open for writing elsewhere. If not, a turn that is still running here will not
    /// continue.
    pub in_use: bool,
    /// The size in bytes of the complete lines of the file.
    pub(crate) whole_bytes: u64,
}

impl Recovered {
    /// Returns whether a later version wrote the journal. It can be read, but not continued.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.format > FORMAT
    }
}

/// Reads a journal, even while it is being written, or if a later version wrote it.
///
/// # Errors
///
/// If the file cannot be read or is not a journal. A truncated last line and unreadable lines are not errors: see [`Recovered`].
pub fn read(path: &Path) -> Result<Recovered, JournalError> {
    let file = File::open(path).map_err(JournalError::io(path))?;
    // Checked before reading, so that a journal that is reported as unused is read to its end. The lock is released
    // immediately.
    let in_use = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    file.unlock().ok();
    Ok(Recovered { in_use, ..recover(path, BufReader::new(file))? })
}

/// Reads a journal; the path is only used in messages.
pub(crate) fn recover(path: &Path, reader: impl BufRead) -> Result<Recovered, JournalError> {
    let mut lines = FileLines::new(reader, MAX_LINE_BYTES);
    let mut replay = Replay::begin(path, &mut lines)?;
    let mut truncated_bytes = 0;
    while let Some(line) = lines.next().map_err(JournalError::io(path))? {
        match line {
            FileLine::Whole(line) => replay.line(line),
            FileLine::TooLong => replay.skipped += 1,
            FileLine::Truncated(bytes) => truncated_bytes = bytes,
        }
    }
    let format = replay.format;
    let skipped_lines = replay.skipped;
    let conversation = replay.finish();
    Ok(Recovered {
        conversation,
        truncated_bytes,
        skipped_lines,
        format,
        in_use: false,
        whole_bytes: lines.whole_bytes(),
    })
}

/// The state of a replay.
struct Replay {
    format: u32,
    conversation: Conversation,
    turn: Option<TurnMachine>,
    skipped: u64,
}

impl Replay {
    /// Reads the first line.
    fn begin<R: BufRead>(path: &Path, lines: &mut FileLines<R>) -> Result<Self, JournalError> {
        let first = lines.next().map_err(JournalError::io(path))?;
        let line = match first {
            Some(FileLine::Whole(line)) => serde_json::from_slice(line).ok(),
            _ => None,
        };
        match line {
            Some(JournalLine::Journal { task, session, format }) => {
                let mut conversation = Conversation::new(task.into_owned());
                conversation.session = session.map(std::borrow::Cow::into_owned);
                Ok(Self { format, conversation, turn: None, skipped: 0 })
            }
            _ => Err(JournalError::Foreign { path: path.to_owned() }),
        }
    }

    fn line(&mut self, line: &[u8]) {
        match serde_json::from_slice::<JournalLine<'_>>(line) {
            Ok(JournalLine::Turn(start)) => {
                self.finish_turn();
                // The writer of another turn had abandoned the previous one.
                self.conversation.end_abandoned_turns();
                self.turn = Some(TurnMachine::begin(start.into_owned()));
            }
            Ok(line) => self.input(line),
            Err(_) => self.skipped += 1,
        }
    }

    fn input(&mut self, line: JournalLine<'_>) {
        let (Some(turn), Some((at, input))) = (&mut self.turn, line.into_input()) else {
            self.skipped += 1;
            return;
        };
        let changes = turn.apply(at, &input);
        if let Some(session) = changes.session {
            self.conversation.session = Some(session);
        }
        if changes.ended.is_some() {
            self.finish_turn();
        }
    }

    fn finish_turn(&mut self) {
        self.conversation.turns.extend(self.turn.take().map(TurnMachine::into_record).map(Arc::new));
    }

    fn finish(mut self) -> Conversation {
        self.finish_turn();
        self.conversation
    }
}
