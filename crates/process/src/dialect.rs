//! What depends on the generation of opencode: arguments, configuration, routes, events, ends. Nothing else knows any of it.
//!
//! [`Dialect`] is the seam. It is chosen by the version, and what a generation does in a way of its own is asked of it, or of
//! what it makes: a [`Client`] for a server, a [`TurnDecoder`] for a turn. There is one generation so far. The next one is a
//! module beside `v1` and a variant of [`Dialect`]; of the types that are `v1`'s here, those that it has in another form
//! become one for both.

mod directory;
mod support;
mod v1;
mod wish;

pub(crate) use directory::check_serve_in;
pub(crate) use support::{Unsupported, serves, why_not_run};
pub(crate) use v1::api::KnownModel;
pub(crate) use v1::client::{Client, ClientError};
pub(crate) use v1::ending::{Seen, failure_of};
pub(crate) use v1::events::Decoded;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use v1::fuzzing;
pub(crate) use v1::refusals::Refusals;
pub(crate) use v1::stderr::{StderrLine, plain};
pub(crate) use v1::stream::{AnswerEnd, MessageWithParts, SessionEvent, TurnDecoder, read_message, read_messages};
pub(crate) use wish::{EmptyCatalogue, Purpose, Rendered, Variables, Wish};

use crate::Version;
use crate::session::SessionInfo;
use opencode_run_core::{SessionId, TurnFailure, TurnRequest};
use reqwest::Url;
use std::ffi::OsString;

/// A generation of opencode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// opencode 1.
    V1,
}

/// The content of a session's export.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Exported {
    /// There is one.
    Session(SessionInfo),
    /// There is no such session.
    NotFound,
    /// Nothing; in the words of the last line that was written.
    Nothing(String),
}

impl Dialect {
    /// Returns the arguments that run a turn; the message is for stdin. `model` is its name for opencode.
    pub(crate) fn run_arguments(self, request: &TurnRequest, model: Option<&str>) -> Vec<OsString> {
        match self {
            Self::V1 => v1::arguments::run(request, model),
        }
    }

    /// Returns the argument by which a turn allows what opencode asks for, where the version has one.
    pub(crate) fn approval_argument(self, version: Version) -> Option<&'static str> {
        match self {
            Self::V1 => v1::arguments::approval(version),
        }
    }

    /// Reads a line that a turn writes to stdout.
    pub(crate) fn read_stdout(self, line: &[u8]) -> Decoded {
        match self {
            Self::V1 => v1::events::decode(line),
        }
    }

    /// Reads a line that a turn writes to stderr, without its colours.
    pub(crate) fn read_stderr(self, line: &str) -> StderrLine {
        match self {
            Self::V1 => v1::stderr::read(line),
        }
    }

    /// Returns the arguments that ask for the models, a name a line.
    pub(crate) fn models_arguments(self) -> &'static [&'static str] {
        match self {
            Self::V1 => &v1::arguments::MODELS,
        }
    }

    /// Returns whether an id is one that opencode could have given to a session.
    pub(crate) fn may_exist(self, session: &SessionId) -> bool {
        match self {
            Self::V1 => v1::export::may_exist(session),
        }
    }

    /// Returns the arguments that export a session, which names its directory and its model.
    pub(crate) fn export_arguments(self, session: &SessionId) -> [String; 2] {
        match self {
            Self::V1 => v1::export::arguments(session),
        }
    }

    /// Reads an export.
    pub(crate) fn read_export(self, stdout: &[u8], stderr: &[u8]) -> Exported {
        match self {
            Self::V1 => v1::export::read(stdout, stderr),
        }
    }

    /// Returns why opencode refused its configuration, if that is what it wrote to stderr.
    pub(crate) fn read_refused_configuration(self, stderr: &str) -> Option<String> {
        match self {
            Self::V1 => v1::config_errors::in_output(stderr),
        }
    }

    /// Says a wish in the words of opencode.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration that the user has in the environment.
    pub(crate) fn render(self, wish: &Wish<'_>) -> Result<Rendered, String> {
        match self {
            Self::V1 => v1::configuration::render(wish),
        }
    }

    /// Returns the variable that holds the user's configuration in the environment.
    pub(crate) fn users_configuration(self) -> &'static str {
        match self {
            Self::V1 => v1::configuration::CONFIG_CONTENT,
        }
    }

    /// Returns how opencode is left without its catalogue of models.
    pub(crate) fn empty_catalogue(self) -> EmptyCatalogue {
        match self {
            Self::V1 => v1::configuration::EMPTY_CATALOGUE,
        }
    }

    /// Returns the arguments of a server, and the variable that gives it its password.
    pub(crate) fn server(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::V1 => (&v1::api::ARGUMENTS, v1::api::PASSWORD),
        }
    }

    /// Makes what a server of this generation is reached by.
    ///
    /// # Errors
    ///
    /// If there is nothing on this system to make requests with.
    pub(crate) fn client(self, address: Url, password: String) -> Result<Client, ClientError> {
        match self {
            Self::V1 => Client::new(address, None, Some(password)),
        }
    }

    /// Reads where a server listens in what it writes to stdout.
    pub(crate) fn read_address(self, line: &str) -> Option<Url> {
        match self {
            Self::V1 => v1::api::listening(line),
        }
    }

    /// Reads why a request was refused in the line of a server's log that the refusal refers to.
    pub(crate) fn read_log(self, line: &str) -> Option<TurnFailure> {
        match self {
            Self::V1 => v1::api::explain(line),
        }
    }
}

/// Makes what a server of an unknown generation is reached by, and returns it with the server's version.
///
/// # Errors
///
/// If there is no server of a known generation, or it does not know the user.
pub(crate) async fn meet(
    address: Url,
    user: Option<String>,
    password: Option<String>,
) -> Result<(Client, String), ClientError> {
    let client = Client::new(address, user, password)?;
    let version = client.version().await?;
    Ok((client, version))
}
