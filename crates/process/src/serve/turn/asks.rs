//! What opencode asks in a turn, and who answers.

use super::{ABORT_LIMIT, Errand, Running};
use crate::dialect::ClientError;
use futures_util::future::FutureExt;
use opencode_run_core::{PermissionAnswer, PermissionAsk, PermissionPolicy, QuestionAsk, Signal};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// How often it is tried to tell opencode an answer, or to hear what was asked while the stream was broken: what is not
/// answered holds the turn up for ever.
const TRIES: u32 = 5;
/// How long is waited between two tries.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How often the same may be asked for and refused by policy: a model that insists on it would do so without end.
const MOST_REFUSALS: usize = 5;

/// What the agent is told when a permission is refused by policy.
const REFUSAL: &str = "This was refused: the run is unattended and its policy does not allow it. Go on without it, or say \
                       what you could not do.";

impl Running {
    /// Answers a permission: an ask that nobody answers would hold the turn up for ever.
    pub(super) fn answer_permission(&mut self, ask: PermissionAsk) {
        let Some(id) = ask.id.clone() else { return };
        let times = self.refused.entry((ask.permission.clone(), ask.patterns.clone())).or_default();
        *times += usize::from(ask.refused);
        let insists = *times >= MOST_REFUSALS;
        let (client, directory, _) = self.address();
        let policy = self.policy.clone();
        self.errands.spawn(async move {
            let what = format!("{} ({})", ask.permission, ask.patterns.join(", "));
            let answer = match policy {
                PermissionPolicy::Allow => PermissionAnswer::Once,
                // Who panics instead of answering has not allowed it.
                PermissionPolicy::Ask(handler) => AssertUnwindSafe(handler.answer(ask))
                    .catch_unwind()
                    .await
                    .unwrap_or_else(|_| PermissionAnswer::Reject { reason: REFUSAL.to_owned() }),
                _ if insists => PermissionAnswer::Reject { reason: String::new() },
                _ => PermissionAnswer::Reject { reason: REFUSAL.to_owned() },
            };
            retried(|| client.answer(&directory, &id, &answer)).await;
            let is_final = matches!(answer, PermissionAnswer::Reject { reason } if reason.is_empty());
            Errand::Answered { id, refusal: is_final.then_some(what) }
        });
    }

    /// Notes that what was asked was answered, and ends the turn where it is to end on that.
    pub(super) fn answered(&mut self, id: String, refusal: Option<String>) {
        self.outbox.push(Signal::Answered { id });
        if let Some(what) = refusal
            && !self.stopped
        {
            self.refusal = Some(what);
            self.stop(ABORT_LIMIT);
        }
    }

    /// Rejects a question: there is nobody to answer it.
    pub(super) fn reject_question(&mut self, question: &QuestionAsk) {
        let (client, directory, _) = self.address();
        let id = question.id.clone();
        tracing::debug!(id, "a question is rejected");
        self.rejected = Some(question.questions.join(" "));
        self.errands.spawn(async move {
            retried(|| client.reject_question(&directory, &id)).await;
            Errand::Answered { id, refusal: None }
        });
    }
}

/// Makes a request until it is answered, or refused for good. Returns none if all was in vain.
pub(super) async fn retried<T, F: Future<Output = Result<T, ClientError>>>(request: impl Fn() -> F) -> Option<T> {
    for _ in 0..TRIES {
        match request().await {
            Ok(answer) => return Some(answer),
            Err(error) => {
                tracing::warn!(%error, "a request of a turn failed");
                if matches!(error, ClientError::NotFound(_)) {
                    return None;
                }
            }
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    None
}
