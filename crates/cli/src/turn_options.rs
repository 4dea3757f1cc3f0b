//! Converts the command's arguments into the options of a turn.

use super::args::{InstructionArgs, PermissionArg, TaskArgs};
use super::error::CommandError;
use super::input_file;
use opencode_run_core::{Limit, ModelChoice, PermissionPolicy, TurnOptions};

/// The maximum size of a system prompt from a file in bytes, more than any model accepts.
const MAX_CONTEXT_BYTES: u64 = 16 << 20;

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
        options.agent.clone_from(&self.instructions.agent);
        options.variant.clone_from(&self.instructions.variant);
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

impl InstructionArgs {
    /// Returns the system prompt, of the option or of the file that it names.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is too long or is not text.
    pub(crate) fn read_context(&self) -> Result<Option<String>, CommandError> {
        let Some(file) = &self.context_file else { return Ok(self.context.clone()) };
        let failed = |why: String| {
            CommandError::usage(format!("the system prompt cannot be read from {}: {why}", file.display()))
        };
        input_file::read(file, MAX_CONTEXT_BYTES).map(Some).map_err(failed)
    }
}
