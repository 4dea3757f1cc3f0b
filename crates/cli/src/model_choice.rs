//! Which model a turn uses.

use opencode_run_config::ModelSource;
use opencode_run_core::{ModelChoice, ModelSourceType};
use std::sync::Arc;

/// A kind of work was asked for that no model is configured for, and there is nothing to fall back to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no model source is configured for `{asked}`, and there is neither a model nor a `default` source to fall back to; {}",
    listed(configured)
)]
pub struct ModelChoiceError {
    asked: ModelSourceType,
    configured: Vec<ModelSourceType>,
}

fn listed(configured: &[ModelSourceType]) -> String {
    if configured.is_empty() {
        return "no source is configured at all".to_owned();
    }
    let names: Vec<&str> = configured.iter().map(|kind| kind.as_str()).collect();
    format!("configured: {}", names.join(", "))
}

/// Chooses: the turn's model, else the turn's kind of work, else the runner's model, else the source `default`, else
/// opencode's own default, which is none here.
///
/// # Errors
///
/// If a kind of work was asked for that is not configured, and neither of the next two is.
pub(crate) fn choose(
    turns_model: Option<ModelChoice>,
    turns_kind: Option<ModelSourceType>,
    runners_model: Option<&ModelChoice>,
    sources: &ModelSource,
) -> Result<Option<ModelChoice>, ModelChoiceError> {
    let of_source = |source: ModelSourceType| {
        let config = sources.get_model(source)?;
        Some(ModelChoice::Source { source, config: Arc::clone(config) })
    };
    let chosen = turns_model
        .or_else(|| turns_kind.and_then(of_source))
        .or_else(|| runners_model.cloned())
        .or_else(|| of_source(ModelSourceType::Default));
    match (chosen, turns_kind) {
        (None, Some(asked)) => Err(ModelChoiceError { asked, configured: sources.configured() }),
        (chosen, _) => Ok(chosen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::ModelConfig;

    fn sources(kinds: &[ModelSourceType]) -> ModelSource {
        let mut sources = ModelSource::new();
        for kind in kinds {
            sources.set_model(*kind, ModelConfig::new(format!("source/{kind}")));
        }
        sources
    }

    fn named(name: &str) -> ModelChoice {
        ModelChoice::Named(name.parse().unwrap())
    }

    fn chosen(
        model: Option<&str>,
        kind: Option<ModelSourceType>,
        runners: Option<&str>,
        configured: &[ModelSourceType],
    ) -> Option<String> {
        let runners = runners.map(named);
        let choice = choose(model.map(named), kind, runners.as_ref(), &sources(configured)).unwrap();
        choice.map(|choice| choice.to_string())
    }

    #[test]
    fn each_falls_to_the_next() {
        use ModelSourceType::{Code, Default, Plan};
        let is = |name: &str| Some(name.to_owned());
        assert_eq!(chosen(Some("a/turn"), Some(Code), Some("a/runner"), &[Code, Default]), is("a/turn"));
        assert_eq!(chosen(None, Some(Code), Some("a/runner"), &[Code, Default]), is("source/code"));
        assert_eq!(chosen(None, Some(Plan), Some("a/runner"), &[Code, Default]), is("a/runner"));
        assert_eq!(chosen(None, Some(Plan), None, &[Code, Default]), is("source/default"));
        assert_eq!(chosen(None, None, Some("a/runner"), &[Code, Default]), is("a/runner"));
        assert_eq!(chosen(None, None, None, &[Code, Default]), is("source/default"));
        assert_eq!(chosen(None, None, None, &[Code]), None);
    }

    #[test]
    fn a_kind_without_a_model_and_without_a_next_lists_what_is_configured() {
        use ModelSourceType::{Code, Plan, Write};
        let error = choose(None, Some(Plan), None, &sources(&[Code, Write])).unwrap_err().to_string();
        assert!(error.contains("`plan`") && error.ends_with("configured: code, write"), "{error}");
        let error = choose(None, Some(Plan), None, &sources(&[])).unwrap_err().to_string();
        assert!(error.ends_with("no source is configured at all"), "{error}");
    }
}
