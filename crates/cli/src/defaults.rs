//! What a turn falls back to.

use crate::keys::Keys;
use crate::{RunnerError, model_choice};
use opencode_run_config::ModelSource;
use opencode_run_core::{Budget, Limits, ModelChoice, ModelSourceType, PermissionPolicy, Prompt, TurnRecord};
use std::time::Duration;

/// What a runner's turns have in common, unless one says otherwise.
#[derive(Debug)]
pub(crate) struct Defaults {
    pub(crate) model: Option<ModelChoice>,
    pub(crate) source_type: Option<ModelSourceType>,
    pub(crate) sources: ModelSource,
    pub(crate) keys: Keys,
    pub(crate) context: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) variant: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) permissions: PermissionPolicy,
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
}

impl Defaults {
    /// Takes over what a conversation went by when it was left off, where nothing else was set.
    pub(crate) fn go_on_from(&mut self, last: Option<&TurnRecord>) {
        let Some(last) = last else { return };
        self.context = self.context.take().or_else(|| last.context.clone());
        self.agent = self.agent.take().or_else(|| last.agent.clone());
    }

    /// Fills in what a turn leaves open.
    ///
    /// # Errors
    ///
    /// If there is no model for what is asked for, or its key cannot be had.
    pub(crate) async fn complete(&self, mut prompt: Prompt) -> Result<Prompt, RunnerError> {
        prompt.limits.total = prompt.limits.total.or(self.limits.total);
        prompt.limits.idle = prompt.limits.idle.or(self.limits.idle);
        prompt.model = self.model_of(prompt.model.take(), prompt.source_type, prompt.limits.total).await?;
        prompt.context = prompt.context.or_else(|| self.context.clone());
        prompt.agent = prompt.agent.or_else(|| self.agent.clone());
        prompt.variant = prompt.variant.or_else(|| self.variant.clone());
        prompt.title = prompt.title.or_else(|| self.title.clone());
        if matches!(prompt.permissions, PermissionPolicy::Deny) {
            prompt.permissions = self.permissions.clone();
        }
        if prompt.budget.is_unlimited() {
            prompt.budget = self.budget;
        }
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
        source_type: Option<ModelSourceType>,
        limit: Option<Duration>,
    ) -> Result<Option<ModelChoice>, RunnerError> {
        let kind = source_type.or(self.source_type);
        match model_choice::choose(model, kind, self.model.as_ref(), &self.sources)? {
            Some(choice) => self.keys.with_key(choice, limit).await.map(Some),
            None => Ok(None),
        }
    }
}
