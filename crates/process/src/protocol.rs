//! Everything that depends on the generation of opencode: arguments, configuration, routes, events, and the end of a
//! turn. No other module knows any of it.
//!
//! The version determines the [`Generation`], which provides the version-specific data and the types for them: a
//! [`Client`] for a server and a [`turn::TurnProtocol`] for a turn on it.
//! Another generation is a module beside `v1` and `v2` and a variant of [`Generation`].

mod changed_files;
mod client;
mod directory;
mod event;
mod exported;
mod extensions;
mod generation;
mod http;
mod ids;
mod launch_spec;
mod pending_asks;
mod request;
#[cfg(test)]
mod signal_line;
mod support;
pub(crate) mod turn;
pub(crate) mod v1;
pub(crate) mod v2;
mod variables;

pub use changed_files::changed_files;
pub(crate) use client::{Client, NewSession, connect};
pub(crate) use directory::check_serve_in;
pub(crate) use event::SessionEvent;
pub(crate) use exported::Exported;
pub(crate) use extensions::{Extensions, pending_warning};
pub(crate) use generation::Generation;
pub(crate) use http::ClientError;
pub(crate) use launch_spec::{EmptyCatalog, LaunchSpec, Purpose, Rendered, Variables};
pub(crate) use request::Request;
pub(crate) use support::{Unsupported, check_server_support, remedy_for_server, why_not_run};
pub(crate) use v1::api::KnownModel;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing {
    pub use super::v1::fuzzing::{run_output, serve_stream};
    pub use super::v2::fuzzing::serve2_stream;
}
pub use v1::mcp_settings::{McpServer, mcp_servers};
pub(crate) use v1::run::{RunAction, RunInput, RunPlan, RunProtocol, RunTimer};
pub(crate) use v1::stderr::{StderrLine, plain};
pub use variables::{
    NO_CATALOG_DOWNLOAD, holds_credentials, is_users_configuration, server_credentials, with_database,
};
pub(crate) use variables::{SERVER_CREDENTIALS, is_of_surrounding};

use crate::Version;
use crate::project_power::ProjectPower;
use opencode_run_core::{SessionId, TurnFailure, TurnRequest};
use reqwest::Url;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The launch data of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerLaunch {
    pub(crate) arguments: &'static [&'static str],
    /// The variable for its password.
    pub(crate) password: &'static str,
    /// Whether it exits when its stdin is closed.
    pub(crate) holds_stdin: bool,
}

impl Generation {
    /// Returns the arguments that run a turn; the message is for stdin. `model` is its name for opencode.
    pub(crate) fn run_arguments(self, request: &TurnRequest, model: Option<&str>) -> Vec<OsString> {
        match self {
            Self::V1 | Self::V2 => v1::arguments::run(request, model),
        }
    }

    /// Returns the argument with which a turn allows all permission requests, if the version has one.
    pub(crate) fn approval_argument(self, version: Version) -> Option<&'static str> {
        match self {
            Self::V1 => v1::arguments::approval(version),
            Self::V2 => None,
        }
    }

    /// Decodes a line of a turn's stderr, without colours.
    pub(crate) fn read_stderr(self, line: &str) -> StderrLine {
        match self {
            Self::V1 => v1::stderr::read(line),
            Self::V2 => StderrLine::Other,
        }
    }

    /// Returns the arguments that list the models, one name per line; `None` if only a server lists them: the command
    /// line of opencode 2 would use, or start, a background service that does not know this environment.
    pub(crate) fn models_arguments(self) -> Option<&'static [&'static str]> {
        match self {
            Self::V1 => Some(&v1::arguments::MODELS),
            Self::V2 => None,
        }
    }

    /// Returns whether opencode could have assigned an id to a session.
    pub(crate) fn may_exist(self, session: &SessionId) -> bool {
        match self {
            Self::V1 | Self::V2 => v1::export::may_exist(session),
        }
    }

    /// Returns the arguments that export a session, whose record has its directory and its model.
    pub(crate) fn export_arguments(self, session: &SessionId) -> [String; 2] {
        match self {
            Self::V1 | Self::V2 => v1::export::arguments(session),
        }
    }

    /// Parses an export.
    pub(crate) fn read_export(self, stdout: &[u8], stderr: &[u8]) -> Exported {
        match self {
            Self::V1 | Self::V2 => v1::export::read(stdout, stderr),
        }
    }

    /// Returns why opencode refused its configuration, if it printed that to stderr.
    pub(crate) fn read_refused_configuration(self, stderr: &str) -> Option<String> {
        match self {
            Self::V1 => v1::config_errors::in_output(stderr),
            Self::V2 => None,
        }
    }

    /// Renders a launch spec for this generation.
    ///
    /// # Errors
    ///
    /// The problem in the user's configuration in the environment.
    pub(crate) fn render(self, spec: &LaunchSpec<'_>) -> Result<Rendered, String> {
        match self {
            Self::V1 => v1::configuration::render(spec),
            Self::V2 => v2::configuration::render(spec),
        }
    }

    /// Returns the files in a directory that can configure opencode, of any generation, and whether the list is
    /// complete. The files need not exist.
    pub(crate) fn project_files(directory: &Path) -> (Vec<PathBuf>, bool) {
        v1::project::files(directory)
    }

    /// Returns the powers of one of these files, given its text.
    pub(crate) fn powers_of(file: &Path, text: &str) -> Vec<ProjectPower> {
        v1::project::powers(file, text)
    }

    /// Returns the variable for the user's configuration in the environment.
    pub(crate) fn users_configuration(self) -> &'static str {
        match self {
            Self::V1 | Self::V2 => v1::configuration::CONFIG_CONTENT,
        }
    }

    /// Returns the settings that give opencode an empty catalog.
    pub(crate) fn empty_catalog(self) -> EmptyCatalog {
        match self {
            Self::V1 => v1::configuration::EMPTY_CATALOG,
            Self::V2 => v2::configuration::EMPTY_CATALOG,
        }
    }

    /// Returns the launch data of a server.
    pub(crate) fn server(self) -> ServerLaunch {
        match self {
            Self::V1 => {
                ServerLaunch { arguments: &v1::api::ARGUMENTS, password: v1::api::PASSWORD, holds_stdin: false }
            }
            Self::V2 => ServerLaunch { arguments: &v2::api::ARGUMENTS, password: v2::api::PASSWORD, holds_stdin: true },
        }
    }

    /// Parses the address of a server from a line of its stdout.
    pub(crate) fn read_address(self, line: &str) -> Option<Url> {
        match self {
            Self::V1 => v1::api::listening(line),
            Self::V2 => v2::api::listening(line),
        }
    }

    /// Returns why a request was refused, from the line of the server's log that the refusal refers to.
    pub(crate) fn read_log(self, line: &str) -> Option<TurnFailure> {
        match self {
            Self::V1 => v1::api::explain(line),
            Self::V2 => None,
        }
    }
}
