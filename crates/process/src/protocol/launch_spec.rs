//! Launch specs: the settings of a started opencode, independent of its generation.

use crate::Version;
use opencode_run_core::ModelChoice;
use std::path::PathBuf;

/// The purpose of a started opencode.
#[derive(Debug, Clone, Default)]
pub(crate) enum Purpose {
    /// A server, for any number of turns.
    #[default]
    Server,
    /// One turn, with an optional file of instructions for its system prompt.
    Turn(Option<PathBuf>),
}

/// The settings with which opencode is started.
pub(crate) struct LaunchSpec<'a> {
    /// The version of opencode.
    pub(crate) version: Version,
    /// The model of the turns.
    pub(crate) model: Option<&'a ModelChoice>,
    /// The model sources that are described: the one of the turns, and those that share the server, in a fixed order. If there are
    /// several, the gateway sets their parameters, which one configuration cannot hold for all.
    pub(crate) sources: &'a [ModelChoice],
    /// The agent of the turns.
    pub(crate) agent: Option<&'a str>,
    /// The purpose.
    pub(crate) purpose: &'a Purpose,
    /// Whether opencode starts without its most expensive parts.
    pub(crate) is_lean: bool,
    /// Whether the configuration in the working directory is ignored.
    pub(crate) ignores_project: bool,
    /// The user's configuration in the environment.
    pub(crate) users: Option<&'a str>,
}

/// Environment variables, in a fixed order.
pub(crate) type Variables = Vec<(&'static str, String)>;

/// A launch spec rendered for a generation. Without a gateway it contains keys.
pub(crate) struct Rendered {
    pub(crate) variables: Variables,
    /// The model's name for opencode.
    pub(crate) model: Option<String>,
    /// Whether the model is described in full, so that opencode needs no catalog for it.
    pub(crate) is_described: bool,
}

/// A catalog without models.
#[derive(Debug)]
pub(crate) struct EmptyCatalog {
    /// The content of its file.
    pub(crate) text: &'static str,
    /// The variable that names the file.
    pub(crate) path: &'static str,
    /// Another variable to set.
    pub(crate) variable: (&'static str, &'static str),
}
