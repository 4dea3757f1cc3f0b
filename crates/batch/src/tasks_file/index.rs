//! The tasks of a file by their positions.

use super::error::{MAX_PROBLEMS, Problem, TasksFileError};
use crate::task::{Checked, IdHash, ParseOptions, RawFields, check_fields};
use std::collections::HashMap;
use std::path::Path;

/// The position of a task in its file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Position {
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// The checked tasks of a file. A task takes 30 bytes, more with a priority other than 0.
#[derive(Debug, Default)]
pub(super) struct Entries {
    offsets: Vec<u64>,
    lens: Vec<u32>,
    ids: Vec<IdHash>,
    /// A number in `names` plus 1; 0 if the task names no model.
    sources: Vec<u16>,
    names: Vec<String>,
    priorities: HashMap<u32, i32>,
    /// Used only for streamed tasks: those of a file are sorted once at the end, which takes less memory.
    streamed: Option<std::collections::HashSet<IdHash>>,
}

impl Entries {
    /// Adds a streamed task, whose id must be new.
    pub(super) fn add(
        &mut self,
        fields: &RawFields<'_>,
        ordinal: u64,
        position: Position,
        options: &ParseOptions,
    ) -> Result<(String, u32), Problem> {
        let checked = check_fields(fields, ordinal, options)?;
        let id = IdHash::of(&checked.id);
        if !self.streamed.get_or_insert_default().insert(id) {
            return Err(duplicate(&checked.id));
        }
        let entry = self.push(&checked, id, position);
        Ok((checked.id, entry))
    }

    fn push(&mut self, checked: &Checked, id: IdHash, position: Position) -> u32 {
        let entry = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        self.offsets.push(position.offset);
        self.lens.push(position.len);
        self.ids.push(id);
        let source = match &checked.source {
            None => 0,
            Some(name) => {
                let known = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
                    self.names.push(name.clone());
                    self.names.len() - 1
                });
                u16::try_from(known + 1).unwrap_or(0)
            }
        };
        self.sources.push(source);
        if checked.priority != 0 {
            self.priorities.insert(entry, checked.priority);
        }
        entry
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn id(&self, entry: u32) -> IdHash {
        self.ids[entry as usize]
    }

    pub(super) fn position(&self, entry: u32) -> Position {
        Position { offset: self.offsets[entry as usize], len: self.lens[entry as usize] }
    }

    pub(super) fn priority(&self, entry: u32) -> i32 {
        self.priorities.get(&entry).copied().unwrap_or(0)
    }

    pub(super) fn source(&self, entry: u32) -> Option<&str> {
        let number = usize::from(self.sources[entry as usize]);
        self.names.get(number.checked_sub(1)?).map(String::as_str)
    }

    pub(super) fn sources(&self) -> &[String] {
        &self.names
    }
}

/// Collects the tasks of a file and its problems.
#[derive(Debug)]
pub(super) struct Index<'a> {
    options: &'a ParseOptions,
    pub(super) entries: Entries,
    problems: Vec<Problem>,
    /// The difference between a task's line and its number, with an entry for each task at which it changes: a blank
    /// line adds one entry.
    lines: Vec<(u32, u64)>,
}

impl<'a> Index<'a> {
    pub(super) fn new(options: &'a ParseOptions) -> Self {
        Self { options, entries: Entries::default(), problems: Vec::new(), lines: Vec::new() }
    }

    /// Adds a task. Returns whether to continue: no, after many problems.
    pub(super) fn add(&mut self, fields: &RawFields<'_>, line: Option<u64>, position: Position) -> bool {
        let ordinal = self.entries.len() as u64 + 1;
        match check_fields(fields, ordinal, self.options) {
            Ok(checked) => {
                let entry = self.entries.push(&checked, IdHash::of(&checked.id), position);
                self.note_line(entry, line);
                true
            }
            Err(error) => self.problem(Problem { line, ..error.into() }),
        }
    }

    /// Adds a problem. Returns whether to continue.
    pub(super) fn problem(&mut self, problem: Problem) -> bool {
        self.problems.push(problem);
        self.problems.len() < MAX_PROBLEMS
    }

    /// Prepends the path of a task's own file to the last problem.
    pub(super) fn name_last_problem(&mut self, path: &Path) {
        if let Some(problem) = self.problems.last_mut() {
            problem.message = format!("{}: {}", path.display(), problem.message);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    fn note_line(&mut self, entry: u32, line: Option<u64>) {
        let Some(line) = line else { return };
        let offset = line.saturating_sub(u64::from(entry));
        if self.lines.last().map_or(1, |(_, last)| *last) != offset {
            self.lines.push((entry, offset));
        }
    }

    fn line(&self, entry: u32) -> u64 {
        let behind = self.lines.partition_point(|(first, _)| *first <= entry);
        u64::from(entry) + behind.checked_sub(1).map_or(1, |last| self.lines[last].1)
    }

    /// Finishes a file and returns its tasks.
    ///
    /// # Errors
    ///
    /// If a task is invalid, two have the same id, or the file has no task.
    pub(super) fn check(&mut self, path: &Path) -> Result<(), TasksFileError> {
        if self.problems.is_empty() && self.entries.len() == 0 {
            self.problems.push(Problem::new(None, "there is no task in it"));
        }
        if self.problems.is_empty() {
            self.find_duplicates();
        }
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(TasksFileError::of(path, std::mem::take(&mut self.problems)))
        }
    }

    fn find_duplicates(&mut self) {
        let ids = &self.entries.ids;
        let mut order: Vec<u32> = (0..u32::try_from(ids.len()).unwrap_or(u32::MAX)).collect();
        order.sort_unstable_by_key(|entry| (ids[*entry as usize], *entry));
        let mut twice: Vec<(u32, u32)> = order
            .windows(2)
            .filter(|pair| ids[pair[0] as usize] == ids[pair[1] as usize])
            .map(|pair| (pair[1], pair[0]))
            .collect();
        twice.sort_unstable();
        for (entry, first) in twice.into_iter().take(MAX_PROBLEMS) {
            let message = format!("line {} has the same id", self.line(first));
            let problem = Problem::new(Some(self.line(entry)), message);
            self.problems.push(problem.hint("give each task an id of its own"));
        }
    }
}

fn duplicate(id: &str) -> Problem {
    Problem::new(None, format!("the id `{id}` occurs twice")).hint("give each task an id of its own")
}
