//! One source while its file is read, and its check at the end.

use crate::assemble::Strictness;
use crate::{EnvKey, EnvProblemKind};
use opencode_run_core::{ModelConfig, ModelParameter, ModelSourceType, ProviderPackage};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// The npm scope whose packages a found file may name.
const TRUSTED_SCOPE: &str = "@ai-sdk/";

/// What a file says about one source. It holds the source's key, so it has no `Debug`.
#[derive(Default)]
pub(crate) struct Draft {
    /// The values that are not empty, and their lines.
    values: BTreeMap<ModelParameter, (String, usize)>,
    /// The lines of the settings that are there without a value.
    pub(crate) empty: BTreeMap<ModelParameter, usize>,
    /// The settings that have a problem already: what only follows from it is not said again.
    pub(crate) blamed: BTreeSet<ModelParameter>,
}

/// A problem and its line.
type Problem = (Option<usize>, EnvProblemKind);

impl Draft {
    /// Takes a value, or returns the line that has set one already.
    pub(crate) fn set(&mut self, parameter: ModelParameter, value: &str, line: usize) -> Result<(), usize> {
        if let Some((_, first)) = self.values.get(&parameter) {
            return Err(*first);
        }
        self.values.insert(parameter, (value.to_owned(), line));
        Ok(())
    }

    /// Makes the model, and says what is wrong with it; none if the file says nothing about it.
    pub(crate) fn finish(
        self,
        source_type: ModelSourceType,
        strictness: Strictness,
    ) -> (Option<ModelConfig>, Vec<Problem>) {
        let first_line = self.values.values().map(|(_, line)| *line).min();
        if first_line.is_none() {
            return (None, Vec::new());
        }
        let mut check = Check { source_type, draft: &self, blamed: self.blamed.clone(), problems: Vec::new() };
        let mut model = check.model();
        check.provider(strictness);
        check.key_origin(strictness);
        if model.base_url.is_none() && check.blamed.contains(&ModelParameter::BaseUrl) {
            // There is one, and it has its problem already: do not say that it is missing.
            model.base_url = Some("http://localhost".to_owned());
        }
        for problem in model.problems() {
            let missing = problem.parameter == ModelParameter::Model && model.model.is_empty();
            let kind = if missing {
                EnvProblemKind::NoModel { source_type }
            } else {
                let key = EnvKey { source_type, parameter: problem.parameter };
                EnvProblemKind::Refused { key, reason: problem.reason }
            };
            check.blame(problem.parameter, kind);
        }
        (Some(model), check.problems)
    }

    /// Returns the line that a problem with a setting is on: its own, or where the source begins.
    fn line(&self, parameter: ModelParameter) -> Option<usize> {
        let own = self.values.get(&parameter).map(|(_, line)| line).or_else(|| self.empty.get(&parameter));
        own.or_else(|| self.values.values().map(|(_, line)| line).min()).copied()
    }
}

/// The check of one source.
struct Check<'a> {
    source_type: ModelSourceType,
    draft: &'a Draft,
    blamed: BTreeSet<ModelParameter>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn key(&self, parameter: ModelParameter) -> EnvKey {
        EnvKey { source_type: self.source_type, parameter }
    }

    fn blame(&mut self, parameter: ModelParameter, kind: EnvProblemKind) {
        if self.blamed.insert(parameter) {
            self.problems.push((self.draft.line(parameter), kind));
        }
    }

    fn text(&self, parameter: ModelParameter) -> Option<String> {
        self.draft.values.get(&parameter).map(|(value, _)| value.clone())
    }

    fn number<T: FromStr>(&mut self, parameter: ModelParameter, kind: fn(EnvKey) -> EnvProblemKind) -> Option<T> {
        let number = self.text(parameter)?.parse().ok();
        if number.is_none() {
            self.blame(parameter, kind(self.key(parameter)));
        }
        number
    }

    fn fraction(&mut self, parameter: ModelParameter) -> Option<f64> {
        self.number(parameter, |key| EnvProblemKind::NotANumber { key })
    }

    fn count(&mut self, parameter: ModelParameter) -> Option<u32> {
        self.number(parameter, |key| EnvProblemKind::NotWhole { key })
    }

    fn model(&mut self) -> ModelConfig {
        ModelConfig {
            model: self.text(ModelParameter::Model).unwrap_or_default(),
            base_url: self.text(ModelParameter::BaseUrl),
            api_key: self.text(ModelParameter::ApiKey).map(Into::into),
            api_key_file: self.text(ModelParameter::ApiKeyFile).map(Into::into),
            api_key_command: self.text(ModelParameter::ApiKeyCommand),
            api_key_header: self.text(ModelParameter::ApiKeyHeader),
            provider: self.text(ModelParameter::Provider).map(ProviderPackage::new).unwrap_or_default(),
            temperature: self.fraction(ModelParameter::Temperature),
            max_tokens: self.count(ModelParameter::MaxTokens),
            top_p: self.fraction(ModelParameter::TopP),
            top_k: self.count(ModelParameter::TopK),
            context: self.count(ModelParameter::Context),
            price_input: self.fraction(ModelParameter::PriceInput),
            price_output: self.fraction(ModelParameter::PriceOutput),
        }
    }

    /// A file that nobody named may have come with a repository: it starts nothing, and sends nothing of the user's to an
    /// address of its own.
    fn key_origin(&mut self, strictness: Strictness) {
        let (command, file) = (ModelParameter::ApiKeyCommand, ModelParameter::ApiKeyFile);
        if strictness == Strictness::Found && self.text(command).is_some() {
            self.blame(command, EnvProblemKind::CommandInFoundFile { key: self.key(command) });
        }
        if strictness == Strictness::Found && self.text(file).is_some() {
            self.blame(file, EnvProblemKind::KeyFileInFoundFile { key: self.key(file) });
        }
    }

    fn provider(&mut self, strictness: Strictness) {
        let parameter = ModelParameter::Provider;
        let Some(package) = self.text(parameter) else { return };
        let key = self.key(parameter);
        // A version after the name, or a path in it, could lead to any other package.
        let trusted = package.strip_prefix(TRUSTED_SCOPE).is_some_and(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        });
        if strictness == Strictness::Found && !trusted {
            self.blame(parameter, EnvProblemKind::ForeignPackage { key });
        }
        if self.text(ModelParameter::BaseUrl).is_none() && !self.blamed.contains(&ModelParameter::BaseUrl) {
            self.blame(parameter, EnvProblemKind::PackageWithoutUrl { key });
        }
    }
}
