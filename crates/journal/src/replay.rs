//! Reading: what a journal says is given to the state machine of the turn again.

use crate::error::JournalError;
use crate::line::{FORMAT, Line};
use crate::lines::{FileLine, FileLines};
use opencode_run_core::{Conversation, TurnMachine};
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

/// The longest line that is read. A line holds a message or an event, and beside it the same event as opencode wrote it.
const LONGEST_LINE: usize = 256 << 20;

/// What a journal says.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Recovered {
    /// The conversation. The last turn is running where the journal says nothing of its end.
    pub conversation: Conversation,
    /// How many bytes at the end of the file were the beginning of a line that was never finished. They are left out.
    pub torn_bytes: u64,
    /// How many lines this version cannot read, or too long a one to be read. They are left out.
    pub skipped_lines: u64,
    /// Whether somebody has the journal open for writing: if not, a turn that is running will not run on.
    pub in_use: bool,
    /// How many bytes of the file are whole lines.
    pub(crate) whole_bytes: u64,
}

/// Reads a journal, also one that is being written.
///
/// # Errors
///
/// If the file cannot be read or is not a journal that this version can read. A journal that ends in the middle of a line,
/// or holds lines that cannot be read, is no error: see [`Recovered`].
pub fn read(path: &Path) -> Result<Recovered, JournalError> {
    let file = File::open(path).map_err(JournalError::io(path))?;
    // Asked before reading, so that what is said to be over is read to its end. The lock is held for this moment only.
    let in_use = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    file.unlock().ok();
    Ok(Recovered { in_use, ..recover(path, BufReader::new(file))? })
}

/// Reads a journal; the path is for messages.
pub(crate) fn recover(path: &Path, reader: impl BufRead) -> Result<Recovered, JournalError> {
    let mut lines = FileLines::new(reader, LONGEST_LINE);
    let mut replay = Replay::begin(path, &mut lines)?;
    let mut torn_bytes = 0;
    while let Some(line) = lines.next().map_err(JournalError::io(path))? {
        match line {
            FileLine::Whole(line) => replay.line(line),
            FileLine::TooLong => replay.skipped += 1,
            FileLine::Torn(bytes) => torn_bytes = bytes,
        }
    }
    let skipped_lines = replay.skipped;
    let (conversation, whole_bytes) = (replay.finish(), lines.whole_bytes());
    Ok(Recovered { conversation, torn_bytes, skipped_lines, in_use: false, whole_bytes })
}

/// A conversation that comes about again.
struct Replay {
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
            Some(Line::Journal { format, .. }) if format > FORMAT => {
                Err(JournalError::Newer { path: path.to_owned(), format })
            }
            Some(Line::Journal { task, session, .. }) => {
                let mut conversation = Conversation::new(task.into_owned());
                conversation.session = session.map(std::borrow::Cow::into_owned);
                Ok(Self { conversation, turn: None, skipped: 0 })
            }
            _ => Err(JournalError::Foreign { path: path.to_owned() }),
        }
    }

    fn line(&mut self, line: &[u8]) {
        match serde_json::from_slice::<Line<'_>>(line) {
            Ok(Line::Turn(start)) => {
                self.put_away();
                // Whoever began another turn had given up the one before.
                self.conversation.end_abandoned_turns();
                self.turn = Some(TurnMachine::begin(start.into_owned()));
            }
            Ok(line) => self.input(line),
            Err(_) => self.skipped += 1,
        }
    }

    fn input(&mut self, line: Line<'_>) {
        let (Some(turn), Some((at, input))) = (&mut self.turn, line.into_input()) else {
            self.skipped += 1;
            return;
        };
        let changes = turn.apply(at, &input);
        if let Some(session) = changes.session {
            self.conversation.session = Some(session);
        }
        if changes.ended.is_some() {
            self.put_away();
        }
    }

    fn put_away(&mut self) {
        self.conversation.turns.extend(self.turn.take().map(TurnMachine::into_record).map(Arc::new));
    }

    fn finish(mut self) -> Conversation {
        self.put_away();
        self.conversation
    }
}
