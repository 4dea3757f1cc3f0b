//! A task of a tasks file.

mod fields;
mod hash;
mod parse;

pub(crate) use self::fields::RawField;
pub use self::fields::{Field, RawFields};
pub use self::hash::{IdHash, TaskHash, id_digest};
pub(crate) use self::parse::{Checked, check_fields, parse_fields};
pub use self::parse::{ParseOptions, TaskError};

use opencode_runner::{Limit, ModelName, ModelSourceType};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One task of a batch. Relative paths are relative to the directory of the tasks file.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct BatchTask {
    /// The id, which is unique in the batch.
    pub id: String,
    /// The messages, one turn each, in one session.
    pub messages: Vec<String>,
    /// An existing directory to work in.
    pub dir: Option<PathBuf>,
    /// The repository to clone: a URL, a path or `owner/name`.
    pub repo: Option<String>,
    /// The branch, tag or commit of the repository.
    pub git_ref: Option<String>,
    /// The subdirectory of the clone that the agent works in.
    pub subdir: Option<PathBuf>,
    /// The name of the task, and of its directory.
    pub task_name: Option<String>,
    /// The name of the model; `None` leaves the choice to the options of the batch.
    pub model: Option<ModelName>,
    /// The role of the model source that runs the turns.
    pub model_source_type: Option<ModelSourceType>,
    /// The system prompt, in addition to opencode's own.
    pub context: Option<String>,
    /// The agent of opencode that runs the turns, such as `build`.
    pub agent: Option<String>,
    /// Files that are attached to the first message.
    pub files: Vec<PathBuf>,
    /// The JSON Schema of the answer.
    pub json_schema: Option<JsonSchema>,
    /// The limit on each turn.
    pub timeout: Option<Limit<Duration>>,
    /// The limit on the time without progress.
    pub idle_timeout: Option<Limit<Duration>>,
    /// The answer to opencode's permission requests.
    pub permission: Option<Permission>,
    /// Tasks of a higher priority start earlier; 0 by default.
    pub priority: i32,
    /// A shell command that prepares the working directory.
    pub setup: Option<String>,
    /// A shell command that passes if the task was solved.
    pub check: Option<String>,
    /// Files that are copied into the working directory before the check.
    pub check_files: Option<CheckFiles>,
    /// Globs of files that are kept.
    pub artifacts: Vec<String>,
    /// Unknown fields, which are copied to the result.
    pub metadata: Map<String, Value>,
}

impl BatchTask {
    /// Fills in the unset options of the task. A model and a role count as one option.
    #[must_use]
    pub fn or(mut self, defaults: &Self) -> Self {
        if self.model.is_none() && self.model_source_type.is_none() {
            self.model.clone_from(&defaults.model);
            self.model_source_type = defaults.model_source_type;
        }
        self.context = self.context.or_else(|| defaults.context.clone());
        self.agent = self.agent.or_else(|| defaults.agent.clone());
        self.timeout = self.timeout.or(defaults.timeout);
        self.idle_timeout = self.idle_timeout.or(defaults.idle_timeout);
        self.permission = self.permission.or(defaults.permission);
        self.setup = self.setup.or_else(|| defaults.setup.clone());
        self.check = self.check.or_else(|| defaults.check.clone());
        self
    }
}

/// The JSON Schema of an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(clippy::exhaustive_enums, reason = "a schema is written out or in a file")]
pub enum JsonSchema {
    /// The path of a file with the schema.
    File(PathBuf),
    /// The schema itself.
    Inline(Value),
}

/// The answer to opencode's permission requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "a batch has no terminal to ask on")]
pub enum Permission {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

/// Files that are copied into the working directory before the check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[expect(clippy::exhaustive_enums, reason = "the format of the tasks file has these two")]
pub enum CheckFiles {
    /// A directory whose content is copied over the working directory.
    Folder(PathBuf),
    /// Source by destination.
    Files(BTreeMap<String, PathBuf>),
}
