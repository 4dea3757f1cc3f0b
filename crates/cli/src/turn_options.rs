//! Converts the command's arguments into the options of a turn.

use super::args::{PermissionArg, TaskArgs};
use opencode_run_core::{Limit, ModelChoice, PermissionPolicy, TurnOptions};

impl TaskArgs {
    /// Returns the task's name.
    pub(crate) fn name(&self) -> &str {
        self.task_name.as_deref().unwrap_or("task")
    }

    /// Returns the options that the command line sets. `context` is the system prompt, which may come from a file.
    pub(crate) fn turn_options(&self, context: Option<String>) -> TurnOptions {
        let mut options = TurnOptions::default();
        options.model = self.model.clone().map(ModelChoice::Named);
        // A model on the command line takes precedence over any role.
        options.source_type = self.model_source_type.filter(|_| self.model.is_none());
        options.context = context;
        options.agent.clone_from(&self.agent);
        options.variant.clone_from(&self.variant);
        options.title.clone_from(&self.title);
        options.permissions = match self.permission {
            Some(PermissionArg::Allow) => Some(PermissionPolicy::Allow),
            Some(PermissionArg::Deny) => Some(PermissionPolicy::Deny),
            // The command that can ask sets the policy itself.
            Some(PermissionArg::Ask) | None => None,
        };
        options.timeout = self.timeout.map(Limit::At);
        options.idle_timeout = Some(self.idle_timeout);
        options.max_cost_usd = self.max_cost.map(Limit::At);
        options.max_requests = self.max_requests.map(Limit::At);
        options.max_tokens = self.max_tokens_total.map(Limit::At);
        options
    }
}
