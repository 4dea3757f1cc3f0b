//! Chooses the model of a turn.

use crate::model_choice_error::ModelChoiceError;
use crate::previous::Previous;
use opencode_run_config::ModelSource;
use opencode_run_core::{ModelChoice, ModelSourceType};
use std::sync::Arc;

/// The models and roles that a turn and its runner request.
#[derive(Debug, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) turns_model: Option<ModelChoice>,
    pub(crate) turns_role: Option<ModelSourceType>,
    pub(crate) runners_role: Option<ModelSourceType>,
    pub(crate) runners_model: Option<&'a ModelChoice>,
}

/// Chooses the first available of: the turn's model, the source of the turn's role, that of the runner's role, the
/// runner's model, the source `default`, the model of the session's previous turn, opencode's own default (`None`).
///
/// # Errors
///
/// If a role was requested and neither its source nor another choice before the previous turn is available, or if
/// the previous turn's source is no longer configured.
pub(crate) fn choose(
    asked: Asked<'_>,
    sources: &ModelSource,
    previous: Option<&Previous>,
) -> Result<Option<ModelChoice>, ModelChoiceError> {
    let Asked { turns_model, turns_role, runners_role, runners_model } = asked;
    let of_source = |source: ModelSourceType| {
        let config = sources.get_model(source)?;
        Some(ModelChoice::Source { source, config: Arc::clone(config) })
    };
    let chosen = turns_model
        .or_else(|| turns_role.and_then(of_source))
        .or_else(|| runners_role.and_then(of_source))
        .or_else(|| runners_model.cloned())
        .or_else(|| of_source(ModelSourceType::Default));
    match (chosen, turns_role.or(runners_role), previous) {
        (Some(chosen), ..) => Ok(Some(chosen)),
        // A model that was requested by its role is not replaced by an earlier one.
        (None, Some(asked), _) => Err(ModelChoiceError::NotConfigured { asked, configured: sources.configured() }),
        (None, None, Some(previous)) => previous.resolve(sources).map(Some),
        (None, None, None) => Ok(None),
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

    /// Returns the choice for these requests; the previous turn used `previous/p`.
    fn chosen(
        model: Option<&str>,
        roles: [Option<ModelSourceType>; 2],
        runners: Option<&str>,
        configured: &[ModelSourceType],
    ) -> Option<String> {
        let runners = runners.map(named);
        let [turns_role, runners_role] = roles;
        let asked = Asked { turns_model: model.map(named), turns_role, runners_role, runners_model: runners.as_ref() };
        let previous = Previous::Choice(named("previous/p"));
        let choice = choose(asked, &sources(configured), Some(&previous)).unwrap();
        choice.map(|choice| choice.to_string())
    }

    #[test]
    fn model_choices_fall_back_in_order() {
        use ModelSourceType::{Code, Default, Plan, Write};
        let is = |name: &str| Some(name.to_owned());
        let all = [Code, Write, Default];
        assert_eq!(chosen(Some("a/turn"), [Some(Code), None], Some("a/runner"), &all), is("a/turn"));
        assert_eq!(chosen(None, [Some(Code), Some(Write)], Some("a/runner"), &all), is("source/code"));
        assert_eq!(chosen(None, [Some(Plan), Some(Write)], Some("a/runner"), &all), is("source/write"));
        assert_eq!(chosen(None, [None, Some(Write)], Some("a/runner"), &all), is("source/write"));
        assert_eq!(chosen(None, [Some(Plan), Some(Plan)], Some("a/runner"), &all), is("a/runner"));
        assert_eq!(chosen(None, [Some(Plan), None], None, &all), is("source/default"));
        assert_eq!(chosen(None, [None, None], Some("a/runner"), &all), is("a/runner"));
        assert_eq!(chosen(None, [None, None], None, &all), is("source/default"));
        assert_eq!(chosen(None, [None, None], None, &[Code]), is("previous/p"));
        assert_eq!(choose(Asked::default(), &sources(&[Code]), None).unwrap().map(|choice| choice.to_string()), None);
    }

    #[test]
    fn missing_model_error_lists_sources() {
        use ModelSourceType::{Code, Plan, Write};
        let error = |configured: &[ModelSourceType]| {
            let asked = Asked { turns_role: Some(Plan), ..Asked::default() };
            let previous = Previous::Choice(named("previous/p"));
            choose(asked, &sources(configured), Some(&previous)).unwrap_err().to_string()
        };
        let some = error(&[Code, Write]);
        assert!(some.contains("`plan`") && some.ends_with("configured: code, write"), "{some}");
        let none = error(&[]);
        assert!(none.ends_with("no source is configured at all"), "{none}");
    }
}
