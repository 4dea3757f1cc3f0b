//! Output of subcommands on stdout.

use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::output::{OutputError, Stdout, TextKind};
use std::io::Write;

/// Prints output other than the answer of a turn.
pub(super) async fn print(kind: TextKind, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Code {
    let mut text = Vec::new();
    let written = match write(&mut text) {
        Ok(()) => Stdout::new(kind).write(String::from_utf8_lossy(&text)).await,
        Err(error) => Err(OutputError::Failed(error)),
    };
    match written {
        Ok(()) => Code::OK,
        Err(OutputError::Gone) => Code::PIPE,
        Err(error) => {
            Console::error(&CommandError::io(error.to_string()));
            Code::TURN_FAILED
        }
    }
}

/// Prints a text on stdout. A closed stdout is an exit code, not an error.
pub(super) async fn print_text(kind: TextKind, text: String) -> Result<Code, CommandError> {
    match Stdout::new(kind).write(text).await {
        Ok(()) => Ok(Code::OK),
        Err(OutputError::Gone) => Ok(Code::PIPE),
        Err(error) => Err(CommandError::io(error.to_string())),
    }
}
