//! The table of targets and figures, printed row by row.

use std::io::{Stdout, Write};

/// What is reported.
#[derive(Debug)]
pub(crate) struct Report {
    out: Stdout,
    quick: bool,
}

impl Report {
    /// Prints the table's head.
    pub(crate) fn begin(quick: bool) -> Self {
        let mut report = Self { out: std::io::stdout(), quick };
        report.line("measure", "target", "measured", "");
        report
    }

    /// Prints a row. `met` says whether the target is met.
    pub(crate) fn row(&mut self, what: &str, target: &str, measured: &str, met: bool) {
        // Few repetitions prove nothing.
        let verdict = match (met, self.quick) {
            (true, false) => "met",
            (false, false) => "MISSED",
            (true, true) => "(met)",
            (false, true) => "(missed)",
        };
        self.line(what, target, measured, verdict);
    }

    /// Prints what a row is made of.
    pub(crate) fn detail(&mut self, what: &str, measured: &str) {
        self.line(&format!("  {what}"), "", measured, "");
    }

    /// Says that a section is left out.
    pub(crate) fn skip(&mut self, section: &str) {
        self.line(&format!("{section}: left out, as there is no real opencode"), "", "", "");
    }

    fn line(&mut self, what: &str, target: &str, measured: &str, verdict: &str) {
        // A reader that has gone away wants no more of it.
        writeln!(self.out, "{what:<64} {target:>22} {measured:>16}  {verdict}").ok();
    }
}
