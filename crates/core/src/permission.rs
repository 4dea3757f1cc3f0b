//! Who decides what the agent may do.

use crate::PermissionAsk;
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;

/// What is answered when opencode asks whether a tool may do something.
///
/// opencode asks only for what its configuration neither allows nor denies; by default that is work outside of the task's
/// directory, reading `.env` files, and a tool that is called over and over with the same input.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum PermissionPolicy {
    /// No, with a reason, so that the agent can look for another way.
    #[default]
    Deny,
    /// Yes.
    Allow,
    /// Somebody is asked, and the turn waits for the answer. Where the transport cannot carry an answer it is no.
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
    /// Asks an async closure. A turn that ends meanwhile drops its future.
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
        F: Fn(PermissionAsk) -> A + Send + Sync + 'static,
        A: Future<Output = PermissionAnswer> + Send + 'static,
    {
        Self::Ask(Arc::new(Asking(answer)))
    }
}

/// A closure as a handler.
struct Asking<F>(F);

#[async_trait]
impl<F, A> PermissionHandler for Asking<F>
where
    F: Fn(PermissionAsk) -> A + Send + Sync,
    A: Future<Output = PermissionAnswer> + Send,
{
    async fn answer(&self, ask: PermissionAsk) -> PermissionAnswer {
        (self.0)(ask).await
    }
}

/// Somebody who is asked.
#[async_trait]
pub trait PermissionHandler: Send + Sync {
    /// Answers. A turn that ends meanwhile drops the future.
    async fn answer(&self, ask: PermissionAsk) -> PermissionAnswer;
}

/// An answer to a [`PermissionAsk`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermissionAnswer {
    /// Yes, this time.
    Once,
    /// Yes, and to the like of it for as long as the session's server lives.
    Always,
    /// No.
    Reject {
        /// What the agent is told, so that it can go on another way. If it is empty, the turn ends on the refusal.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    #[async_trait]
    impl PermissionHandler for Nobody {
        async fn answer(&self, _: PermissionAsk) -> PermissionAnswer {
            PermissionAnswer::Once
        }
    }

    #[tokio::test]
    async fn closure_is_asked() {
        let policy = PermissionPolicy::ask(|ask: PermissionAsk| async move {
            if ask.permission == "edit" { PermissionAnswer::Once } else { PermissionAnswer::Always }
        });
        let PermissionPolicy::Ask(handler) = policy else { panic!("{policy:?}") };
        assert_eq!(handler.answer(PermissionAsk::new("edit", Vec::new())).await, PermissionAnswer::Once);
    }

    #[test]
    fn a_policy_is_shown_without_who_is_asked() {
        let policies = [PermissionPolicy::default(), PermissionPolicy::Allow, PermissionPolicy::Ask(Arc::new(Nobody))];
        assert_eq!(format!("{policies:?}"), "[Deny, Allow, Ask(..)]");
    }
}
