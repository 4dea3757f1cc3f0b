//! From a file's entries to sources, or to what is wrong with them.

use crate::draft::Draft;
use crate::entries::{Broken, Entry, entries, key_of};
use crate::keys::{Meant, meant, meant_by_line};
use crate::{EnvProblem, EnvProblemKind, LeftOut, ModelSource, read};
use opencode_run_core::{ModelConfig, ModelSourceType};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// How strictly a file is held to the letter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// The user named it.
    Named,
    /// It was there.
    Found,
}

/// Makes a source of a file that was named: all of it, or all that is wrong with it.
pub(crate) fn named(path: &Path, bytes: Result<Vec<u8>, EnvProblemKind>) -> Result<ModelSource, Vec<EnvProblem>> {
    let (source, problems) = Reading::of(Strictness::Named, bytes.map(Some)).end(path);
    if problems.is_empty() { Ok(source) } else { Err(problems) }
}

/// Makes a source of what is beyond doubt in a file that was only found, and warnings of the rest.
pub(crate) fn found(path: &Path, bytes: Result<Option<Vec<u8>>, EnvProblemKind>) -> (ModelSource, Vec<EnvProblem>) {
    Reading::of(Strictness::Found, bytes).end(path)
}

/// A file while it is read.
struct Reading {
    strictness: Strictness,
    drafts: BTreeMap<ModelSourceType, Draft>,
    source: ModelSource,
    problems: Vec<Problem>,
}

/// A problem before it knows its file and its consequence.
struct Problem {
    line: Option<usize>,
    about: About,
    kind: EnvProblemKind,
}

/// What a problem is about.
#[derive(Clone, Copy, PartialEq)]
enum About {
    /// No source in particular.
    Line,
    /// A source.
    Source(ModelSourceType),
    /// The file as a whole.
    File,
}

impl From<Option<ModelSourceType>> for About {
    fn from(source_type: Option<ModelSourceType>) -> Self {
        source_type.map_or(Self::Line, Self::Source)
    }
}

impl Reading {
    fn of(strictness: Strictness, bytes: Result<Option<Vec<u8>>, EnvProblemKind>) -> Self {
        let mut reading =
            Self { strictness, drafts: BTreeMap::new(), source: ModelSource::new(), problems: Vec::new() };
        match bytes {
            Ok(bytes) => reading.read(&bytes.unwrap_or_default()),
            Err(kind) => reading.blame(None, About::File, kind),
        }
        reading
    }

    /// Returns the sources and the problems by line. In a file that was found, a source with a problem is not among them.
    fn end(mut self, path: &Path) -> (ModelSource, Vec<EnvProblem>) {
        self.problems.sort_by_key(|problem| problem.line);
        let of_file = self.problems.iter().any(|problem| problem.about == About::File);
        let doubted = |kind| of_file || self.problems.iter().any(|problem| problem.about == About::Source(kind));
        let mut source = ModelSource::new();
        for (kind, model) in self.source.iter().filter(|(kind, _)| !doubted(*kind)) {
            source.set_model(kind, beside(path, model));
        }
        let left_out = |about| match (self.strictness, about) {
            (Strictness::Named, _) | (_, About::Line) => LeftOut::Nothing,
            (Strictness::Found, About::Source(source_type)) => LeftOut::Source(source_type),
            (Strictness::Found, About::File) => LeftOut::File,
        };
        let problems = self.problems.into_iter().map(|problem| EnvProblem {
            file: path.to_owned(),
            line: problem.line,
            left_out: left_out(problem.about),
            kind: problem.kind,
        });
        (source, problems.collect())
    }

    fn blame(&mut self, line: impl Into<Option<usize>>, about: impl Into<About>, kind: EnvProblemKind) {
        self.problems.push(Problem { line: line.into(), about: about.into(), kind });
    }

    fn read(&mut self, bytes: &[u8]) {
        let (text, mut damage) = read::decode(bytes);
        if self.strictness == Strictness::Found && !damage.is_empty() {
            // One line is reason enough; a binary file would have thousands.
            damage.truncate(1);
        }
        let damaged: BTreeSet<_> = damage.iter().map(|(line, _)| *line).collect();
        for (line, kind) in damage {
            self.blame(line, About::File, kind);
        }
        if self.strictness == Strictness::Found && !damaged.is_empty() {
            return;
        }
        for entry in entries(&text) {
            self.take(&entry);
        }
        for (source_type, draft) in std::mem::take(&mut self.drafts) {
            let (model, problems) = draft.finish(source_type, self.strictness);
            for (line, kind) in problems {
                self.blame(line, Some(source_type), kind);
            }
            if let Some(model) = model {
                self.source.set_model(source_type, model);
            }
        }
        // What a damaged line seems to say besides is not worth saying.
        self.problems.retain(|problem| problem.about == About::File || !damaged.contains(&problem.line));
    }

    fn take(&mut self, entry: &Entry<'_>) {
        self.look_for_swallowed(entry.line, entry.more_lines);
        match &entry.content {
            Ok((key, value)) => self.set(entry.line, key, value),
            Err(why) => {
                let meant = key_of(entry.first_line).map_or_else(|| meant_by_line(entry.first_line), meant);
                self.take_broken(entry.line, *why, meant);
            }
        }
    }

    /// Says so if a quoted value runs over lines that would have set keys of ours.
    fn look_for_swallowed(&mut self, first: usize, more_lines: &str) {
        for (index, line) in more_lines.lines().enumerate() {
            if let Some(Meant::Exactly(key) | Meant::Nearly(key)) = key_of(line).map(meant) {
                let kind = EnvProblemKind::Swallowed { key, line: first + 1 + index };
                self.blame(first, Some(key.source_type), kind);
                self.draft(key.source_type).blamed.insert(key.parameter);
            }
        }
    }

    fn set(&mut self, line: usize, name: &str, value: &str) {
        let meant = meant(name);
        if value.is_empty() {
            if let Meant::Exactly(key) = meant {
                self.draft(key.source_type).empty.insert(key.parameter, line);
            }
            return;
        }
        let kind = match meant {
            Meant::Foreign => return,
            Meant::Exactly(key) => match self.draft(key.source_type).set(key.parameter, value, line) {
                Ok(()) => return,
                Err(first) => EnvProblemKind::Twice { key, first },
            },
            // A name that is so near to a known one has no room for a secret.
            Meant::Nearly(key) => EnvProblemKind::NearKey { name: name.to_owned(), key },
            Meant::NoType(key) => EnvProblemKind::NoType { name: name.to_owned(), key },
            Meant::UnknownSetting(source_type) => EnvProblemKind::UnknownSetting { name: shown(name), source_type },
            Meant::UnknownType => EnvProblemKind::UnknownType { name: shown(name) },
        };
        self.doubt(line, meant, kind);
    }

    fn take_broken(&mut self, line: usize, why: Broken, meant: Meant) {
        // Another program may have another dialect for its values; a quote left open could hide keys of ours.
        let harmless = self.strictness == Strictness::Found || matches!(why, Broken::Value);
        if meant == Meant::Foreign && harmless {
            return;
        }
        let key = meant.key();
        let kind = match why {
            Broken::NotKeyValue => EnvProblemKind::NotKeyValue { key },
            Broken::UnclosedQuote => EnvProblemKind::UnclosedQuote { key },
            Broken::Value => EnvProblemKind::UnreadableValue { key },
        };
        self.doubt(line, meant, kind);
    }

    /// Notes a line that is or may be about a source and cannot be used.
    fn doubt(&mut self, line: usize, meant: Meant, kind: EnvProblemKind) {
        if let (Some(key), Some(source_type)) = (meant.key(), meant.source_type()) {
            self.draft(source_type).blamed.insert(key.parameter);
        }
        self.blame(line, meant.source_type(), kind);
    }

    fn draft(&mut self, source_type: ModelSourceType) -> &mut Draft {
        self.drafts.entry(source_type).or_default()
    }
}

/// Returns a model whose key's file is named from the folder of the file that names it, not from where the program runs.
fn beside(path: &Path, model: &Arc<ModelConfig>) -> Arc<ModelConfig> {
    match (&model.api_key_file, path.parent()) {
        (Some(file), Some(folder)) => {
            // An absolute name stays as it is.
            Arc::new(ModelConfig { api_key_file: Some(folder.join(file)), ..ModelConfig::clone(model) })
        }
        _ => Arc::clone(model),
    }
}

/// Returns a key's name as it may be shown.
///
/// Where a `=` was forgotten, a secret stands right after the name, and base64 brings a `=` of its own. So the name is cut
/// after `KEY` where it goes on without a `_`, and where it leaves the letter case that it began with.
fn shown(name: &str) -> String {
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
