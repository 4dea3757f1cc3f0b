//! The defaults of a runner's turns.

use crate::RunnerError;
use crate::keys::Keys;
use crate::model_choice::{self, Asked};
use crate::previous::Previous;
use opencode_run_config::ModelSource;
use opencode_run_core::{ModelChoice, ModelSourceType, Prompt, TurnOptions, TurnRecord};
use std::sync::Arc;
use std::time::Duration;

/// The options that a runner's turns share unless they set their own.
#[derive(Debug)]
pub(crate) struct Defaults {
    pub(crate) options: TurnOptions,
    pub(crate) sources: ModelSource,
    pub(crate) keys: Arc<Keys>,
}

impl Defaults {
    /// Adopts the options of the last turn of a resumed conversation, unless others are set.
    pub(crate) fn adopt_options_of(&mut self, last: Option<&TurnRecord>) {
        let Some(last) = last else { return };
        let options = &mut self.options;
        options.context = options.context.take().or_else(|| last.context.clone());
        options.agent = options.agent.take().or_else(|| last.agent.clone());
    }

    /// Fills in the unset options of a prompt. `previous` is the model of the session's previous turn.
    ///
    /// # Errors
    ///
    /// If there is no model for the request, or its key is not available.
    pub(crate) async fn complete(&self, mut prompt: Prompt, previous: Option<Previous>) -> Result<Prompt, RunnerError> {
        // The model has its own chain of fallbacks.
        let model = prompt.options.model.take();
        let role = prompt.options.source_type;
        let mut options = prompt.options.or(&self.options);
        options.model = self.model_of(model, role, previous.as_ref(), options.limits().total).await?;
        prompt.options = options;
        Ok(prompt)
    }

    /// Returns the model for a turn with these options, including its key, for which it waits at most `limit`.
    ///
    /// # Errors
    ///
    /// If there is no model for the request, or its key is not available.
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
