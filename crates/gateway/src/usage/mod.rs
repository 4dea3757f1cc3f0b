//! How many tokens an answer cost, read from the answer as it streams by.

mod report;
mod scanner;

pub(crate) use scanner::{Framing, UsageScanner};
