//! The table of targets and measured values, printed row by row.

use std::io::{Stdout, Write};

/// The report.
#[derive(Debug)]
pub(crate) struct Report {
    out: Stdout,
    quick: bool,
}

impl Report {
    /// Prints the head of the table.
    pub(crate) fn begin(quick: bool) -> Self {
        let mut report = Self { out: std::io::stdout(), quick };
        report.line("measure", "target", "measured", "");
        report
    }

    /// Prints a row. `met` is whether the target is met.
    pub(crate) fn row(&mut self, what: &str, target: &str, measured: &str, met: bool) {
        // Few repetitions are not conclusive.
        let verdict = match (met, self.quick) {
            (true, false) => "met",
            (false, false) => "MISSED",
            (true, true) => "(met)",
            (false, true) => "(missed)",
        };
        self.line(what, target, measured, verdict);
    }

    /// Prints a detail of the next row.
    pub(crate) fn detail(&mut self, what: &str, measured: &str) {
        self.line(&format!("  {what}"), "", measured, "");
    }

    /// Prints that a section is skipped.
    pub(crate) fn skip(&mut self, section: &str) {
        self.line(&format!("{section}: skipped, because there is no real opencode"), "", "", "");
    }

    fn line(&mut self, what: &str, target: &str, measured: &str, verdict: &str) {
        // A failed write means that the reader is gone.
        writeln!(self.out, "{what:<64} {target:>22} {measured:>16}  {verdict}").ok();
    }
}
