//! Writes the HTML report of a batch.

use crate::args::{BatchReportArgs, EmbedKind};
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use opencode_run_batch::report::{Embed, Page, PageError, PageOptions, PageSummary};
use opencode_run_core::FailureKind;

/// A page of this size opens slowly.
const LARGE_PAGE: u64 = 100 * 1024 * 1024;

/// Writes the page and prints its path.
pub(crate) async fn report(args: BatchReportArgs, console: Console) -> Code {
    let output = args.output.clone();
    match tokio::task::spawn_blocking(move || write(&args)).await {
        Ok(Ok(summary)) => {
            let size = humansize(summary.bytes);
            console.note(&format!("{} has {} tasks ({size})", output.display(), summary.tasks));
            if summary.skipped > 0 {
                Console::warning(&format!("{} lines are not results and were skipped", summary.skipped));
            }
            if summary.bytes > LARGE_PAGE {
                Console::warning("a page of this size opens slowly: without `--embed all` it has excerpts and links");
            }
            Code::OK
        }
        Ok(Err(error)) => {
            let error = describe(&error);
            Console::error(&error);
            Code::of_kind(error.kind)
        }
        Err(error) => {
            Console::error(&CommandError::io(format!("the report failed: {error}")));
            Code::TURN_FAILED
        }
    }
}

fn write(args: &BatchReportArgs) -> Result<PageSummary, PageError> {
    let mut options = PageOptions::default();
    options.title.clone_from(&args.title);
    if args.embed == EmbedKind::All {
        options.embed = Embed::All;
    }
    Page::read(&args.results, &options)?.write(&args.output)
}

fn describe(error: &PageError) -> CommandError {
    match error {
        PageError::Read { .. } | PageError::NoResults { .. } => {
            CommandError::of(FailureKind::Usage, error).hint("name a file that `opencode-run batch --results` wrote")
        }
        PageError::Write { .. } => CommandError::of(FailureKind::Io, error).hint("choose another file with --output"),
        _ => CommandError::of(FailureKind::Io, error),
    }
}

/// Formats a size for people.
pub(super) fn humansize(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.into_iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_has_one_decimal() {
        assert_eq!([0, 1023, 1024, 1536, 5 << 30].map(humansize), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB"]);
    }
}
