//! Builds sources, or problems, from the entries of a file.

use crate::draft::Draft;
use crate::entries::{Broken, FileEntry, entries, key_of};
use crate::keys::{KeyOwner, owner_of, owner_of_line};
use crate::strictness::Strictness;
use crate::{EnvProblem, EnvProblemKind, Ignored, ModelSource, read};
use opencode_run_core::{ModelConfig, ModelSourceType};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Returns the sources of a file that the user named, or all of its problems.
pub(crate) fn named(path: &Path, bytes: Result<Vec<u8>, EnvProblemKind>) -> Result<ModelSource, Vec<EnvProblem>> {
    let (source, problems) = FileReader::of(Strictness::Explicit, bytes.map(Some)).end(path);
    if problems.is_empty() { Ok(source) } else { Err(problems) }
}

/// Returns the unambiguous sources of an auto-discovered file, and warnings for the rest.
pub(crate) fn found(path: &Path, bytes: Result<Option<Vec<u8>>, EnvProblemKind>) -> (ModelSource, Vec<EnvProblem>) {
    FileReader::of(Strictness::Discovered, bytes).end(path)
}

/// The state of reading one file.
struct FileReader {
    strictness: Strictness,
    drafts: BTreeMap<ModelSourceType, Draft>,
    source: ModelSource,
    problems: Vec<Problem>,
}

/// A problem without its file and consequence.
struct Problem {
    line: Option<usize>,
    about: About,
    kind: EnvProblemKind,
}

/// The subject of a problem.
#[derive(Clone, Copy, PartialEq)]
enum About {
    /// A line that belongs to no particular source.
    Line,
    /// One source.
    Source(ModelSourceType),
    /// The whole file.
    File,
}

impl From<Option<ModelSourceType>> for About {
    fn from(source_type: Option<ModelSourceType>) -> Self {
        source_type.map_or(Self::Line, Self::Source)
    }
}

impl FileReader {
    fn of(strictness: Strictness, bytes: Result<Option<Vec<u8>>, EnvProblemKind>) -> Self {
        let mut reading =
            Self { strictness, drafts: BTreeMap::new(), source: ModelSource::new(), problems: Vec::new() };
        match bytes {
            Ok(bytes) => reading.read(&bytes.unwrap_or_default()),
            Err(kind) => reading.report(None, About::File, kind),
        }
        reading
    }

    /// Returns the sources, and the problems by line. The sources of an auto-discovered file exclude those with a
    /// problem.
    fn end(mut self, path: &Path) -> (ModelSource, Vec<EnvProblem>) {
        self.problems.sort_by_key(|problem| problem.line);
        let ignore_file = self.problems.iter().any(|problem| problem.about == About::File);
        let doubted = |kind| ignore_file || self.problems.iter().any(|problem| problem.about == About::Source(kind));
        let mut source = ModelSource::new();
        for (kind, model) in self.source.iter().filter(|(kind, _)| !doubted(*kind)) {
            source.set_model(kind, resolve_key_file(path, model));
        }
        let ignored = |about| match (self.strictness, about) {
            (Strictness::Explicit, _) | (_, About::Line) => Ignored::Nothing,
            (Strictness::Discovered, About::Source(source_type)) => Ignored::Source(source_type),
            (Strictness::Discovered, About::File) => Ignored::File,
        };
        let problems = self.problems.into_iter().map(|problem| EnvProblem {
            file: path.to_owned(),
            line: problem.line,
            ignored: ignored(problem.about),
            kind: problem.kind,
        });
        (source, problems.collect())
    }

    fn report(&mut self, line: impl Into<Option<usize>>, about: impl Into<About>, kind: EnvProblemKind) {
        self.problems.push(Problem { line: line.into(), about: about.into(), kind });
    }

    fn read(&mut self, bytes: &[u8]) {
        let (text, mut damage) = read::decode(bytes);
        if self.strictness == Strictness::Discovered && !damage.is_empty() {
            // One line is enough; a binary file would have thousands.
            damage.truncate(1);
        }
        let damaged: BTreeSet<_> = damage.iter().map(|(line, _)| *line).collect();
        for (line, kind) in damage {
            self.report(line, About::File, kind);
        }
        if self.strictness == Strictness::Discovered && !damaged.is_empty() {
            return;
        }
        for entry in entries(&text) {
            self.add_entry(&entry);
        }
        for (source_type, draft) in std::mem::take(&mut self.drafts) {
            let (model, problems) = draft.finish(source_type, self.strictness);
            for (line, kind) in problems {
                self.report(line, Some(source_type), kind);
            }
            if let Some(model) = model {
                self.source.set_model(source_type, model);
            }
        }
        // Other problems of a damaged line are not reported.
        self.problems.retain(|problem| problem.about == About::File || !damaged.contains(&problem.line));
    }

    fn add_entry(&mut self, entry: &FileEntry<'_>) {
        self.report_swallowed(entry.line, entry.more_lines);
        match &entry.content {
            Ok((key, value)) => self.set(entry.line, key, value),
            Err(why) => {
                let owner = key_of(entry.first_line).map_or_else(|| owner_of_line(entry.first_line), owner_of);
                self.add_broken(entry.line, *why, owner);
            }
        }
    }

    /// Reports a quoted value that spans lines which would have set keys of ours.
    fn report_swallowed(&mut self, first: usize, more_lines: &str) {
        for (index, line) in more_lines.lines().enumerate() {
            if let Some(KeyOwner::Exactly(key) | KeyOwner::Similar(key)) = key_of(line).map(owner_of) {
                let kind = EnvProblemKind::Swallowed { key, line: first + 1 + index };
                self.report(first, Some(key.source_type), kind);
                self.draft(key.source_type).invalid.insert(key.parameter);
            }
        }
    }

    fn set(&mut self, line: usize, name: &str, value: &str) {
        let owner = owner_of(name);
        if value.is_empty() {
            if let KeyOwner::Exactly(key) = owner {
                self.draft(key.source_type).empty.insert(key.parameter, line);
            }
            return;
        }
        let kind = match owner {
            KeyOwner::Foreign => return,
            KeyOwner::Exactly(key) => match self.draft(key.source_type).set(key.parameter, value, line) {
                Ok(()) => return,
                Err(first) => EnvProblemKind::Duplicate { key, first },
            },
            // A name so similar to a known key has no room for a secret.
            KeyOwner::Similar(key) => EnvProblemKind::NearKey { name: name.to_owned(), key },
            KeyOwner::NoType(key) => EnvProblemKind::NoType { name: name.to_owned(), key },
            KeyOwner::UnknownSetting(source_type) => {
                EnvProblemKind::UnknownSetting { name: safe_name(name), source_type }
            }
            KeyOwner::UnknownType => EnvProblemKind::UnknownType { name: safe_name(name) },
        };
        self.report_unusable(line, owner, kind);
    }

    fn add_broken(&mut self, line: usize, why: Broken, owner: KeyOwner) {
        // Another program's values may use another dialect, but an unclosed quote could hide keys of ours.
        let harmless = self.strictness == Strictness::Discovered || matches!(why, Broken::Value);
        if owner == KeyOwner::Foreign && harmless {
            return;
        }
        let key = owner.key();
        let kind = match why {
            Broken::NotKeyValue => EnvProblemKind::NotKeyValue { key },
            Broken::UnclosedQuote => EnvProblemKind::UnclosedQuote { key },
            Broken::Value => EnvProblemKind::UnreadableValue { key },
        };
        self.report_unusable(line, owner, kind);
    }

    /// Reports a line that is or may be about a source and cannot be used.
    fn report_unusable(&mut self, line: usize, owner: KeyOwner, kind: EnvProblemKind) {
        if let (Some(key), Some(source_type)) = (owner.key(), owner.source_type()) {
            self.draft(source_type).invalid.insert(key.parameter);
        }
        self.report(line, owner.source_type(), kind);
    }

    fn draft(&mut self, source_type: ModelSourceType) -> &mut Draft {
        self.drafts.entry(source_type).or_default()
    }
}

/// Returns the model with its key file resolved relative to the directory of the `.env` file.
fn resolve_key_file(path: &Path, model: &Arc<ModelConfig>) -> Arc<ModelConfig> {
    match (&model.api_key_file, path.parent()) {
        (Some(file), Some(folder)) => {
            // `join` keeps an absolute path.
            Arc::new(ModelConfig { api_key_file: Some(folder.join(file)), ..ModelConfig::clone(model) })
        }
        _ => Arc::clone(model),
    }
}

/// Returns the part of a key's name that is safe to show.
///
/// If a `=` was forgotten, a secret directly follows the name, and base64 can contain a `=`. So the name is cut
/// after `KEY` if no `_` follows, and where its letter case changes.
fn safe_name(name: &str) -> String {
    let lower = name.starts_with(|c: char| c.is_ascii_lowercase());
    let word = |c: char| c == '_' || if lower { c.is_ascii_lowercase() } else { c.is_ascii_uppercase() };
    let same_case = name.find(|c| !word(c)).unwrap_or(name.len());
    let key = name.to_ascii_uppercase().find("KEY").map(|at| at + "KEY".len());
    let key = key.filter(|end| !name[*end..].starts_with('_'));
    match key.map_or(same_case, |end| end.min(same_case)) {
        end if end < name.len() => format!("{}…", &name[..end]),
        _ => name.to_owned(),
    }
}
