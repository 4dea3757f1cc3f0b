//! The line editor of a chat on a terminal.

use super::complete::{Completion, ListModels};
use opencode_run_process::create_private_dir_all;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Cmd, Config, Editor, EventHandler, KeyCode, KeyEvent, Modifiers};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The maximum number of messages in the history.
const MAX_HISTORY: usize = 1000;
/// The maximum size of a message in the history, in bytes, so that pasted files are not stored.
const MAX_HISTORY_BYTES: usize = 16 << 10;
const PROMPT: &str = "> ";

/// The result of reading a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Message(String),
    /// Ctrl-C, which discards the current line.
    Interrupt,
    End,
}

/// Reads messages from the terminal.
#[derive(Clone)]
pub(super) struct LineEditor(Arc<Mutex<Inner>>);

struct Inner {
    editor: Editor<Completion, FileHistory>,
    history: Option<PathBuf>,
}

impl LineEditor {
    /// Creates an editor with the history in this file.
    ///
    /// # Errors
    ///
    /// If the terminal cannot be used.
    pub(super) fn new(directory: &Path, history: Option<PathBuf>, list_models: ListModels) -> io::Result<Self> {
        let config = Config::builder()
            .max_history_size(MAX_HISTORY)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(io::Error::other)?
            .history_ignore_space(true)
            .completion_type(rustyline::CompletionType::List)
            .bracketed_paste(true)
            .enable_signals(false)
            .build();
        let mut editor = Editor::with_config(config).map_err(io::Error::other)?;
        editor.set_helper(Some(Completion::new(directory, list_models)));
        editor.bind_sequence(KeyEvent(KeyCode::Enter, Modifiers::ALT), EventHandler::Simple(Cmd::Newline));
        if let Some(history) = &history {
            if let Some(folder) = history.parent() {
                create_private_dir_all(folder).ok();
            }
            // The file does not exist before the first chat.
            editor.load_history(history).ok();
        }
        Ok(Self(Arc::new(Mutex::new(Inner { editor, history }))))
    }

    /// Reads a message. If the future is dropped, the terminal stays in the editor's mode until the process ends.
    ///
    /// # Errors
    ///
    /// If the terminal cannot be read.
    pub(super) async fn read(&self) -> io::Result<Read> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || inner.lock().unwrap_or_else(PoisonError::into_inner).read())
            .await
            .map_err(io::Error::other)?
    }
}

impl Inner {
    fn read(&mut self) -> io::Result<Read> {
        match self.editor.readline(PROMPT) {
            Ok(line) => {
                if line.len() <= MAX_HISTORY_BYTES && !line.trim().is_empty() {
                    self.editor.add_history_entry(line.as_str()).ok();
                    if let Some(history) = &self.history {
                        // A failure to write the history does not end the chat.
                        self.editor.append_history(history).ok();
                    }
                }
                Ok(Read::Message(line.replace("\\\n", "\n")))
            }
            Err(ReadlineError::Eof) => Ok(Read::End),
            Err(ReadlineError::Interrupted) => Ok(Read::Interrupt),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}
