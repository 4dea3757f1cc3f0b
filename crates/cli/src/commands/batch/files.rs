//! Results files of batches, exported and merged.

use crate::args::{ExportArgs, MergeArgs};
use crate::commands::print::print_text;
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::output::TextKind;
use opencode_run_batch::{
    ExportError, ExportFormat, MergeError, export as export_to, export_to_file, merge as merge_files,
};
use opencode_run_core::{ErrorChain, FailureKind};
use std::path::Path;

/// Writes the results in other formats.
pub(super) async fn export(args: ExportArgs, console: Console) -> Result<Code, CommandError> {
    let ExportArgs { results, predictions, joblog, format, console: _ } = args;
    if predictions.is_none() && joblog.is_none() && format.is_none() {
        let error = CommandError::usage("no format was given");
        return Err(error.hint("use --predictions FILE, --joblog FILE, or --format csv, md or junit"));
    }
    let files = [(predictions, ExportFormat::Predictions), (joblog, ExportFormat::Joblog)];
    let work = move || -> Result<(Vec<u8>, Vec<String>), CommandError> {
        let mut notes = Vec::new();
        for (path, format) in files {
            let Some(path) = path else { continue };
            let count = to_file(&results, format, &path)?;
            notes.push(format!("{count} results in {}", path.display()));
        }
        let mut text = Vec::new();
        if let Some(format) = format {
            export_to(&results, format.into(), &mut text).map_err(|error| failed(&error))?;
        }
        Ok((text, notes))
    };
    let (text, notes) =
        tokio::task::spawn_blocking(work).await.map_err(|error| CommandError::io(error.to_string()))??;
    for note in notes {
        console.note(&note);
    }
    if text.is_empty() {
        Ok(Code::OK)
    } else {
        print_text(TextKind::Plain, String::from_utf8_lossy(&text).into_owned()).await
    }
}

fn to_file(results: &Path, format: ExportFormat, path: &Path) -> Result<u64, CommandError> {
    export_to_file(results, format, path).map_err(|error| match error {
        ExportError::Write(error) => CommandError::usage(format!("{} cannot be written: {error}", path.display())),
        error => failed(&error),
    })
}

fn failed(error: &ExportError) -> CommandError {
    let kind = if matches!(error, ExportError::Line(_)) { FailureKind::Usage } else { FailureKind::Io };
    CommandError::new(kind, ErrorChain::new(error).to_string())
}

/// Joins the results of shards.
pub(super) async fn merge(args: MergeArgs, console: Console) -> Result<Code, CommandError> {
    let MergeArgs { inputs, output, allow_missing, console: _ } = args;
    let to = output.clone();
    let merged = tokio::task::spawn_blocking(move || merge_files(&inputs, &to, allow_missing)).await;
    match merged.map_err(|error| CommandError::io(error.to_string()))? {
        Ok(merged) => {
            let shards = merged.shards.map(|shards| format!(" of {shards} shards")).unwrap_or_default();
            console.note(&format!("{} results{shards} in {}", merged.results, output.display()));
            Ok(Code::OK)
        }
        Err(error) => {
            let kind = if matches!(error, MergeError::Write { .. }) { FailureKind::Io } else { FailureKind::Usage };
            let is_missing = matches!(error, MergeError::Missing { .. });
            let error = CommandError::new(kind, ErrorChain::new(&error).to_string());
            Err(if is_missing {
                error.hint("run the missing shards, or merge without them by --allow-missing")
            } else {
                error
            })
        }
    }
}
