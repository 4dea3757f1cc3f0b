//! What a turn is asked to do.

use crate::{Budget, ModelChoice, ModelSourceType, PermissionPolicy};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// One message to the agent and how it is to be answered.
///
/// What is left out falls to the runner's own setting, and then to opencode's.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Prompt {
    /// The message, verbatim.
    pub message: String,
    /// The model that answers.
    pub model: Option<ModelChoice>,
    /// The kind of work, where the model is left to whoever holds the model sources. An executor does not look at it.
    pub source_type: Option<ModelSourceType>,
    /// A system prompt for this turn.
    pub context: Option<String>,
    /// opencode's agent, such as `build` or `plan`.
    pub agent: Option<String>,
    /// The model's variant, such as `high`. A server refuses one that it says the model does not have.
    pub variant: Option<String>,
    /// Files to attach to the message.
    pub files: Vec<PathBuf>,
    /// A title for a new session.
    pub title: Option<String>,
    /// What is answered when opencode asks whether a tool may do something.
    pub permissions: PermissionPolicy,
    /// A JSON Schema that the answer is to meet.
    pub schema: Option<Value>,
    /// When to give up.
    pub limits: Limits,
    /// How much of the model it may use.
    pub budget: Budget,
}

impl Prompt {
    /// Makes a prompt of a message alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Sets the model that answers.
    #[must_use]
    pub fn model(mut self, model: impl Into<ModelChoice>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Sets the kind of work, whose model source answers unless a [`model`](Self::model) is set.
    #[must_use]
    pub fn source_type(mut self, source_type: ModelSourceType) -> Self {
        self.source_type = Some(source_type);
        self
    }

    /// Sets a system prompt for this turn.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// Sets opencode's agent.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// Sets the model's variant.
    #[must_use]
    pub fn variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = Some(variant.into());
        self
    }

    /// Attaches a file.
    #[must_use]
    pub fn file(mut self, file: impl Into<PathBuf>) -> Self {
        self.files.push(file.into());
        self
    }

    /// Sets the title of a new session.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Sets what is answered when opencode asks whether a tool may do something.
    #[must_use]
    pub fn permissions(mut self, permissions: PermissionPolicy) -> Self {
        self.permissions = permissions;
        self
    }

    /// Sets a JSON Schema that the answer is to meet.
    #[must_use]
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Sets how much of the model it may use.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Sets when to give up.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

impl From<&str> for Prompt {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for Prompt {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

/// When to give up on a turn. No limit where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a turn has these two clocks, and callers write them out")]
pub struct Limits {
    /// How long the whole turn may take, the time in which somebody is asked included.
    pub total: Option<Duration>,
    /// How long the turn may make no progress; [`Turn::limit_at`](crate::Turn::limit_at) says what is progress.
    pub idle: Option<Duration>,
}

impl Limits {
    /// The idle limit of whoever sets none, so that no turn hangs for ever. What is to have none says so, with the `0` of a
    /// command line.
    ///
    /// A model that thinks in silence takes minutes, and opencode's own tries at a provider that fails take one.
    pub const DEFAULT_IDLE: Duration = Duration::from_mins(10);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_setting_is_kept_beside_the_others() {
        let limits = Limits { total: Some(Duration::from_secs(1)), idle: None };
        let budget = Budget { max_requests: Some(3), ..Budget::default() };
        let model: crate::ModelName = "a/b".parse().unwrap();
        let prompt = Prompt::new("m")
            .model(model.clone())
            .source_type(ModelSourceType::Plan)
            .context("c")
            .agent("plan")
            .variant("high")
            .file("one")
            .file("two")
            .title("t")
            .permissions(PermissionPolicy::Allow)
            .schema(json!({"type": "object"}))
            .limits(limits)
            .budget(budget);
        assert_eq!(prompt.message, "m");
        assert_eq!(prompt.model.unwrap().to_string(), model.to_string());
        assert_eq!(prompt.source_type, Some(ModelSourceType::Plan));
        let texts = [prompt.context, prompt.agent, prompt.variant, prompt.title];
        assert_eq!(texts, ["c", "plan", "high", "t"].map(|text| Some(text.to_owned())));
        assert_eq!(prompt.files, [PathBuf::from("one"), PathBuf::from("two")]);
        assert!(matches!(prompt.permissions, PermissionPolicy::Allow));
        assert_eq!(prompt.schema, Some(json!({"type": "object"})));
        assert_eq!((prompt.limits, prompt.budget), (limits, budget));
    }

    #[test]
    fn a_text_is_a_prompt() {
        assert_eq!(Prompt::from("m").message, "m");
        assert_eq!(Prompt::from("m".to_owned()).message, "m");
    }
}
