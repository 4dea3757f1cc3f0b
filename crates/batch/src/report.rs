//! The HTML report of one results file, or a comparison of two.
//!
//! The page is one file that loads nothing: style, program and data are in it, and transcripts and patches are links
//! relative to it, or embedded if [`Embed::All`] is set. Text of an agent is never parsed as HTML, neither when the
//! page is written nor in the browser, and the page's content security policy allows only the page's own program.
//!
//! ```no_run
//! # fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use opencode_run_batch::report::{Page, PageOptions};
//! use std::path::Path;
//!
//! let page = Page::read(&["results.jsonl"], &PageOptions::default())?;
//! page.write(Path::new("report.html"))?;
//! # Ok(())
//! # }
//! ```

mod comparison;
mod detail;
mod format;
mod links;
mod page;
mod plot;
mod rates;
mod results;
mod tasks;
#[cfg(test)]
mod tests;

pub use page::{Embed, Page, PageError, PageOptions, PageSummary};
pub use rates::{Interval, wilson_interval};
