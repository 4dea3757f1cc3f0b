//! Two results files side by side.

use super::format::percent;
use super::rates::sign_test;
use super::results::AttemptRow;
use super::tasks::TaskRow;
use serde::Serialize;
use std::collections::HashMap;

/// The differences between the tasks of the second file and the same tasks of the first.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Comparison {
    pub(crate) both_solved: u64,
    pub(crate) both_unsolved: u64,
    pub(crate) fixed: u64,
    pub(crate) broken: u64,
    /// Tasks that do not count in one of the files.
    pub(crate) not_comparable: u64,
    pub(crate) only_first: u64,
    pub(crate) only_second: u64,
    /// The probability that chance alone causes a split at least this uneven.
    pub(crate) chance: Option<String>,
}

/// The change of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    Fixed,
    Broken,
    Same,
    NotComparable,
    New,
}

impl Comparison {
    /// Compares the tasks of two files by their ids. Returns the change of each task of the second file, with its
    /// attempt in the first.
    pub(crate) fn of<'t>(first: &'t [TaskRow], second: &[TaskRow]) -> (Self, Vec<(Change, Option<&'t AttemptRow>)>) {
        let before: HashMap<&str, &AttemptRow> = first.iter().map(|task| (task.last.id.as_str(), &task.last)).collect();
        let mut comparison = Self::default();
        let changes: Vec<_> = second
            .iter()
            .map(|task| {
                let Some(before) = before.get(task.last.id.as_str()) else {
                    comparison.only_second += 1;
                    return (Change::New, None);
                };
                let (change, count) = match (before.is_solved(), task.last.is_solved()) {
                    (Some(true), Some(true)) => (Change::Same, &mut comparison.both_solved),
                    (Some(false), Some(false)) => (Change::Same, &mut comparison.both_unsolved),
                    (Some(false), Some(true)) => (Change::Fixed, &mut comparison.fixed),
                    (Some(true), Some(false)) => (Change::Broken, &mut comparison.broken),
                    _ => (Change::NotComparable, &mut comparison.not_comparable),
                };
                *count += 1;
                (change, Some(*before))
            })
            .collect();
        let common = changes.iter().filter(|(_, before)| before.is_some()).count();
        comparison.only_first = (before.len() - common.min(before.len())) as u64;
        comparison.chance = sign_test(comparison.fixed, comparison.broken).map(percent);
        (comparison, changes)
    }
}
