//! What opencode asks in a turn, and who answers.

use super::{ABORT_TIMEOUT, RequestOutcome, Running};
use crate::protocol::ClientError;
use opencode_run_core::{PermissionAnswer, PermissionAsk, PermissionHandler, PermissionPolicy, QuestionAsk, Signal};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How often it is tried to tell opencode an answer, or to hear what was asked while the stream was broken: what is not
/// answered holds the turn up for ever.
const MAX_TRIES: u32 = 5;
/// How long is waited between two tries.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How often the same may be asked for and refused by policy: a model that insists on it would do so without end.
const MAX_REFUSALS: usize = 5;

/// What the agent is told when a permission is refused by policy.
const REFUSAL: &str = "This was refused: the run is unattended and its policy does not allow it. Go on without it, or say \
                       what you could not do.";

impl Running {
    /// Answers a permission: an ask that nobody answers would hold the turn up for ever.
    pub(super) fn answer_permission(&mut self, ask: PermissionAsk) {
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

    /// Notes that what was asked was answered, and ends the turn where it is to end on that.
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

    /// Rejects a question: there is nobody to answer it.
    pub(super) fn reject_question(&mut self, question: &QuestionAsk) {
        let (client, directory, _) = self.address();
        let id = question.id.clone();
        self.unanswered.push(id.clone());
        tracing::debug!(id, "a question is rejected");
        self.rejected = Some(question.questions.join(" "));
        self.requests.spawn(async move {
            retried(|| client.reject_question(&directory, &id)).await;
            RequestOutcome::Answered { id, refusal: None }
        });
    }
}

/// Returns the answer of a policy to a permission request. If the agent insists on what was refused, the rejection has no reason, which
/// ends the turn.
pub(super) async fn decide(policy: PermissionPolicy, ask: PermissionAsk, insists: bool) -> PermissionAnswer {
    let refusal = || PermissionAnswer::Reject { reason: REFUSAL.to_owned() };
    match policy {
        PermissionPolicy::Allow => PermissionAnswer::Once,
        // A handler that panics has not allowed it.
        PermissionPolicy::Ask(handler) => answer_on_own_thread(handler, ask).await.unwrap_or_else(refusal),
        _ if insists => PermissionAnswer::Reject { reason: String::new() },
        _ => refusal(),
    }
}

/// Asks a handler on a thread of its own: one that blocks, such as on a terminal, must delay no turn. Returns `None` if it panics. If
/// this future is dropped, the handler's is dropped too, as soon as it yields.
///
/// The thread is not one of the runtime's threads for blocking work: there are 512 of these, and a handler may wait for a person.
async fn answer_on_own_thread(handler: Arc<dyn PermissionHandler>, ask: PermissionAsk) -> Option<PermissionAnswer> {
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
        tracing::warn!(%error, "no thread can be started to ask for a permission, which is refused");
    }
    answer.await.ok().flatten()
}

/// Makes a request until it is answered, or refused for good. Returns none if all was in vain.
pub(super) async fn retried<T, F: Future<Output = Result<T, ClientError>>>(request: impl Fn() -> F) -> Option<T> {
    retry(request).await.ok()
}

/// Sends a request until it is answered, or refused for good.
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
