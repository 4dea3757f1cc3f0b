//! The last line of the output.

use super::report::{Report, to_json};
use super::stream_json;
use crate::args::OutputFormat;

/// Returns the last line of the output in a format; empty for text.
pub(crate) fn last_line(report: &Report<'_>, format: OutputFormat) -> String {
    match format {
        OutputFormat::Text => String::new(),
        OutputFormat::Json => to_json(report) + "\n",
        OutputFormat::StreamJson => stream_json::result_line(report),
    }
}
