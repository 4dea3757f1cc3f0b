//! Removes what tasks left on this machine: only what is provably ours, and nothing that is in use.

mod find;
mod in_use;
mod sessions;
#[cfg(test)]
mod tests;

use self::find::{Found, Places, find, find_without_journals};
use super::batch_report::humansize;
use crate::args::{CleanArgs, CleanKind, ReportFormat};
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::keyboard::Keyboard;
use opencode_run_core::FailureKind;
use opencode_run_markdown::visible;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    kind: String,
    /// The number of items that were found.
    count: usize,
    /// The total size of the items in bytes.
    bytes: u64,
    /// The number of items that were removed.
    removed: usize,
    /// The directories, files or sessions that a run without `--dry-run` removes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    items: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    bytes: u64,
}

/// Finds what can be removed, asks, removes it and prints a table.
pub(crate) async fn clean(args: CleanArgs, console: Console) -> Code {
    let places = Places::of_user();
    let selected = selection(&args.kinds);
    let found = match search(places.clone(), CleanKind::EACH.to_vec(), args.older_than).await {
        Ok(found) => found,
        Err(error) => return failed(&error),
    };
    let mut rows: Vec<Row> = CleanKind::EACH.iter().map(|kind| Row::of(*kind, &found)).collect();
    let is_selected = |found: &&Found| selected.contains(&found.kind);
    let has = |kind: CleanKind| found.iter().any(|found| found.kind == kind);
    let loses_tasks = has(CleanKind::Tasks) && !selected.contains(&CleanKind::Tasks);
    if loses_tasks && selected.iter().any(|kind| loses_journals(*kind) && has(*kind)) {
        Console::warning(
            "`clean tasks` does not find task directories without their journals: to remove them too, run `opencode-run clean tasks` first",
        );
    }
    if args.dry_run {
        for found in found.iter().filter(is_selected) {
            row(&mut rows, found.kind).items.push(Listed { name: found.shown.clone(), bytes: found.bytes });
        }
        return print(&rows, &selected, &args).await;
    }
    let count = found.iter().filter(is_selected).count();
    let bytes: u64 = found.iter().filter(is_selected).map(|found| found.bytes).sum();
    if count > 0 && !args.yes {
        match ask(count, bytes, &selected).await {
            Ok(true) => {}
            Ok(false) => {
                console.note("nothing was removed");
                return Code::OK;
            }
            Err(error) => return failed(&error),
        }
    }
    let agreed: BTreeSet<String> = found.iter().filter(is_selected).map(|found| found.shown.clone()).collect();
    let chosen: Vec<_> = found.into_iter().filter(|found| selected.contains(&found.kind)).collect();
    let mut is_complete = true;
    let shown =
        |kind: CleanKind| chosen.iter().filter(move |found| found.kind == kind).map(|found| found.shown.clone());
    let tasks: Vec<_> = shown(CleanKind::Tasks).collect();
    let journals: Vec<_> = shown(CleanKind::Journals).collect();
    // Deleting sessions locks the journals of their tasks, so the locks of the found items must be released first.
    let requests = chosen.iter().filter_map(Found::session).collect::<Vec<_>>();
    drop(chosen);
    if !requests.is_empty() {
        let (deleted, problem) = sessions::delete(requests, args.opencode.clone()).await;
        row(&mut rows, CleanKind::Sessions).removed = deleted;
        if let Some(problem) = problem {
            is_complete = false;
            Console::warning(&problem);
        }
    }
    for kind in selected.iter().copied().filter(|kind| *kind != CleanKind::Sessions) {
        // Found again: a task may have begun to work there while the question was open.
        let found = match search(places.clone(), vec![kind], args.older_than).await {
            Ok(found) => found,
            Err(error) => return failed(&error),
        };
        let known: BTreeSet<String> = found.iter().map(|found| found.shown.clone()).collect();
        let without_journals = tasks.iter().filter(|task| kind == CleanKind::Tasks && !known.contains(*task));
        let without_journals: Vec<_> =
            without_journals.filter_map(|task| find_without_journals(&places, task)).collect();
        for found in found.into_iter().filter(|found| agreed.contains(&found.shown)).chain(without_journals) {
            let shown = found.shown.clone();
            match tokio::task::spawn_blocking(move || found.remove()).await.map_err(io::Error::other).flatten() {
                Ok(()) => row(&mut rows, kind).removed += 1,
                Err(error) => {
                    is_complete = false;
                    Console::warning(&format!("cannot remove {}: {error}", visible(&shown)));
                }
            }
        }
    }
    // A session is deleted with its journal.
    let is_gone = |path: &&String| Path::new(path).symlink_metadata().is_err();
    row(&mut rows, CleanKind::Journals).removed = journals.iter().filter(is_gone).count();
    match print(&rows, &selected, &args).await {
        Code::OK if !is_complete => Code::TURN_FAILED,
        code => code,
    }
}

fn selection(kinds: &[CleanKind]) -> Vec<CleanKind> {
    let is_selected = |kind: &&CleanKind| match kinds {
        [] => matches!(kind, CleanKind::Leftovers | CleanKind::Mirrors),
        kinds => kinds.contains(kind) || kinds.contains(&CleanKind::All),
    };
    CleanKind::EACH.iter().filter(is_selected).copied().collect()
}

async fn search(
    places: Places,
    kinds: Vec<CleanKind>,
    older_than: Option<Duration>,
) -> Result<Vec<Found>, CommandError> {
    let found = tokio::task::spawn_blocking(move || find(&places, &kinds, older_than)).await;
    found.map_err(|error| CommandError::io(format!("the search failed: {error}")))
}

/// Returns whether journals are removed with this kind: they prove which directories are ours.
fn loses_journals(kind: CleanKind) -> bool {
    matches!(kind, CleanKind::Sessions | CleanKind::Journals)
}

fn row(rows: &mut [Row], kind: CleanKind) -> &mut Row {
    let place = CleanKind::EACH.iter().position(|known| *known == kind).unwrap_or_default();
    &mut rows[place]
}

impl Row {
    fn of(kind: CleanKind, found: &[Found]) -> Self {
        let of_kind = found.iter().filter(|found| found.kind == kind);
        let (count, bytes) = of_kind.fold((0, 0), |(count, bytes), found| (count + 1, bytes + found.bytes));
        Self { kind: kind.word(), count, bytes, removed: 0, items: Vec::new() }
    }
}

/// Asks whether to remove what was found.
async fn ask(count: usize, bytes: u64, selected: &[CleanKind]) -> Result<bool, CommandError> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let error = CommandError::usage("cannot ask for confirmation without a terminal");
        return Err(error.hint("add --yes to remove, or --dry-run to see what would be removed"));
    }
    let kinds = selected.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(", ");
    let question = format!("Remove {count} items of {kinds} ({})? [y/N] ", humansize(bytes));
    crate::stderr::Stderr.write_all(question.as_bytes()).ok();
    let line = Keyboard::new().next_line().await.map_err(|error| CommandError::of(FailureKind::Io, &error))?;
    Ok(line.is_some_and(|line| matches!(line.trim().to_lowercase().as_str(), "y" | "yes")))
}

async fn print(rows: &[Row], selected: &[CleanKind], args: &CleanArgs) -> Code {
    let text = match args.output_format {
        ReportFormat::Json => serde_json::to_string(rows).unwrap_or_default() + "\n",
        ReportFormat::Text => table(rows, selected, args.dry_run),
    };
    super::print::print(args.output_format.text_kind(), |out| out.write_all(text.as_bytes())).await
}

/// Returns the table, and below it what a dry run lists.
fn table(rows: &[Row], selected: &[CleanKind], dry_run: bool) -> String {
    use std::fmt::Write;
    let mut text = format!("{:<10} {:>7} {:>11}\n", "kind", "found", "size");
    for (row, kind) in rows.iter().zip(CleanKind::EACH) {
        let is_selected = selected.contains(&kind);
        let outcome = match (row.count, is_selected, dry_run) {
            (0, ..) => String::new(),
            (_, true, true) => "would be removed".to_owned(),
            (count, true, false) if row.removed == count => "removed".to_owned(),
            (_, true, false) => format!("{} removed", row.removed),
            (_, false, _) => format!("kept (`opencode-run clean {}` removes them)", row.kind),
        };
        // Writing to a string cannot fail, here and below.
        writeln!(text, "{:<10} {:>7} {:>11}  {outcome}", row.kind, row.count, humansize(row.bytes)).ok();
    }
    for row in rows.iter().filter(|row| !row.items.is_empty()) {
        writeln!(text, "\n{}", row.kind).ok();
        for item in &row.items {
            writeln!(text, "{:>11}  {}", humansize(item.bytes), visible(&item.name)).ok();
        }
    }
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn failed(error: &CommandError) -> Code {
    Console::error(error);
    Code::of_kind(error.kind)
}
