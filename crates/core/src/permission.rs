//! The policy for permission requests.

use crate::PermissionRequest;
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;

/// The policy for opencode's permission requests.
///
/// opencode requests permission only for actions that its configuration neither allows nor denies. By default these
/// are access outside the task's directory, reading `.env` files, and calling a tool repeatedly with the same
/// input.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum PermissionPolicy {
    /// Denies, with a reason, so that the agent can try another way.
    #[default]
    Deny,
    /// Allows.
    Allow,
    /// Asks a handler; the turn waits for its answer. Denies if the transport cannot carry an answer.
    Ask(Arc<dyn PermissionHandler>),
}

impl fmt::Debug for PermissionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deny => "Deny",
            Self::Allow => "Allow",
            Self::Ask(_) => "Ask(..)",
        })
    }
}

impl PermissionPolicy {
    /// Creates a policy that calls an async closure. If the turn ends first, the future is dropped.
    ///
    /// ```
    /// use opencode_run_core::{PermissionAnswer, PermissionPolicy};
    ///
    /// let policy = PermissionPolicy::ask(|request| async move {
    ///     if request.permission == "bash" {
    ///         PermissionAnswer::Reject { reason: "no commands, please".to_owned() }
    ///     } else {
    ///         PermissionAnswer::Once
    ///     }
    /// });
    /// # drop(policy);
    /// ```
    pub fn ask<F, A>(answer: F) -> Self
    where
        F: Fn(PermissionRequest) -> A + Send + Sync + 'static,
        A: Future<Output = PermissionAnswer> + Send + 'static,
    {
        Self::Ask(Arc::new(HandlerFn(answer)))
    }
}

/// A [`PermissionHandler`] that calls a closure.
struct HandlerFn<F>(F);

#[async_trait]
impl<F, A> PermissionHandler for HandlerFn<F>
where
    F: Fn(PermissionRequest) -> A + Send + Sync,
    A: Future<Output = PermissionAnswer> + Send,
{
    async fn answer(&self, ask: PermissionRequest) -> PermissionAnswer {
        (self.0)(ask).await
    }
}

/// Answers permission requests.
#[async_trait]
pub trait PermissionHandler: Send + Sync {
    /// Answers a request. If the turn ends first, the future is dropped.
    async fn answer(&self, ask: PermissionRequest) -> PermissionAnswer;
}

/// An answer to a [`PermissionRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermissionAnswer {
    /// Allows this request.
    Once,
    /// Allows this request and similar ones for the lifetime of the session's server. opencode 2 keeps it longer, see
    /// [`always_is_kept`](PermissionRequest::always_is_kept).
    Always,
    /// Denies.
    Reject {
        /// The reason for the agent, so that it can continue in another way. If it is empty, the turn ends.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    struct FakeHandler;

    #[async_trait]
    impl PermissionHandler for FakeHandler {
        async fn answer(&self, _: PermissionRequest) -> PermissionAnswer {
            PermissionAnswer::Once
        }
    }

    #[tokio::test]
    async fn closure_answers_permission_requests() {
        let policy = PermissionPolicy::ask(|ask: PermissionRequest| async move {
            if ask.permission == "edit" { PermissionAnswer::Once } else { PermissionAnswer::Always }
        });
        let PermissionPolicy::Ask(handler) = policy else { panic!("{policy:?}") };
        assert_eq!(handler.answer(PermissionRequest::new("edit", Vec::new())).await, PermissionAnswer::Once);
    }

    #[test]
    fn policy_debug_hides_handler() {
        let policies =
            [PermissionPolicy::default(), PermissionPolicy::Allow, PermissionPolicy::Ask(Arc::new(FakeHandler))];
        assert_eq!(format!("{policies:?}"), "[Deny, Allow, Ask(..)]");
    }
}
