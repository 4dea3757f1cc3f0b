//! Asks for permissions on the terminal.

use super::keyboard::Keyboard;
use super::question::{self, CallInput};
use super::screen;
use super::stderr::{OpenQuestion, Stderr, ask_person};
use super::terminal_modes::ShownTyping;
use async_trait::async_trait;
use opencode_run_core::{
    Event, PermissionAnswer, PermissionHandler, PermissionRequest, SessionId, ToolState, TurnEvent,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The timeout for the input of the tool call that needs a permission, which usually arrives before the request.
const INPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks the user at the keyboard.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) keyboard: Keyboard,
    pub(crate) said: PrintedEvents,
}

impl Asking {
    /// Asks on stdin. With a line editor it is read only while a question is open.
    pub(crate) fn new(has_editor: bool) -> Self {
        let keyboard = if has_editor { Keyboard::beside_editor() } else { Keyboard::new() };
        Self { keyboard, said: PrintedEvents::default() }
    }
}

/// The requests and running tool calls of a turn that were already printed.
///
/// A permission request reaches the handler that answers it and the printer of the turn independently, usually the
/// handler first. So the handler waits for the printer.
#[derive(Debug, Clone, Default)]
pub(crate) struct PrintedEvents(Arc<watch::Sender<Printed>>);

#[derive(Debug, Default)]
struct Printed {
    /// The tool call of each permission request, if it is known.
    asks: HashMap<String, Option<CallKey>>,
    /// The inputs of the running tool calls.
    calls: HashMap<CallKey, CallInput>,
}

/// The key of a tool call: its agent, and its id among that agent's calls.
type CallKey = (Option<SessionId>, String);

impl PrintedEvents {
    /// Records that an event was printed.
    pub(crate) fn note(&self, event: &TurnEvent) {
        let agent = || event.observed.sub_agent.clone();
        match &event.observed.event {
            Event::Permission(PermissionRequest { id: Some(id), call, .. }) => self.0.send_modify(|printed| {
                printed.asks.insert(id.clone(), call.clone().map(|call| (agent(), call)));
            }),
            Event::Tool(call) => self.0.send_modify(|printed| {
                let key = (agent(), call.id.clone());
                match call.state {
                    ToolState::Running { .. } => {
                        let given = CallInput { tool: call.tool.clone(), input: call.input.clone() };
                        printed.calls.insert(key, given);
                    }
                    // The input of a pending call is incomplete.
                    _ => drop(printed.calls.remove(&key)),
                }
            }),
            _ => {}
        }
    }

    /// Waits until everything before a permission request is printed, and returns the input of the tool call that
    /// needs it; `None` if opencode does not report it in time.
    async fn wait_for(&self, ask: &PermissionRequest) -> Option<CallInput> {
        let id = ask.id.as_ref()?;
        let mut printed = self.0.subscribe();
        // The sender lives as long as `self`, so that waiting cannot fail.
        let key = printed.wait_for(|printed| printed.asks.contains_key(id)).await.ok()?.asks[id].clone()?;
        let known =
            tokio::time::timeout(INPUT_TIMEOUT, printed.wait_for(|printed| printed.calls.contains_key(&key))).await;
        known.ok()?.ok()?.calls.get(&key).cloned()
    }
}

#[async_trait]
impl PermissionHandler for Asking {
    async fn answer(&self, ask: PermissionRequest) -> PermissionAnswer {
        let input = self.said.wait_for(&ask).await;
        // One question at a time, even if several tools ask.
        let mut keyboard = self.keyboard.hold().await;
        loop {
            // The user must see the question before answering: output waits until the question is shown.
            Stderr::room().await;
            // Nothing else is drawn until it is answered.
            let (_hold, erasure) = screen::hold();
            let _typing = ShownTyping::new();
            let dropped = if keyboard.forget() { "(Input typed before this question is ignored.)\n" } else { "" };
            let question = question::of(&ask, input.as_ref(), screen::size().columns);
            let open = OpenQuestion::new();
            // If the terminal is gone, the end of stdin answers.
            ask_person(&erasure, &format!("{dropped}{question}")).await.ok();
            match keyboard.next_line().await {
                Ok(Some(line)) => {
                    open.answered();
                    let answer =
                        read(&line).filter(|answer| *answer != PermissionAnswer::Always || !ask.always.is_empty());
                    if let Some(answer) = answer {
                        return answer;
                    }
                }
                Ok(None) | Err(_) => return refusal("There was no user to allow it."),
            }
        }
    }
}

/// Parses an answer; `None` if it is invalid.
fn read(line: &str) -> Option<PermissionAnswer> {
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" => Some(PermissionAnswer::Once),
        "a" | "always" => Some(PermissionAnswer::Always),
        "n" | "no" => {
            Some(refusal("The user does not allow this. Look for another way, or report what you could not do."))
        }
        _ => None,
    }
}

fn refusal(reason: &str) -> PermissionAnswer {
    PermissionAnswer::Reject { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_answers_are_rejected() {
        assert_eq!(read(" Y\n"), Some(PermissionAnswer::Once));
        assert_eq!(read("always"), Some(PermissionAnswer::Always));
        assert!(matches!(read("n"), Some(PermissionAnswer::Reject { .. })));
        for line in ["", "yess", "go on"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
