//! One source while its file is read, and its final validation.

use crate::strictness::Strictness;
use crate::{EnvKey, EnvProblemKind};
use opencode_run_core::{InputType, ModelConfig, ModelParameter, ModelSourceType, ProviderPackage, UnknownInputType};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// The npm scope of the packages that an auto-discovered file may name.
const TRUSTED_SCOPE: &str = "@ai-sdk/";

/// The settings of one source in a file. Contains the source's key, so it has no `Debug`.
#[derive(Default)]
pub(crate) struct Draft {
    /// The non-empty values and their lines.
    values: BTreeMap<ModelParameter, (String, usize)>,
    /// The lines of settings with an empty value.
    pub(crate) empty: BTreeMap<ModelParameter, usize>,
    /// The settings that already have a problem: problems that follow from it are not reported.
    pub(crate) invalid: BTreeSet<ModelParameter>,
}

/// A problem and its line.
type Problem = (Option<usize>, EnvProblemKind);

impl Draft {
    /// Stores a value, or returns the line that has already set one.
    pub(crate) fn set(&mut self, parameter: ModelParameter, value: &str, line: usize) -> Result<(), usize> {
        if let Some((_, first)) = self.values.get(&parameter) {
            return Err(*first);
        }
        self.values.insert(parameter, (value.to_owned(), line));
        Ok(())
    }

    /// Returns the model and its problems; `None` if the file does not mention the source.
    pub(crate) fn finish(
        self,
        source_type: ModelSourceType,
        strictness: Strictness,
    ) -> (Option<ModelConfig>, Vec<Problem>) {
        let first_line = self.values.values().map(|(_, line)| *line).min();
        if first_line.is_none() {
            return (None, Vec::new());
        }
        let mut check = Check { source_type, draft: &self, invalid: self.invalid.clone(), problems: Vec::new() };
        let mut model = check.model();
        check.provider(strictness);
        check.key_origin(strictness);
        if model.base_url.is_none() && check.invalid.contains(&ModelParameter::BaseUrl) {
            // The base URL is set but has a problem already: do not also report it as missing.
            model.base_url = Some("http://localhost".to_owned());
        }
        for problem in model.problems() {
            let missing = problem.parameter == ModelParameter::Model && model.model.is_empty();
            let kind = if missing {
                EnvProblemKind::NoModel { source_type }
            } else {
                let key = EnvKey { source_type, parameter: problem.parameter };
                EnvProblemKind::Invalid { key, reason: problem.reason }
            };
            check.report(problem.parameter, kind);
        }
        (Some(model), check.problems)
    }

    /// Returns the line for a problem of a setting: its own line, or the first line of the source.
    fn line(&self, parameter: ModelParameter) -> Option<usize> {
        let own = self.values.get(&parameter).map(|(_, line)| line).or_else(|| self.empty.get(&parameter));
        own.or_else(|| self.values.values().map(|(_, line)| line).min()).copied()
    }
}

/// The validation of one source.
struct Check<'a> {
    source_type: ModelSourceType,
    draft: &'a Draft,
    invalid: BTreeSet<ModelParameter>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn key(&self, parameter: ModelParameter) -> EnvKey {
        EnvKey { source_type: self.source_type, parameter }
    }

    fn report(&mut self, parameter: ModelParameter, kind: EnvProblemKind) {
        if self.invalid.insert(parameter) {
            self.problems.push((self.draft.line(parameter), kind));
        }
    }

    fn text(&self, parameter: ModelParameter) -> Option<String> {
        self.draft.values.get(&parameter).map(|(value, _)| value.clone())
    }

    fn number<T: FromStr>(&mut self, parameter: ModelParameter, kind: fn(EnvKey) -> EnvProblemKind) -> Option<T> {
        let number = self.text(parameter)?.parse().ok();
        if number.is_none() {
            self.report(parameter, kind(self.key(parameter)));
        }
        number
    }

    fn fraction(&mut self, parameter: ModelParameter) -> Option<f64> {
        self.number(parameter, |key| EnvProblemKind::NotANumber { key })
    }

    fn count(&mut self, parameter: ModelParameter) -> Option<u32> {
        self.number(parameter, |key| EnvProblemKind::NotWhole { key })
    }

    /// Reads the kinds of content, separated by commas.
    fn inputs(&mut self) -> Option<Vec<InputType>> {
        let parameter = ModelParameter::Input;
        let kinds = self.text(parameter)?.split(',').map(str::parse).collect::<Result<_, UnknownInputType>>();
        match kinds {
            Ok(kinds) => Some(kinds),
            Err(error) => {
                self.report(parameter, EnvProblemKind::Invalid { key: self.key(parameter), reason: error.to_string() });
                None
            }
        }
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
            input: self.inputs(),
        }
    }

    /// Rejects settings with which an auto-discovered file, possibly from a foreign repository, could run a command
    /// or send a file of the user to its own URL.
    fn key_origin(&mut self, strictness: Strictness) {
        let command = ModelParameter::ApiKeyCommand;
        let file = ModelParameter::ApiKeyFile;
        if strictness == Strictness::Discovered && self.text(command).is_some() {
            self.report(command, EnvProblemKind::CommandInFoundFile { key: self.key(command) });
        }
        if strictness == Strictness::Discovered && self.text(file).is_some() {
            self.report(file, EnvProblemKind::KeyFileInFoundFile { key: self.key(file) });
        }
    }

    fn provider(&mut self, strictness: Strictness) {
        let parameter = ModelParameter::Provider;
        let Some(package) = self.text(parameter) else { return };
        let key = self.key(parameter);
        // A version or a path in the name could lead to any other package.
        let trusted = package.strip_prefix(TRUSTED_SCOPE).is_some_and(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        });
        if strictness == Strictness::Discovered && !trusted {
            self.report(parameter, EnvProblemKind::ForeignPackage { key });
        }
        if self.text(ModelParameter::BaseUrl).is_none() && !self.invalid.contains(&ModelParameter::BaseUrl) {
            self.report(parameter, EnvProblemKind::PackageWithoutUrl { key });
        }
    }
}
