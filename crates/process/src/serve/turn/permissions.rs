//! Answers permission requests, and retries the requests of a turn.

use crate::protocol::ClientError;
use opencode_run_core::{PermissionAnswer, PermissionHandler, PermissionPolicy, PermissionRequest};
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

/// The reason that the agent gets for a refusal by policy.
const REFUSAL: &str = "This was refused: the run is unattended and its policy does not allow it. Go on without it, or say \
                       what you could not do.";

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

/// Retries a request until it succeeds or fails permanently.
///
/// # Errors
///
/// The last failure.
pub(super) async fn retry<F: Future<Output = Result<String, ClientError>>>(
    request: impl Fn() -> F,
) -> Result<String, ClientError> {
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
