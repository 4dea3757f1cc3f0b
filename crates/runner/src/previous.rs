//! The model of the session's previous turn, the fallback before opencode's own default.

use crate::model_choice_error::ModelChoiceError;
use opencode_run_config::ModelSource;
use opencode_run_core::{ModelChoice, ModelSourceType, TurnFailure, TurnRecord};
use opencode_run_process::SessionModel;
use std::sync::{Arc, Mutex, PoisonError};

/// The model of a previous turn, as far as it is known.
#[derive(Debug, Clone)]
pub(crate) enum Previous {
    /// The complete model.
    Choice(ModelChoice),
    /// A model source, with its role and the name of its model, because records contain neither endpoints nor keys.
    Source {
        /// The role of the model source.
        source_type: ModelSourceType,
        /// The model's name.
        model: String,
    },
}

impl Previous {
    /// Returns the model for a further turn.
    ///
    /// # Errors
    ///
    /// If the model source is no longer configured. Another model is never used instead.
    pub(crate) fn resolve(&self, sources: &ModelSource) -> Result<ModelChoice, ModelChoiceError> {
        let (source_type, model) = match self {
            Self::Choice(choice) => return Ok(choice.clone()),
            Self::Source { source_type, model } => (*source_type, model),
        };
        let Some(config) = sources.get_model(source_type) else {
            let model = model.clone();
            let configured = sources.configured();
            return Err(ModelChoiceError::PreviousSource { source_type, model, configured });
        };
        if config.model != *model {
            let now = &config.model;
            tracing::warn!("the model source `{source_type}` is now {now}; the session's previous turn ran on {model}");
        }
        Ok(ModelChoice::Source { source: source_type, config: Arc::clone(config) })
    }

    /// Returns the model of the last of these turns that had one. A model that opencode did not find is skipped.
    fn of_turns(turns: &[Arc<TurnRecord>]) -> Option<Self> {
        let not_found = |turn: &TurnRecord| matches!(turn.failure, Some(TurnFailure::ModelNotFound { .. }));
        turns.iter().rev().filter(|turn| !not_found(turn)).find_map(|turn| {
            let model = turn.model.clone()?;
            match turn.source_type {
                Some(source_type) => Some(Self::Source { source_type, model }),
                None => model.parse().ok().map(ModelChoice::Named).map(Self::Choice),
            }
        })
    }

    fn is_of(&self, choice: &ModelChoice) -> bool {
        match self {
            Self::Choice(_) => false,
            Self::Source { source_type, model } => {
                choice.source_type() == Some(*source_type) && choice.to_string() == *model
            }
        }
    }
}

/// The known models of the previous turns of a runner's session.
#[derive(Debug, Default)]
pub(crate) struct ModelHistory {
    /// The model of the turns before the runner's first.
    inherited: Option<Previous>,
    /// The number of turns of the conversation before the runner's own.
    others: usize,
    /// The model sources of the runner's own turns, because sources set by a turn are not known elsewhere.
    used: Mutex<Vec<ModelChoice>>,
}

impl ModelHistory {
    /// Creates the history from the earlier turns in the journal, and from opencode's information about the
    /// session, if available.
    ///
    /// If the two differ, opencode is right: another client may have continued the session. A model that opencode
    /// knows itself is left to opencode unless the journal shows that it was requested.
    pub(crate) fn new(turns: &[Arc<TurnRecord>], session: Option<&SessionModel>) -> Self {
        let journalled = Previous::of_turns(turns);
        let inherited = match session {
            None => journalled,
            Some(SessionModel::Source { source_type, model }) => {
                Some(Previous::Source { source_type: *source_type, model: model.clone() })
            }
            Some(SessionModel::Named(name)) => journalled.filter(|previous| match previous {
                Previous::Choice(choice) => choice.to_string() == *name,
                Previous::Source { model, .. } => model == name,
            }),
            Some(_) => None,
        };
        Self { inherited, others: turns.len(), used: Mutex::default() }
    }

    /// Records the model of a turn that is about to start.
    pub(crate) fn note(&self, choice: &ModelChoice) {
        if choice.source_type().is_some() {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.retain(|other| (other.source_type(), other.to_string()) != (choice.source_type(), choice.to_string()));
            used.push(choice.clone());
        }
    }

    /// Returns the model of the previous turn, given the turns of the conversation so far; `None` if opencode chose
    /// it, because it remembers its choice.
    pub(crate) fn previous(&self, turns: &[Arc<TurnRecord>]) -> Option<Previous> {
        let Some(own) = Previous::of_turns(turns.get(self.others..).unwrap_or_default()) else {
            return self.inherited.clone();
        };
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        Some(used.iter().find(|choice| own.is_of(choice)).cloned().map_or(own, Previous::Choice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{Ending, Input, ModelConfig, Prompt, TurnMachine};
    use std::time::{Duration, SystemTime};

    fn source(kind: ModelSourceType, model: &str) -> ModelChoice {
        ModelChoice::Source { source: kind, config: Arc::new(ModelConfig::new(model)) }
    }

    fn named(name: &str) -> ModelChoice {
        ModelChoice::Named(name.parse().unwrap())
    }

    fn turn(model: Option<ModelChoice>, ending: Ending) -> Arc<TurnRecord> {
        let mut prompt = Prompt::new("m");
        prompt.options.model = model;
        let mut turn = TurnMachine::new(&prompt, SystemTime::UNIX_EPOCH);
        turn.apply(Duration::ZERO, &Input::Ended(ending));
        Arc::new(turn.into_record())
    }

    fn done(model: Option<ModelChoice>) -> Arc<TurnRecord> {
        turn(model, Ending::Finished)
    }

    fn shown(previous: Option<Previous>) -> String {
        match previous {
            None => "opencode's".to_owned(),
            Some(Previous::Choice(choice)) => choice.to_string(),
            Some(Previous::Source { source_type, model }) => format!("{source_type}: {model}"),
        }
    }

    #[test]
    fn last_turn_with_a_model_counts() {
        let history = ModelHistory::default();
        let code = || Some(source(ModelSourceType::Code, "m"));
        assert_eq!(shown(history.previous(&[])), "opencode's");
        assert_eq!(shown(history.previous(&[done(None)])), "opencode's");
        assert_eq!(shown(history.previous(&[done(code()), done(None)])), "code: m");
        assert_eq!(shown(history.previous(&[done(code()), done(Some(named("a/b")))])), "a/b");
        let not_found = Ending::Failed(TurnFailure::ModelNotFound { message: "no".to_owned() });
        assert_eq!(shown(history.previous(&[done(code()), turn(Some(named("no/no")), not_found)])), "code: m");
    }

    #[test]
    fn source_of_a_turn_is_remembered() {
        let history = ModelHistory::default();
        let brought = source(ModelSourceType::Code, "m");
        history.note(&brought);
        history.note(&source(ModelSourceType::Code, "other"));
        history.note(&named("a/b"));
        let previous = history.previous(&[done(Some(brought.clone()))]).unwrap();
        let resolved = previous.resolve(&ModelSource::new()).unwrap();
        assert_eq!((resolved.source_type(), resolved.to_string().as_str()), (Some(ModelSourceType::Code), "m"));
    }

    #[test]
    fn opencode_overrides_journal() {
        let journal = [done(Some(source(ModelSourceType::Plan, "stub/p")))];
        let inherited = |turns: &[_], session: Option<SessionModel>| {
            let history = ModelHistory::new(turns, session.as_ref());
            // A turn from the journal is not one of the runner's own.
            shown(history.previous(turns))
        };
        let of_source =
            |model: &str| Some(SessionModel::Source { source_type: ModelSourceType::Code, model: model.to_owned() });
        let by_name = |name: &str| Some(SessionModel::Named(name.to_owned()));
        assert_eq!(inherited(&journal, None), "plan: stub/p");
        assert_eq!(inherited(&journal, of_source("m")), "code: m");
        assert_eq!(inherited(&journal, by_name("stub/p")), "plan: stub/p");
        assert_eq!(inherited(&journal, by_name("stub/other")), "opencode's");
        assert_eq!(inherited(&[], of_source("m")), "code: m");
        assert_eq!(inherited(&[done(Some(named("a/b")))], by_name("a/b")), "a/b");
    }

    #[test]
    fn removed_source_is_an_error() {
        let previous = Previous::Source { source_type: ModelSourceType::Code, model: "large".to_owned() };
        let mut sources: ModelSource = [(ModelSourceType::Plan, ModelConfig::new("a/b"))].into_iter().collect();
        let error = previous.resolve(&sources).unwrap_err().to_string();
        assert!(error.contains("`code`") && error.contains("large") && error.ends_with("configured: plan"), "{error}");
        sources.set_model(ModelSourceType::Code, ModelConfig::new("larger"));
        assert_eq!(previous.resolve(&sources).unwrap().to_string(), "larger");
    }
}
