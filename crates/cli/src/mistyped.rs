//! A message that is a single word and resembles a subcommand. On a terminal the user is asked before a model gets
//! it.

use super::args::Cli;
use super::console::Console;
use super::keyboard::drop_typed;
use super::nonblocking::Blocking;
use super::stderr::Stderr;
use clap::CommandFactory;
use opencode_run_process::suggestions;
use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write};

/// The decision about the word.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Send it as the message.
    Message,
    /// Run the subcommand instead.
    Subcommand(String),
    /// Do nothing.
    Nothing,
}

/// Asks the user about the first argument if it is the whole message and resembles a subcommand. Without a
/// terminal, and after `--`, it is the message.
pub(crate) fn decide(cli: &Cli, arguments: &[OsString]) -> Decision {
    let Some((word, name)) = mistyped(cli, arguments) else { return Decision::Message };
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Decision::Message;
    }
    drop_typed();
    Console::warning(&format!("`{word}` is not a subcommand; did you mean `{name}`?"));
    Stderr.write_all(format!("[y]es, run `{name}`; [m]essage, send `{word}` to the model; [n]o: ").as_bytes()).ok();
    answer(&read_line(), name)
}

fn answer(line: &str, name: String) -> Decision {
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" => Decision::Subcommand(name),
        "m" | "message" => Decision::Message,
        _ => Decision::Nothing,
    }
}

/// Returns the word and the similar subcommand.
fn mistyped(cli: &Cli, arguments: &[OsString]) -> Option<(String, String)> {
    let [word] = cli.run.words.as_slice() else { return None };
    let is_first = arguments.get(1).is_some_and(|first| **first == **word);
    if cli.command.is_some()
        || !is_first
        || word.contains(char::is_whitespace)
        || arguments.iter().any(|word| word == "--")
    {
        return None;
    }
    let command = Cli::command();
    let names: Vec<_> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let name = suggestions(word, names.iter().map(String::as_str)).first().copied()?;
    Some((word.clone(), name.to_owned()))
}

/// Reads a line byte by byte, so that further input is left to the subcommand.
fn read_line() -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while let Ok(1) = Blocking(std::io::stdin().lock()).read(&mut byte) {
        if byte[0] == b'\n' {
            break;
        }
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Option<String> {
        let arguments: Vec<OsString> =
            [&["opencode-run"], arguments].concat().into_iter().map(OsString::from).collect();
        mistyped(&Cli::read(arguments.clone()).unwrap(), &arguments).map(|(_, name)| name)
    }

    #[test]
    fn similar_word_is_mistyped() {
        assert_eq!(of(&["modles"]).as_deref(), Some("models"));
        assert_eq!(of(&["docter", "-q"]).as_deref(), Some("doctor"));
        for message in
            [&["hello"][..], &["modles please"], &["modles", "please"], &["--", "modles"], &["-q", "modles"], &["fix"]]
        {
            assert_eq!(of(message), None, "{message:?}");
        }
    }

    #[test]
    fn only_yes_runs_subcommand() {
        let name = || "models".to_owned();
        assert_eq!(answer("Y\n", name()), Decision::Subcommand(name()));
        assert_eq!(answer("m", name()), Decision::Message);
        assert_eq!(answer("", name()), Decision::Nothing);
    }
}
