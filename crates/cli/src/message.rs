//! Composes the message of a turn from the arguments and stdin.

use super::closed_streams::was_stdin_closed;
use super::error::CommandError;
use super::input_file::read_bounded;
use super::nonblocking::Blocking;
use super::warnings;
use opencode_runner::{Warning, WarningCode};
use std::io::IsTerminal;

/// The maximum size of a message on stdin in bytes, more than the context of any model.
const MAX_MESSAGE_BYTES: u64 = 16 << 20;

/// Composes the message.
///
/// stdin is read only if `-` occurs among the words, or if no words are given and it is not a terminal, so that an
/// inherited pipe that is never closed does not block.
///
/// # Errors
///
/// If there is no message, it is blank, or stdin is not text.
pub(crate) async fn compose(words: &[String], option: Option<&str>) -> Result<String, CommandError> {
    let message = if let Some(text) = option {
        if text == "-" { read_stdin().await? } else { text.to_owned() }
    } else if words.iter().any(|word| word == "-") {
        let stdin = read_stdin().await?;
        if stdin.trim().is_empty() && words.len() > 1 {
            let warning = Warning::new(WarningCode::EmptyStdin, "stdin is empty, so nothing replaces `-`");
            warnings::warn(warning.hint("check the command before the pipe"));
        }
        join(words, &stdin)
    } else if words.is_empty() {
        if std::io::stdin().is_terminal() {
            let error = CommandError::usage("there is no message");
            return Err(error.hint("write what to do: opencode-run \"fix the failing test\" --dir ."));
        }
        read_stdin().await?
    } else {
        words.join(" ")
    };
    check(message)
}

/// Composes the message like [`compose`]. `None` if there are no words and stdin is empty, closed or a terminal.
///
/// # Errors
///
/// If the message is blank although there are words, or stdin is not text.
pub(crate) async fn compose_if_any(words: &[String], option: Option<&str>) -> Result<Option<String>, CommandError> {
    if option.is_some() || !words.is_empty() {
        return compose(words, option).await.map(Some);
    }
    if was_stdin_closed() || std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let message = read_stdin().await?;
    if message.trim().is_empty() { Ok(None) } else { check(message).map(Some) }
}

/// Rejects a blank message.
pub(crate) fn check(message: String) -> Result<String, CommandError> {
    if message.trim().is_empty() {
        let error = CommandError::usage("the message is blank");
        return Err(error.hint("write what to do: opencode-run \"fix the failing test\" --dir ."));
    }
    if message.contains('\0') {
        return Err(CommandError::usage("the message contains a NUL byte, so it is not text"));
    }
    Ok(message)
}

/// Joins words with spaces, and the text for `-` with blank lines, because it usually has many lines.
fn join(words: &[String], stdin: &str) -> String {
    let parts: Vec<String> = words.split(|word| word == "-").map(|between| between.join(" ")).collect();
    let mut message = String::new();
    for (index, part) in parts.iter().enumerate() {
        for text in [if index > 0 { stdin } else { "" }, part] {
            if !text.is_empty() && !message.is_empty() {
                message.push_str("\n\n");
            }
            message.push_str(text);
        }
    }
    message
}

async fn read_stdin() -> Result<String, CommandError> {
    let failed = |why: String| CommandError::usage(format!("the message cannot be read from stdin: {why}"));
    if was_stdin_closed() {
        return Err(failed("it is closed".to_owned()));
    }
    tokio::task::spawn_blocking(|| read_bounded(Blocking(std::io::stdin().lock()), MAX_MESSAGE_BYTES))
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|why| failed(why).hint("attach data with --file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(words: &[&str]) -> String {
        join(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), "+ line\n- line\n")
    }

    #[test]
    fn dash_inserts_stdin() {
        assert_eq!(joined(&["review", "this", "-"]), "review this\n\n+ line\n- line\n");
        assert_eq!(joined(&["-", "explain"]), "+ line\n- line\n\n\nexplain");
        assert_eq!(joined(&["-"]), "+ line\n- line\n");
    }

    #[tokio::test]
    async fn blank_message_is_rejected() {
        for blank in ["", "   ", "\n\t"] {
            assert_eq!(compose(&[blank.to_owned()], None).await.unwrap_err().kind.as_str(), "usage");
            assert_eq!(compose(&[], Some(blank)).await.unwrap_err().kind.as_str(), "usage");
        }
        assert!(compose(&["a\0b".to_owned()], None).await.is_err());
        assert_eq!(compose(&["a b".to_owned(), "\"c\"".to_owned()], None).await.unwrap(), "a b \"c\"");
    }
}
