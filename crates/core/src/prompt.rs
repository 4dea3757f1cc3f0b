//! The request for one turn.

use crate::{Budget, Limit, Limits, ModelChoice, ModelSourceType, PermissionPolicy, TurnOptions};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// One message to the agent, with its attachments and options.
///
/// An unset option takes the runner's default, and then opencode's.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Prompt {
    /// The message, verbatim.
    pub message: String,
    /// Files to attach to the message.
    pub files: Vec<PathBuf>,
    /// A JSON Schema that the answer must match.
    pub schema: Option<Value>,
    /// The options of the turn.
    pub options: TurnOptions,
}

impl Prompt {
    /// Creates a prompt with only a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Sets the model that answers.
    #[must_use]
    pub fn model(mut self, model: impl Into<ModelChoice>) -> Self {
        self.options.model = Some(model.into());
        self
    }

    /// Sets the model role, whose source answers unless a [`model`](Self::model) is set.
    #[must_use]
    pub fn source_type(mut self, source_type: ModelSourceType) -> Self {
        self.options.source_type = Some(source_type);
        self
    }

    /// Sets a system prompt for this turn.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.options.context = Some(context.into());
        self
    }

    /// Sets opencode's agent.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.options.agent = Some(agent.into());
        self
    }

    /// Sets the model's variant.
    #[must_use]
    pub fn variant(mut self, variant: impl Into<String>) -> Self {
        self.options.variant = Some(variant.into());
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
        self.options.title = Some(title.into());
        self
    }

    /// Sets the policy for permission requests, overriding the runner's.
    #[must_use]
    pub fn permissions(mut self, permissions: PermissionPolicy) -> Self {
        self.options.permissions = Some(permissions);
        self
    }

    /// Sets a JSON Schema that the answer must match.
    #[must_use]
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Sets the limit on the whole turn; [`Limit::Off`] removes the runner's limit.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.options.timeout = Some(timeout.into());
        self
    }

    /// Sets the limit on the time without progress; [`Limit::Off`] removes the runner's limit.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.options.idle_timeout = Some(timeout.into());
        self
    }

    /// Sets the given time limits; a `None` is left to the runner. To remove one, pass [`Limit::Off`] to
    /// [`timeout`](Self::timeout) or [`idle_timeout`](Self::idle_timeout).
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.set_limits(limits);
        self
    }

    /// Sets the given limits of a budget; a `None` is left to the runner. [`without_budget`](Self::without_budget)
    /// removes them all.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.options.set_budget(budget);
        self
    }

    /// Removes the runner's budget for this turn.
    #[must_use]
    pub fn without_budget(mut self) -> Self {
        self.options.switch_budget_off();
        self
    }

    /// Sets the given options; a `None` changes nothing.
    #[must_use]
    pub fn options(mut self, options: TurnOptions) -> Self {
        self.options = options.or(&self.options);
        self
    }
}

impl From<&str> for Prompt {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<&String> for Prompt {
    fn from(message: &String) -> Self {
        Self::new(message.as_str())
    }
}

impl From<String> for Prompt {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn prompt_setters_are_independent() {
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
            .idle_timeout(Limit::Off)
            .budget(budget);
        let options = prompt.options;
        assert_eq!(prompt.message, "m");
        assert_eq!(options.model.as_ref().unwrap().to_string(), model.to_string());
        assert_eq!(options.source_type, Some(ModelSourceType::Plan));
        let texts = [&options.context, &options.agent, &options.variant, &options.title].map(Clone::clone);
        assert_eq!(texts, ["c", "plan", "high", "t"].map(|text| Some(text.to_owned())));
        assert_eq!(prompt.files, [PathBuf::from("one"), PathBuf::from("two")]);
        assert!(matches!(options.permissions, Some(PermissionPolicy::Allow)));
        assert_eq!(prompt.schema, Some(json!({"type": "object"})));
        assert_eq!((options.timeout, options.idle_timeout), (limits.total.map(Limit::At), Some(Limit::Off)));
        assert_eq!((options.limits(), options.budget()), (limits, budget));
    }

    #[test]
    fn prompt_converts_from_text() {
        assert_eq!(Prompt::from("m").message, "m");
        assert_eq!(Prompt::from("m".to_owned()).message, "m");
    }
}
