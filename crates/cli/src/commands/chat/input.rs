//! The source of a chat's messages: a line editor on a terminal, otherwise the lines of stdin.

#[cfg(unix)]
use super::editor::{LineEditor, Read};
use crate::args::ChatArgs;
use crate::console::Console;
use crate::keyboard::Keyboard;
use crate::screen;
use crate::stderr::Stderr;
#[cfg(unix)]
use opencode_run_process::{Launch, find_untrusted, known_models};
#[cfg(unix)]
use opencode_runner::supervisor;
use opencode_runner::{Runner, default_journals};
use std::io::{self, IsTerminal, Write};
#[cfg(unix)]
use std::path::PathBuf;

/// The next input.
#[derive(Debug)]
pub(super) enum NextInput {
    Line(String),
    /// Ctrl-C at the prompt, for the second time.
    Interrupt,
    End,
}

/// The source of messages.
pub(super) enum ChatInput {
    Lines {
        keyboard: Keyboard,
        is_prompted: bool,
    },
    #[cfg(unix)]
    Editor {
        editor: LineEditor,
        was_interrupted: bool,
    },
}

impl ChatInput {
    /// Returns whether a line editor can be used: stdin and the output are a terminal.
    pub(super) fn can_edit() -> bool {
        io::stdin().is_terminal() && screen::can_render() && screen::can_draw()
    }

    pub(super) fn new(has_editor: bool, args: &ChatArgs, runner: &Runner, keyboard: &Keyboard) -> Self {
        #[cfg(unix)]
        if has_editor {
            match editor(args, runner) {
                Ok(editor) => return Self::Editor { editor, was_interrupted: false },
                Err(error) => Console::warning(&format!("lines cannot be edited: {error}")),
            }
        }
        let _ = (has_editor, args, runner);
        Self::Lines { keyboard: keyboard.clone(), is_prompted: io::stdin().is_terminal() }
    }

    /// Returns the greeting of a chat.
    pub(super) const fn greeting(&self) -> &'static str {
        match self {
            Self::Lines { .. } => "Each line is a turn. Ctrl-C ends a turn, Ctrl-D the chat.",
            #[cfg(unix)]
            Self::Editor { .. } => {
                "Each message is a turn. /help lists the commands. Ctrl-C stops a turn, Ctrl-D ends the chat."
            }
        }
    }

    /// Returns whether lines that begin with `/` are commands.
    pub(super) const fn has_commands(&self) -> bool {
        !matches!(self, Self::Lines { .. })
    }

    /// Returns the next message.
    ///
    /// # Errors
    ///
    /// If stdin cannot be read.
    pub(super) async fn next(&mut self, console: Console) -> io::Result<NextInput> {
        match self {
            Self::Lines { keyboard, is_prompted } => {
                if *is_prompted {
                    Stderr.write_all(b"> ").ok();
                }
                Ok(keyboard.next_line().await?.map_or(NextInput::End, NextInput::Line))
            }
            #[cfg(unix)]
            Self::Editor { editor, was_interrupted } => loop {
                match editor.read().await? {
                    Read::Message(line) => {
                        *was_interrupted = false;
                        return Ok(NextInput::Line(line));
                    }
                    Read::End => return Ok(NextInput::End),
                    Read::Interrupt if *was_interrupted => return Ok(NextInput::Interrupt),
                    Read::Interrupt => {
                        *was_interrupted = true;
                        console.note("Press Ctrl-D, or Ctrl-C again, to end the chat.");
                    }
                }
            },
        }
    }
}

#[cfg(unix)]
fn editor(args: &ChatArgs, runner: &Runner) -> io::Result<LineEditor> {
    let directory = runner.task_dir().path().to_owned();
    let opencode = runner.opencode().cloned();
    let place = directory.clone();
    let handle = tokio::runtime::Handle::current();
    let list_models = move || {
        let Some(opencode) = opencode.clone() else { return Vec::new() };
        let launch = Launch::new(opencode, std::env::vars_os()).supervised_by(supervisor::current());
        handle.block_on(known_models(&launch, &place)).unwrap_or_default()
    };
    LineEditor::new(&directory, history_file(args), Box::new(list_models))
}

/// Returns the file of the history; `None` for a conversation without a journal.
#[cfg(unix)]
fn history_file(args: &ChatArgs) -> Option<PathBuf> {
    let journals = default_journals().filter(|_| !args.task.no_journal && !args.task.ephemeral)?;
    let state = journals.parent()?;
    find_untrusted(state).is_none().then(|| state.join("chat-history"))
}
