//! Allows the use of an auto-discovered `.env` by its path and content.

use crate::allowed::{Allowed, AllowedFiles};
use crate::args::AllowArgs;
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::found_file::{FoundFile, place};
use crate::output::TextKind;
use opencode_run_core::FailureKind;
use opencode_run_markdown::visible;
use std::io;
use std::path::Path;

/// Allows a file, revokes that, or lists the allowed files.
pub(crate) async fn allow(args: &AllowArgs, console: Console) -> Code {
    let done = match AllowedFiles::of_user() {
        None => Err(CommandError::new(FailureKind::Config, "there is no home directory for the list of allowed files")
            .hint("set HOME")),
        Some(allowed) if args.list => match list(&allowed) {
            Ok(text) => return super::print::print(TextKind::Plain, |out| out.write_all(text.as_bytes())).await,
            Err(error) => Err(failed(&error)),
        },
        Some(allowed) if args.revoke => revoke(&allowed, &args.file, console),
        Some(allowed) => add(&allowed, &args.file, console),
    };
    match done {
        Ok(()) => Code::OK,
        Err(error) => {
            Console::error(&error);
            Code::of_kind(error.kind)
        }
    }
}

fn add(allowed: &AllowedFiles, file: &Path, console: Console) -> Result<(), CommandError> {
    let unread =
        |why: &str| CommandError::new(FailureKind::Config, format!("{} cannot be allowed: {why}", file.display()));
    let found = FoundFile::read(file).map_err(|error| unread(&error.to_string()))?;
    let found = found.ok_or_else(|| unread("there is no such file"))?;
    if found.content.source.is_empty() {
        return Err(unread("there is no model source in it"));
    }
    allowed.add(&found.identity).map_err(|error| failed(&error))?;
    console.note(&format!("{} is used from now on in this state: {}", found.identity.path.display(), found.summary()));
    Ok(())
}

fn revoke(allowed: &AllowedFiles, file: &Path, console: Console) -> Result<(), CommandError> {
    // The file may be gone.
    let path = place(file).or_else(|_| std::path::absolute(file)).map_err(|error| failed(&error))?;
    if allowed.revoke(&path).map_err(|error| failed(&error))? == 0 {
        return Err(CommandError::new(FailureKind::Config, format!("{} was not allowed", path.display())));
    }
    console.note(&format!("{} is no longer allowed", path.display()));
    Ok(())
}

/// Returns the allowed files, one per line.
fn list(allowed: &AllowedFiles) -> io::Result<String> {
    let line = |file: Allowed| {
        let is_same = std::fs::read(&file.path).is_ok_and(|content| Allowed::new(&file.path, &content) == file);
        let state = if is_same { "" } else { "  (changed since, not used)" };
        format!("{}{state}\n", visible(&file.path.display().to_string()))
    };
    Ok(allowed.list()?.into_iter().map(line).collect())
}

fn failed(error: &io::Error) -> CommandError {
    CommandError::of(FailureKind::Io, error)
}
