//! Permissions, asked for on the terminal.

use super::console::visible;
use super::keyboard::Keyboard;
use super::stderr::{Stderr, ask_person};
use async_trait::async_trait;
use opencode_run_core::{PermissionAnswer, PermissionAsk, PermissionHandler};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::watch;

/// Asks the person at the keyboard.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) keyboard: Keyboard,
    pub(crate) said: Said,
}

impl Asking {
    pub(crate) fn new() -> Self {
        Self { keyboard: Keyboard::new(), said: Said::default() }
    }
}

/// Up to which questions all is printed that came before them.
///
/// A question comes to who answers it and to who prints the turn on two ways, of which the first is the shorter one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said(Arc<watch::Sender<HashSet<String>>>);

impl Said {
    /// Notes that what came before this question is out.
    pub(crate) fn up_to(&self, ask: &PermissionAsk) {
        if let Some(id) = &ask.id {
            self.0.send_modify(|ids| {
                ids.insert(id.clone());
            });
        }
    }

    /// Waits until what came before this question is out.
    async fn wait_for(&self, ask: &PermissionAsk) {
        if let Some(id) = &ask.id {
            // The sender lives as long as `self`, so that waiting cannot fail.
            self.0.subscribe().wait_for(|ids| ids.contains(id)).await.ok();
        }
    }
}

#[async_trait]
impl PermissionHandler for Asking {
    async fn answer(&self, ask: PermissionAsk) -> PermissionAnswer {
        self.said.wait_for(&ask).await;
        // One question at a time, also where several tools ask.
        let mut keyboard = self.keyboard.hold().await;
        let what = visible(&format!("{} ({})", ask.permission, ask.patterns.join(", ")));
        loop {
            // Nobody agrees to what they have not seen: from here on nothing is waited for until the question is shown.
            Stderr::room().await;
            let dropped = if keyboard.forget() { "(What was typed before this question is dropped.)\n" } else { "" };
            // A stderr that nobody reads any more has nobody to ask either: the end of stdin answers.
            ask_person(&format!("{dropped}The agent asks for {what}. Allow it? [y]es, [n]o, [a]lways: ")).ok();
            match keyboard.next_line().await {
                Ok(Some(line)) => {
                    if let Some(answer) = read(&line) {
                        return answer;
                    }
                }
                Ok(None) | Err(_) => return refusal("Nobody was there to allow it."),
            }
        }
    }
}

/// Reads an answer; none if it is not one.
fn read(line: &str) -> Option<PermissionAnswer> {
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" => Some(PermissionAnswer::Once),
        "a" | "always" => Some(PermissionAnswer::Always),
        "n" | "no" => {
            Some(refusal("The user does not allow this. Look for another way, or say what you could not do."))
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
    fn only_an_answer_is_one() {
        assert_eq!(read(" Y\n"), Some(PermissionAnswer::Once));
        assert_eq!(read("always"), Some(PermissionAnswer::Always));
        assert!(matches!(read("n"), Some(PermissionAnswer::Reject { .. })));
        for line in ["", "yess", "go on"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
