//! Answers opencode's permission requests and questions.

use super::{ABORT_TIMEOUT, RequestOutcome, Running};
use crate::protocol::ClientError;
use opencode_run_core::{
    PermissionAnswer, PermissionHandler, PermissionPolicy, PermissionRequest, QuestionRequest, Signal,
};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The maximum number of attempts at a reply, or at a request after a disconnect: a permission request without a reply
/// blocks the turn forever.
const MAX_TRIES: u32 = 5;
/// The pause between two tries.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of refusals of one permission by policy: a model that insists would request it forever.
const MAX_REFUSALS: usize = 5;

/// The reason that the agent gets for a refusal by policy.
const REFUSAL: &str = "This was refused: the run is unattended and its policy does not allow it. Go on without it, or say \
                       what you could not do.";

impl Running {
    /// Answers a permission request; without an answer it would block the turn forever.
    pub(super) fn answer_permission(&mut self, ask: PermissionRequest) {
        let Some(id) = ask.id.clone() else { return };
        self.unanswered.push(id.clone());
        let times = self.refused.entry((ask.permission.clone(), ask.patterns.clone())).or_default();
        *times += usize::from(ask.refused);
        let insists = *times >= MAX_REFUSALS;
        let (client, directory, _) = self.address();
        let policy = self.policy.clone();
        self.requests.spawn(async move {
            let what = format!("{} ({})", ask.permission, ask.patterns.join(", "));
            let answer = decide(policy, ask, insists).await;
            retried(|| client.answer(&directory, &id, &answer)).await;
            let is_final = matches!(answer, PermissionAnswer::Reject { reason } if reason.is_empty());
            RequestOutcome::Answered { id, refusal: is_final.then_some(what) }
        });
    }

    /// Records that a reply was sent, and ends the turn if it was the final refusal.
    pub(super) fn answered(&mut self, id: String, refusal: Option<String>) {
        self.unanswered.retain(|open| *open != id);
        self.send_queue.push(Signal::Answered { id });
        if let Some(what) = refusal
            && !self.stopped
        {
            self.refusal = Some(what);
            self.stop(ABORT_TIMEOUT);
        }
    }

    /// Rejects a question: the run is unattended.
    pub(super) fn reject_question(&mut self, question: &QuestionRequest) {
        let (client, directory, _) = self.address();
        let id = question.id.clone();
        self.unanswered.push(id.clone());
        tracing::debug!(id, "rejecting a question");
        self.rejected = Some(question.questions.join(" "));
        self.requests.spawn(async move {
            retried(|| client.reject_question(&directory, &id)).await;
            RequestOutcome::Answered { id, refusal: None }
        });
    }
}

/// Returns the policy's answer to a permission request. If the agent insists on a refused permission, the rejection has
/// no reason, which ends the turn.
pub(super) async fn decide(policy: PermissionPolicy, ask: PermissionRequest, insists: bool) -> PermissionAnswer {
    let refusal = || PermissionAnswer::Reject { reason: REFUSAL.to_owned() };
    match policy {
        PermissionPolicy::Allow => PermissionAnswer::Once,
        // A panic of the handler counts as a refusal.
        PermissionPolicy::Ask(handler) => answer_on_own_thread(handler, ask).await.unwrap_or_else(refusal),
        _ if insists => PermissionAnswer::Reject { reason: String::new() },
        _ => refusal(),
    }
}

/// Calls a handler on a dedicated thread, so that one that blocks, on a terminal for example, delays no turn. Returns
/// `None` if it panics. If this future is dropped, the handler's future is dropped too, as soon as it yields.
///
/// The thread is not from the runtime's blocking pool, which has 512 threads: a handler may wait for a person.
async fn answer_on_own_thread(handler: Arc<dyn PermissionHandler>, ask: PermissionRequest) -> Option<PermissionAnswer> {
    let runtime = Handle::current();
    let wanted = CancellationToken::new();
    let dropped = wanted.clone();
    let _guard = wanted.drop_guard();
    let (sender, answer) = oneshot::channel();
    let ask_handler = move || {
        // The turn may be over.
        sender.send(runtime.block_on(dropped.run_until_cancelled(handler.answer(ask)))).ok();
    };
    if let Err(error) = thread::Builder::new().name("opencode-permission".to_owned()).spawn(ask_handler) {
        tracing::warn!(%error, "cannot start a thread for the permission handler: the permission is refused");
    }
    answer.await.ok().flatten()
}

/// Retries a request until it succeeds or fails permanently. Returns `None` if all tries failed.
pub(super) async fn retried<T, F: Future<Output = Result<T, ClientError>>>(request: impl Fn() -> F) -> Option<T> {
    retry(request).await.ok()
}

/// Retries a request until it succeeds or fails permanently.
///
/// # Errors
///
/// The last failure.
pub(super) async fn retry<T, F: Future<Output = Result<T, ClientError>>>(
    request: impl Fn() -> F,
) -> Result<T, ClientError> {
    let mut tries = 0;
    loop {
        let error = match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        tracing::warn!(%error, "a request of a turn failed");
        tries += 1;
        if tries >= MAX_TRIES || matches!(error, ClientError::NotFound(_)) {
            return Err(error);
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}
