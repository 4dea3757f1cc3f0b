//! Completion of commands, models, roles and files.

use super::slash::COMMANDS;
use opencode_run_core::ModelSourceType;
use opencode_run_markdown::visible;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The maximum number of offered files.
const MAX_FILES: usize = 200;

/// Returns the models, which may take seconds.
pub(super) type ListModels = Box<dyn Fn() -> Vec<String> + Send>;

/// Completes the input, and waits for more after a continued line.
pub(super) struct Completion {
    directory: PathBuf,
    list_models: ListModels,
    models: OnceLock<Vec<String>>,
}

impl Completion {
    pub(super) fn new(directory: &Path, list_models: ListModels) -> Self {
        Self { directory: directory.to_owned(), list_models, models: OnceLock::new() }
    }

    /// Returns the beginning of the word before the cursor, and its completions.
    fn candidates(&self, line: &str) -> (usize, Vec<String>) {
        let begins = |start: usize, names: Vec<String>| {
            let word = &line[start..];
            (start, names.into_iter().filter(|name| name.starts_with(word)).collect())
        };
        if let Some(typed) = line.strip_prefix("/model ") {
            let models = self.models.get_or_init(|| (self.list_models)());
            return begins(line.len() - typed.len(), models.clone());
        }
        if let Some(typed) = line.strip_prefix("/role ") {
            let roles = ModelSourceType::ALL.map(|role| role.as_str().to_owned());
            return begins(line.len() - typed.len(), roles.to_vec());
        }
        let start =
            line.rfind(char::is_whitespace).map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
        if start == 0 && line.starts_with('/') && !line[1..].contains('/') {
            let spaced = |(name, argument, _): (&str, &str, &str)| {
                format!("{name}{}", if argument.is_empty() { "" } else { " " })
            };
            return begins(0, COMMANDS.map(spaced).to_vec());
        }
        (start, self.files(&line[start..]))
    }

    /// Returns the files of the task's directory that begin with the word. A leading `@` is kept.
    fn files(&self, word: &str) -> Vec<String> {
        let (mark, path) = word.strip_prefix('@').map_or(("", word), |path| ("@", path));
        let (folder, begin) = path.rsplit_once('/').map_or(("", path), |(folder, begin)| (folder, begin));
        let folder = if path.starts_with('/') && folder.is_empty() { "/" } else { folder };
        if begin.is_empty() && path.is_empty() && mark.is_empty() {
            return Vec::new();
        }
        let head = &path[..path.len() - begin.len()];
        let Ok(entries) = std::fs::read_dir(self.directory.join(folder)) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_wanted = name.starts_with(begin) && (begin.starts_with('.') || !name.starts_with('.'));
            // Names with control characters are not offered.
            let is_harmless = visible(&name) == name && !name.contains(['\n', '\t']);
            let slash = if entry.file_type().is_ok_and(|kind| kind.is_dir()) { "/" } else { "" };
            (is_wanted && is_harmless).then(|| format!("{mark}{head}{name}{slash}"))
        });
        let mut names: Vec<_> = names.take(MAX_FILES).collect();
        names.sort();
        names
    }
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, names) = self.candidates(&line[..position]);
        let pair = |name: String| Pair { display: name.clone(), replacement: name };
        Ok((start, names.into_iter().map(pair).collect()))
    }
}

impl Validator for Completion {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_continued(context.input()) { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}

impl Helper for Completion {}

/// Returns whether a line ends in a backslash that is not escaped.
fn is_continued(input: &str) -> bool {
    let backslashes = input.len() - input.trim_end_matches('\\').len();
    backslashes % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_models_and_files_are_completed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        for name in ["src/main.rs", "src/macros.rs", "Cargo.toml", ".hidden", "Ca\u{1b}[2J"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let models = || vec!["a/one".to_owned(), "b/two".to_owned()];
        let completion = Completion::new(folder.path(), Box::new(models));
        let of = |line: &str| completion.candidates(line);
        assert_eq!(of("/mo"), (0, vec!["/model ".to_owned()]));
        assert_eq!(of("/model b"), (7, vec!["b/two".to_owned()]));
        assert_eq!(of("/role pl"), (6, vec!["plan".to_owned()]));
        assert_eq!(of("look at src/ma"), (8, vec!["src/macros.rs".to_owned(), "src/main.rs".to_owned()]));
        assert_eq!(of("@sr"), (0, vec!["@src/".to_owned()]));
        assert_eq!(of("fix C"), (4, vec!["Cargo.toml".to_owned()]));
        assert_eq!(of("fix ").1, Vec::<String>::new());
    }

    #[test]
    fn backslash_continues_a_line() {
        assert!(is_continued("a\\") && is_continued("a\nb\\") && !is_continued("a\\\\") && !is_continued("a"));
    }
}
