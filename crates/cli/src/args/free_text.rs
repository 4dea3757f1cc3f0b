//! Free text among the arguments, which may begin with a hyphen like an option.

use super::{Cli, Command};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use std::ffi::OsString;

impl Cli {
    /// Parses the arguments. A word of the message may be a list item such as `- fix the test`, because no option
    /// begins with a hyphen and a blank. Other words that begin with a hyphen are treated as misspelt options.
    ///
    /// # Errors
    ///
    /// If the arguments are invalid, or request the help.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<_> = arguments.into_iter().collect();
        let error = match Self::try_parse_from(&arguments) {
            Err(error) if error.kind() == ErrorKind::UnknownArgument => error,
            read => return read,
        };
        // The parser rejects list items, so they are marked in front of the hyphen. An option whose value is not
        // free text would keep the mark.
        let command = Self::command();
        let mut belongs_to_option = false;
        let marked = arguments.into_iter().map(|argument| {
            let is_word = !std::mem::replace(&mut belongs_to_option, takes_other_value(&command, &argument));
            match argument.to_str() {
                Some(text) if is_word && is_list_item(text) => format!("{LIST_ITEM_MARK}{text}").into(),
                _ => argument,
            }
        });
        let Ok(mut cli) = Self::try_parse_from(marked) else { return Err(error) };
        let run = match &mut cli.command {
            Some(Command::Resume(args)) => &mut args.run,
            _ => &mut cli.run,
        };
        let texts = [&mut run.message, &mut run.task.instructions.context, &mut run.task.title].into_iter().flatten();
        for text in run.words.iter_mut().chain(texts) {
            if let Some(item) = text.strip_prefix(LIST_ITEM_MARK) {
                *text = item.to_owned();
            }
        }
        Ok(cli)
    }
}

/// The mark in front of a list item during parsing, a code point that Unicode reserves for internal use.
const LIST_ITEM_MARK: char = '\u{fdd0}';

/// Returns whether an argument is a hyphen followed by a blank and text.
fn is_list_item(argument: &str) -> bool {
    argument.strip_prefix('-').is_some_and(|rest| rest.starts_with(char::is_whitespace))
}

fn all_arguments(command: &clap::Command) -> impl Iterator<Item = &clap::Arg> {
    std::iter::once(command).chain(command.get_subcommands()).flat_map(clap::Command::get_arguments)
}

fn names(arg: &clap::Arg) -> impl Iterator<Item = String> {
    let aliases = arg.get_all_aliases().into_iter().flatten();
    let long = arg.get_long().into_iter().chain(aliases).map(|long| format!("--{long}"));
    long.chain(arg.get_short().map(|short| format!("-{short}")))
}

/// Returns whether an argument is an option whose value is the next argument and is not free text.
fn takes_other_value(command: &clap::Command, argument: &OsString) -> bool {
    all_arguments(command).any(|arg| {
        arg.get_action().takes_values()
            && !arg.is_allow_hyphen_values_set()
            && names(arg).any(|name| *argument == *name)
    })
}

/// An option of free text that is followed by another option instead of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MissingText {
    /// The option without text.
    pub(crate) option: String,
    /// The option that follows it.
    pub(crate) next: String,
}

impl Cli {
    /// Returns an option of free text that is followed by a known option. Such text may begin with a hyphen, so the
    /// parser took that option for the text.
    pub(crate) fn missing_text(arguments: impl Iterator<Item = OsString>) -> Option<MissingText> {
        let command = Self::command();
        let all: Vec<_> = all_arguments(&command).collect();
        let is_text = |name: &str| {
            all.iter().any(|arg| arg.is_allow_hyphen_values_set() && names(arg).any(|known| known == name))
        };
        let is_option = |name: &str| {
            let name = name.split_once('=').map_or(name, |(name, _)| name);
            all.iter().any(|arg| names(arg).any(|known| known == name))
        };
        let arguments: Vec<_> =
            arguments.filter_map(|argument| argument.into_string().ok()).take_while(|word| word != "--").collect();
        let mut words = arguments.iter();
        while let Some(option) = words.next() {
            if is_text(option) {
                let next = words.next()?;
                if is_option(next) {
                    return Some(MissingText { option: option.clone(), next: next.clone() });
                }
            }
        }
        None
    }
}
