//! Parses an answer's token counts while it streams.

mod report;
mod scanner;

pub(crate) use scanner::{Framing, UsageScanner};
