//! Builds a turn of either generation from its prepared parts.

use super::dispatcher::Subscription;
use super::extension_watch::ExtensionWatch;
use super::server::TurnGuard;
use super::turn::{PreparedTurn, ProtocolTurn, RequestSender, ServeTurn};
use crate::model_route::RouteLease;
use crate::protocol::Client;
use crate::protocol::v2::structured::Structured;
use crate::protocol::v2::turn::{Plan, Turn};
use crate::redaction::Redaction;
use crate::schema::AnswerSchema;
use opencode_run_core::{FailureKind, PermissionPolicy, SessionId, StartError, TurnDriver, TurnRequest};
use std::sync::Arc;
use std::time::SystemTime;

/// The prepared parts of a turn.
pub(crate) struct TurnParts {
    pub(crate) driver: TurnDriver,
    pub(crate) turn_guard: TurnGuard,
    pub(crate) subscription: Subscription,
    pub(crate) session: SessionId,
    /// The session was created for this turn.
    pub(crate) is_new: bool,
    /// The session had no turn before, as far as the executor knows.
    pub(crate) is_first: bool,
    /// The model's name for opencode.
    pub(crate) model: Option<String>,
    pub(crate) schema: Option<AnswerSchema>,
    pub(crate) route_lease: Option<RouteLease>,
}

impl TurnParts {
    /// Returns the turn of a request.
    ///
    /// # Errors
    ///
    /// If the generation needs a model and the turn has no valid one.
    pub(crate) fn turn(self, request: TurnRequest, redaction: Redaction) -> Result<PreparedTurn, StartError> {
        let Self { driver, turn_guard, subscription, session, is_new, is_first, model, schema, route_lease } = self;
        let TurnRequest { prompt, task, .. } = request;
        let directory = task.directory;
        let now = SystemTime::now();
        // Once for each session: the same failures in each turn are noise.
        let start_watch = || ExtensionWatch::start(Arc::clone(turn_guard.server()), directory.clone());
        let extensions = if is_first { start_watch() } else { ExtensionWatch::default() };
        let policy = prompt.options.permissions.clone().unwrap_or_default();
        match turn_guard.server().client.clone() {
            Client::V1(client) => {
                let (message, decoder) = client.compose(&session, &prompt, model.as_deref(), now);
                let agent = prompt.options.agent;
                Ok(PreparedTurn::Decoded(Box::new(ServeTurn {
                    driver,
                    turn_guard,
                    subscription,
                    client,
                    session,
                    directory,
                    message,
                    decoder,
                    agent,
                    policy,
                    schema,
                    route_lease,
                    redaction,
                    extensions,
                })))
            }
            Client::V2(client) => {
                let model = model.as_deref().and_then(|model| model.parse().ok()).ok_or_else(err_no_model)?;
                let structured =
                    schema.zip(prompt.schema.as_ref()).map(|(schema, value)| Structured::new(schema, value));
                let denies = matches!(policy, PermissionPolicy::Deny);
                let plan = Plan { session: session.clone(), is_new, directory, prompt, model, structured, denies };
                let protocol = Box::new(Turn::new(plan, now));
                let send: RequestSender = Arc::new(move |request| {
                    let client = client.clone();
                    Box::pin(async move { client.send(&request).await })
                });
                Ok(PreparedTurn::Protocol(Box::new(ProtocolTurn {
                    driver,
                    turn_guard,
                    subscription,
                    session,
                    protocol,
                    send,
                    policy,
                    route_lease,
                    redaction,
                    extensions,
                })))
            }
        }
    }
}

fn err_no_model() -> StartError {
    StartError::new(FailureKind::Usage, "the model's name is not in the form `provider/model`")
        .hint("name it as `provider/model`")
}
