//! What opencode is to be started with, in words that are not opencode's.

use crate::Version;
use opencode_run_core::ModelChoice;
use std::path::PathBuf;

/// What opencode is started for.
#[derive(Debug, Clone, Default)]
pub(crate) enum Purpose {
    /// A server, for any number of turns.
    #[default]
    Server,
    /// One turn, with a file of instructions that is to be in its system prompt.
    Turn(Option<PathBuf>),
}

/// What opencode is to be started with.
pub(crate) struct LaunchSpec<'a> {
    /// The version that is started.
    pub(crate) version: Version,
    /// The model of the turns.
    pub(crate) model: Option<&'a ModelChoice>,
    /// The agent of the turns.
    pub(crate) agent: Option<&'a str>,
    /// What it is started for.
    pub(crate) purpose: &'a Purpose,
    /// Whether it is to do without what costs most.
    pub(crate) is_lean: bool,
    /// Whether the configuration of the directory that it works in is ignored.
    pub(crate) ignores_project: bool,
    /// The configuration that the user has in the environment.
    pub(crate) users: Option<&'a str>,
}

/// Variables of the environment, in a fixed order.
pub(crate) type Variables = Vec<(&'static str, String)>;

/// A wish in the words of opencode. Without a gateway there are keys in it.
pub(crate) struct Rendered {
    pub(crate) variables: Variables,
    /// What the model is called there.
    pub(crate) model: Option<String>,
    /// Nothing about the model is left for opencode to know.
    pub(crate) is_described: bool,
}

/// A catalog of models that holds none.
#[derive(Debug)]
pub(crate) struct EmptyCatalog {
    /// What stands in its file.
    pub(crate) text: &'static str,
    /// The variable that names the file.
    pub(crate) path: &'static str,
    /// What else is to be set.
    pub(crate) variable: (&'static str, &'static str),
}
