//! Permissions, asked for on the terminal.

use super::console::visible;
use async_trait::async_trait;
use opencode_run_core::{PermissionAnswer, PermissionAsk, PermissionHandler};
use std::io::Write;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::sync::Mutex;

/// The lines that a person writes: the turns of a chat, and the answers in between.
#[derive(Debug, Clone)]
pub(crate) struct Keyboard(Arc<Mutex<Lines<BufReader<Stdin>>>>);

impl Keyboard {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(BufReader::new(tokio::io::stdin()).lines())))
    }

    /// Returns the next line; none at the end. What was begun when the future is dropped is not lost.
    pub(crate) async fn next_line(&self) -> std::io::Result<Option<String>> {
        self.0.lock().await.next_line().await
    }
}

/// Asks the person at the keyboard.
#[derive(Debug)]
pub(crate) struct Asking(pub(crate) Keyboard);

#[async_trait]
impl PermissionHandler for Asking {
    async fn answer(&self, ask: PermissionAsk) -> PermissionAnswer {
        // One question at a time, also where several tools ask.
        let mut lines = self.0.0.lock().await;
        loop {
            let what = visible(&format!("{} ({})", ask.permission, ask.patterns.join(", ")));
            // A stderr that nobody reads any more has nobody to ask either: the end of stdin answers.
            write!(anstream::stderr(), "\nThe agent asks for {what}. Allow it? [y]es, [n]o, [a]lways: ").ok();
            match lines.next_line().await {
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
