//! The effect of each outcome of an attempt: the only table of retries, grading and rates.

use opencode_runner::FailureKind;
use std::fmt::Write;

/// The treatment of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the table has these columns")]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the table")]
pub struct OutcomeRule {
    /// The kind of outcome.
    pub class: Class,
    /// Whether the task is retried.
    pub retry: bool,
    /// Whether the patch is taken and the check is run.
    pub grade: bool,
    /// Whether the task counts in pass rates.
    pub counts: bool,
    /// Whether several consecutive tasks that end like this stop all tasks of the same model source.
    pub stops_source: bool,
}

/// The kind of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the policy tells these apart")]
pub enum Class {
    /// The agent ended its work by itself.
    Completed,
    /// The agent failed to do the task within its limits.
    Agent,
    /// A dependency of the task failed, so the task was not run to its end.
    Infrastructure,
    /// The configuration of the task is invalid.
    Configuration,
    /// The user ended it.
    Interrupted,
}

/// The number of consecutive tasks of a model source whose outcome has [`stops_source`](OutcomeRule::stops_source), after
/// which no more of its tasks start.
pub const MAX_CONFIGURATION_FAILURES: u32 = 3;

impl OutcomeRule {
    /// Returns the rule for an attempt that failed with this kind.
    #[must_use]
    pub const fn of_failure(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Timeout
            | FailureKind::IdleTimeout
            | FailureKind::Limit
            | FailureKind::Schema
            | FailureKind::Permission => {
                Self { class: Class::Agent, retry: false, grade: true, counts: true, stops_source: false }
            }
            FailureKind::ModelNotFound | FailureKind::Config | FailureKind::Usage | FailureKind::SessionNotFound => {
                Self { class: Class::Configuration, retry: false, grade: false, counts: false, stops_source: true }
            }
            // A start fails on a busy machine as well as with a broken opencode: further attempts show the difference.
            FailureKind::Opencode => {
                Self { class: Class::Infrastructure, retry: true, grade: false, counts: false, stops_source: true }
            }
            // Includes kinds that a later version adds: running a task once more is safe, counting it may be wrong.
            _ => Self { class: Class::Infrastructure, retry: true, grade: true, counts: false, stops_source: false },
        }
    }

    /// Returns the rule for an attempt that completed.
    #[must_use]
    pub const fn of_completed() -> Self {
        Self { class: Class::Completed, retry: false, grade: true, counts: true, stops_source: false }
    }

    /// Returns the rule for an attempt that the user ended.
    #[must_use]
    pub const fn of_interrupted() -> Self {
        Self { class: Class::Interrupted, retry: false, grade: false, counts: false, stops_source: false }
    }

    /// Returns whether the task is done with this outcome: a resumed batch does not run it again.
    #[must_use]
    pub const fn is_done(self) -> bool {
        self.counts
    }
}

/// All kinds of failure, in the order of the table.
pub const KINDS: [FailureKind; 16] = [
    FailureKind::Provider,
    FailureKind::ServerLost,
    FailureKind::Crashed,
    FailureKind::Protocol,
    FailureKind::Busy,
    FailureKind::Io,
    FailureKind::Timeout,
    FailureKind::IdleTimeout,
    FailureKind::Limit,
    FailureKind::Schema,
    FailureKind::Permission,
    FailureKind::ModelNotFound,
    FailureKind::Config,
    FailureKind::Usage,
    FailureKind::Opencode,
    FailureKind::SessionNotFound,
];

/// Returns the table as Markdown.
#[must_use]
pub fn table() -> String {
    let mut text =
        "| outcome | retried | graded | counts | done when resumed | three in a row stop the model source |\n\
                    | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    let yes = |value: bool| if value { "yes" } else { "no" };
    let kinds = KINDS.map(|kind| (format!("`{kind}`"), OutcomeRule::of_failure(kind)));
    let others = [
        ("completed".to_owned(), OutcomeRule::of_completed()),
        ("interrupted by the user".to_owned(), OutcomeRule::of_interrupted()),
    ];
    for (name, rule) in others.into_iter().chain(kinds) {
        let OutcomeRule { class: _, retry, grade, counts, stops_source } = rule;
        let cells = [retry, grade, counts, rule.is_done(), stops_source].map(yes).join(" | ");
        // Writing to a string cannot fail.
        writeln!(text, "| {name} | {cells} |").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table row by row: retry, grade, counts, stops the source.
    #[test]
    fn every_kind_has_its_row() {
        let infrastructure = [true, true, false, false];
        let agent = [false, true, true, false];
        let configuration = [false, false, false, true];
        let rows = [
            ("provider", infrastructure),
            ("server_lost", infrastructure),
            ("crashed", infrastructure),
            ("protocol", infrastructure),
            ("busy", infrastructure),
            ("io", infrastructure),
            ("timeout", agent),
            ("idle_timeout", agent),
            ("limit", agent),
            ("schema", agent),
            ("permission", agent),
            ("model_not_found", configuration),
            ("config", configuration),
            ("usage", configuration),
            ("opencode", [true, false, false, true]),
            ("session_not_found", configuration),
        ];
        assert_eq!(rows.len(), KINDS.len());
        for (name, row) in rows {
            let kind: FailureKind = serde_json::from_value(name.into()).unwrap();
            assert!(KINDS.contains(&kind), "{name}");
            let OutcomeRule { retry, grade, counts, stops_source, .. } = OutcomeRule::of_failure(kind);
            assert_eq!([retry, grade, counts, stops_source], row, "{name}");
        }
    }

    #[test]
    fn only_counted_outcomes_are_done() {
        assert!(OutcomeRule::of_completed().is_done() && OutcomeRule::of_failure(FailureKind::Timeout).is_done());
        assert!(!OutcomeRule::of_interrupted().is_done() && !OutcomeRule::of_failure(FailureKind::Provider).is_done());
    }

    #[test]
    fn table_has_every_kind() {
        let table = table();
        assert_eq!(table.lines().count(), 4 + KINDS.len());
        assert!(table.contains("| `timeout` | no | yes | yes | yes | no |"), "{table}");
    }
}
