//! The commands of a chat: lines that begin with `/`.

use crate::word_wrap::wrap;
use opencode_run_core::{ModelName, ModelSourceType};
use opencode_run_process::suggestions;
use std::path::PathBuf;

/// The commands, each with its argument and its purpose.
pub(super) const COMMANDS: [(&str, &str, &str); 10] = [
    ("/help", "", "list these commands"),
    ("/model", "[PROVIDER/MODEL]", "show or choose the model; `default` resets it"),
    ("/role", "[ROLE]", "show or choose: plan, think, code, write, default"),
    ("/context", "[TEXT]", "show or set the system prompt; `none` removes it"),
    ("/cost", "", "show tokens and cost so far"),
    ("/save", "[PATH]", "save the transcript as Markdown"),
    ("/retry", "", "send the last message again"),
    ("/undo", "", "undo the last turn and its changes to files"),
    ("/exit", "", "end the chat, as Ctrl-D does"),
    ("/quit", "", "end the chat, as Ctrl-D does"),
];

/// A parsed line.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Typed {
    Message(String),
    Help,
    /// The model, or `default`; `None` shows it.
    Model(Option<Choice<ModelName>>),
    Role(Option<Choice<ModelSourceType>>),
    Context(Option<Choice<String>>),
    Cost,
    Save(Option<PathBuf>),
    Retry,
    Undo,
    Exit,
    /// An invalid command, with the reason.
    Wrong(String),
}

/// A choice, or the removal of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Choice<T> {
    Value(T),
    Default,
}

impl Typed {
    /// Parses a line. A path such as `/etc/hosts` begins a message, as does a blank before the slash.
    pub(super) fn read(line: &str) -> Self {
        let text = line.trim_end();
        let (name, argument) = match text.split_once(char::is_whitespace) {
            Some((name, argument)) => (name, argument.trim()),
            None => (text, ""),
        };
        if !name.starts_with('/') || name[1..].contains('/') {
            return Self::Message(line.to_owned());
        }
        let argument = (!argument.is_empty()).then_some(argument);
        match (name, argument) {
            ("/help", None) => Self::Help,
            ("/model", argument) => chosen(argument, "default", str::parse).map_or_else(Self::Wrong, Self::Model),
            ("/role", argument) => chosen(argument, "", str::parse).map_or_else(Self::Wrong, Self::Role),
            ("/context", argument) => {
                let context = chosen(argument, "none", |text| Ok::<_, String>(text.to_owned()));
                context.map_or_else(Self::Wrong, Self::Context)
            }
            ("/cost", None) => Self::Cost,
            ("/save", path) => Self::Save(path.map(PathBuf::from)),
            ("/retry", None) => Self::Retry,
            ("/undo", None) => Self::Undo,
            ("/exit" | "/quit", None) => Self::Exit,
            _ => Self::Wrong(wrong(name)),
        }
    }
}

fn chosen<T, E: ToString>(
    argument: Option<&str>,
    default: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<Choice<T>>, String> {
    match argument {
        None => Ok(None),
        Some(text) if text == default => Ok(Some(Choice::Default)),
        Some(text) => parse(text).map(|value| Some(Choice::Value(value))).map_err(|error| error.to_string()),
    }
}

fn wrong(name: &str) -> String {
    let names = COMMANDS.map(|(name, ..)| name);
    if names.contains(&name) {
        return format!("`{name}` takes no argument");
    }
    let similar = suggestions(name, names).first().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    format!("`{name}` is not a command{similar} (/help lists them; a blank before the slash sends the line)")
}

/// The column of the purposes in the help.
const PURPOSE_COLUMN: usize = 29;
/// The minimum width of the purposes. In a narrower window they are below their commands.
const MIN_PURPOSE_COLUMNS: usize = 24;
/// The column of the purposes below their commands.
const NARROW_PURPOSE_COLUMN: usize = 6;

/// Returns the help for a terminal of this width.
pub(super) fn help(columns: usize) -> String {
    // The last column stays empty.
    let columns = columns.saturating_sub(1);
    let is_narrow = columns < PURPOSE_COLUMN + MIN_PURPOSE_COLUMNS;
    let indent = if is_narrow { NARROW_PURPOSE_COLUMN } else { PURPOSE_COLUMN };
    let row = |(name, argument, purpose): (&str, &str, &str)| {
        let command = format!("  {}", format!("{name} {argument}").trim_end());
        let purpose = wrap(purpose, columns.saturating_sub(indent), 0);
        let purpose = purpose.replace('\n', &format!("\n{:indent$}", ""));
        if is_narrow {
            format!("{command}\n{:indent$}{purpose}\n", "")
        } else {
            format!("{command:<indent$}{purpose}\n")
        }
    };
    let commands: String = COMMANDS.into_iter().map(row).collect();
    format!(
        "{commands}Enter sends the message; Alt-Enter, or a backslash before Enter, begins a new line. Tab completes commands, models \
         and files, Ctrl-R searches the history, Ctrl-C stops the turn or clears the line, Ctrl-D ends the chat."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_or_messages() {
        assert_eq!(Typed::read("/help "), Typed::Help);
        assert_eq!(Typed::read("/model"), Typed::Model(None));
        assert_eq!(Typed::read("/model a/b"), Typed::Model(Some(Choice::Value("a/b".parse().unwrap()))));
        assert_eq!(Typed::read("/model default"), Typed::Model(Some(Choice::Default)));
        assert_eq!(Typed::read("/role code"), Typed::Role(Some(Choice::Value(ModelSourceType::Code))));
        assert_eq!(Typed::read("/context be\nbrief"), Typed::Context(Some(Choice::Value("be\nbrief".to_owned()))));
        assert_eq!(Typed::read("/save a b.md"), Typed::Save(Some("a b.md".into())));
        for message in ["hello", " /help", "/etc/hosts is wrong", "a /help"] {
            assert_eq!(Typed::read(message), Typed::Message(message.to_owned()));
        }
        for (line, reason) in
            [("/hlep", "did you mean `/help`"), ("/cost now", "no argument"), ("/role x", "not a model")]
        {
            assert!(matches!(Typed::read(line), Typed::Wrong(why) if why.contains(reason)), "{line}");
        }
    }

    #[test]
    fn help_names_every_command() {
        let help = help(80);
        for (name, ..) in COMMANDS {
            assert!(help.contains(name), "{name}");
        }
    }

    #[test]
    fn purposes_in_help_are_aligned() {
        for columns in [54, 60, 80, 200] {
            let help = help(columns);
            let table = &help[..help.find("Enter sends").unwrap()];
            for line in table.lines() {
                assert!(line.len() < columns, "{columns}: {line:?}");
                assert!(
                    line.as_bytes()[27..30].starts_with(b"  ") && line.as_bytes()[29] != b' ',
                    "{columns}: {line:?}"
                );
            }
        }
        let narrow = help(40);
        assert!(
            narrow
                .contains("\n  /model [PROVIDER/MODEL]\n      show or choose the model;\n      `default` resets it\n"),
            "{narrow}"
        );
    }
}
