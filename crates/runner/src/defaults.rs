//! What a turn falls back to.

use crate::RunnerError;
use crate::keys::Keys;
use crate::model_choice::{self, Asked};
use crate::previous::Previous;
use opencode_run_config::ModelSource;
use opencode_run_core::{ModelChoice, ModelSourceType, Prompt, TurnOptions, TurnRecord};
use std::sync::Arc;
use std::time::Duration;

/// What a runner's turns have in common, unless one says otherwise.
#[derive(Debug)]
pub(crate) struct Defaults {
    pub(crate) options: TurnOptions,
    pub(crate) sources: ModelSource,
    pub(crate) keys: Arc<Keys>,
}

impl Defaults {
    /// Takes over what a conversation went by when it was left off, where nothing else was set.
    pub(crate) fn go_on_from(&mut self, last: Option<&TurnRecord>) {
        let Some(last) = last else { return };
        let options = &mut self.options;
        options.context = options.context.take().or_else(|| last.context.clone());
        options.agent = options.agent.take().or_else(|| last.agent.clone());
    }

    /// Fills in what a turn leaves open. `previous` is the model of the session's previous turn.
    ///
    /// # Errors
    ///
    /// If there is no model for what is asked for, or its key cannot be had.
    pub(crate) async fn complete(&self, mut prompt: Prompt, previous: Option<Previous>) -> Result<Prompt, RunnerError> {
        // The model falls back along a chain of its own.
        let (model, role) = (prompt.options.model.take(), prompt.options.source_type);
        let mut options = prompt.options.or(&self.options);
        options.model = self.model_of(model, role, previous.as_ref(), options.limits().total).await?;
        prompt.options = options;
        Ok(prompt)
    }

    /// Returns the model of a turn that wishes for this, with its key, which is waited for no longer than `limit`.
    ///
    /// # Errors
    ///
    /// If there is none for what is asked for, or its key cannot be had.
    pub(crate) async fn model_of(
        &self,
        model: Option<ModelChoice>,
        role: Option<ModelSourceType>,
        previous: Option<&Previous>,
        limit: Option<Duration>,
    ) -> Result<Option<ModelChoice>, RunnerError> {
        let asked = Asked {
            turns_model: model,
            turns_role: role,
            runners_role: self.options.source_type,
            runners_model: self.options.model.as_ref(),
        };
        match model_choice::choose(asked, &self.sources, previous)? {
            Some(choice) => self.keys.with_key(choice, limit).await.map(Some),
            None => Ok(None),
        }
    }
}
