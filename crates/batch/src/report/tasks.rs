//! The tasks of a results file: the last attempt of each, with the cost of all of its attempts.

use super::results::{AttemptRow, Results};
use std::collections::HashMap;

/// A task with its last attempt.
#[derive(Debug)]
pub(crate) struct TaskRow {
    /// The last attempt, which decides.
    pub(crate) last: AttemptRow,
    /// The earlier attempts, in order.
    pub(crate) earlier: Vec<AttemptRow>,
}

impl TaskRow {
    /// Returns the id without the number of a repetition: `x` for `x#2`.
    pub(crate) fn group(&self) -> &str {
        group_of(&self.last.id)
    }

    pub(crate) fn cost(&self) -> f64 {
        self.attempts().map(|attempt| attempt.cost).sum()
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.attempts().map(|attempt| attempt.tokens).sum()
    }

    pub(crate) fn attempts(&self) -> impl Iterator<Item = &AttemptRow> {
        self.earlier.iter().chain([&self.last])
    }
}

/// Returns an id without the number of a repetition.
fn group_of(id: &str) -> &str {
    match id.rsplit_once('#') {
        Some((group, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => group,
        _ => id,
    }
}

/// Collects the attempts of each task, in the order of the first ones.
pub(crate) fn tasks_of(results: Results) -> Vec<TaskRow> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut tasks: Vec<TaskRow> = Vec::new();
    for attempt in results.attempts {
        match places.get(&attempt.id) {
            None => {
                places.insert(attempt.id.clone(), tasks.len());
                tasks.push(TaskRow { last: attempt, earlier: Vec::new() });
            }
            Some(place) => {
                let task = &mut tasks[*place];
                // Concatenated files of several workers are not in order.
                if attempt.number >= task.last.number {
                    let before = std::mem::replace(&mut task.last, attempt);
                    task.earlier.push(before);
                } else {
                    task.earlier.push(attempt);
                }
            }
        }
    }
    for task in &mut tasks {
        task.earlier.sort_by_key(|attempt| attempt.number);
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_share_a_group() {
        assert_eq!(group_of("x#12"), "x");
        assert_eq!(group_of("x@a/b#1"), "x@a/b");
        assert_eq!(group_of("issue#"), "issue#");
        assert_eq!(group_of("c#sharp"), "c#sharp");
    }
}
