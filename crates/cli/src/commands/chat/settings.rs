//! The settings of a chat's turns, which its commands change.

use super::slash::{Choice, Typed, help};
use crate::console::Console;
use crate::error::CommandError;
use crate::screen;
use opencode_run_core::{ErrorChain, FailureKind, ModelChoice, ModelName, ModelSourceType, Prompt};
use opencode_runner::{Runner, Undo};

/// The choices for the next turns, which override the options of the chat.
#[derive(Debug, Default)]
pub(super) struct ChatSettings {
    model: Option<ModelName>,
    role: Option<ModelSourceType>,
    context: Option<String>,
    /// The last message that was sent.
    last: Option<String>,
}

impl ChatSettings {
    /// Executes an input. Returns the message to send; `Some(None)` ends the chat.
    pub(super) async fn apply(&mut self, typed: Typed, runner: &Runner, console: Console) -> Option<Option<String>> {
        // The reply to a command is printed even with --quiet, because it was requested.
        let reply = |text: &str| Console { quiet: false, ..console }.note(text);
        match typed {
            Typed::Message(message) => {
                self.last = Some(message.clone());
                return Some(Some(message));
            }
            Typed::Retry => match &self.last {
                Some(message) => return Some(Some(message.clone())),
                None => reply("there is no message to send again"),
            },
            Typed::Exit => return Some(None),
            Typed::Help => reply(&help(screen::size().columns)),
            Typed::Model(choice) => reply(&self.choose_model(choice, runner)),
            Typed::Role(choice) => {
                if let Some(Choice::Value(role)) = choice {
                    (self.role, self.model) = (Some(role), None);
                }
                let role = self.role.map_or("not chosen", ModelSourceType::as_str);
                reply(&format!("model role: {role}"));
            }
            Typed::Context(choice) => {
                match choice {
                    Some(Choice::Value(text)) => self.context = Some(text),
                    // An empty one means no system prompt, whatever the options of the chat are.
                    Some(Choice::Default) => self.context = Some(String::new()),
                    None => {}
                }
                reply(&match self.context.as_deref() {
                    None => "system prompt: from the options".to_owned(),
                    Some("") => "no system prompt".to_owned(),
                    Some(text) => format!("system prompt: {text}"),
                });
            }
            Typed::Cost => reply(&cost(runner)),
            Typed::Save(path) => match runner.save_markdown(path.as_deref()).await {
                Ok(path) => reply(&format!("transcript: {}", path.display())),
                Err(error) => Console::error(&CommandError::of(FailureKind::Io, &error)),
            },
            Typed::Undo => match undo(runner).await {
                Ok(text) => reply(&text),
                Err(error) => Console::error(&error),
            },
            Typed::Wrong(why) => Console::error(&CommandError::usage(why)),
        }
        None
    }

    fn choose_model(&mut self, choice: Option<Choice<ModelName>>, runner: &Runner) -> String {
        self.set_model(choice);
        match (&self.model, self.role, runner.model_of_last_turn()) {
            (Some(model), ..) => format!("model: {model}"),
            (None, Some(role), _) => format!("model: from the role `{role}`"),
            (None, None, Some(ModelChoice::Named(model))) => {
                format!("model: from the options; the last turn ran on {model}")
            }
            (None, None, Some(ModelChoice::Source { source, config })) => {
                format!("model: from the options; the last turn ran on {} of the source `{source}`", config.model)
            }
            _ => "model: from the options".to_owned(),
        }
    }

    fn set_model(&mut self, choice: Option<Choice<ModelName>>) {
        match choice {
            Some(Choice::Value(model)) => (self.model, self.role) = (Some(model), None),
            Some(Choice::Default) => (self.model, self.role) = (None, None),
            None => {}
        }
    }

    /// Returns the prompt of the next turn.
    pub(super) fn prompt(&self, message: String) -> Prompt {
        let mut prompt = Prompt::new(message);
        prompt.options.model = self.model.clone().map(ModelChoice::Named);
        prompt.options.source_type = self.role;
        prompt.options.context.clone_from(&self.context);
        prompt
    }
}

/// Returns the tokens and the cost of a chat so far.
fn cost(runner: &Runner) -> String {
    let conversation = runner.conversation();
    let usage = conversation.usage();
    let input = usage.input + usage.cache_read + usage.cache_write;
    let turns = conversation.turns.len();
    let output = usage.output + usage.reasoning;
    let plural = if turns == 1 { "" } else { "s" };
    format!("{turns} turn{plural} · {input} tokens in, {output} out · ${:.4}", conversation.cost().max(0.0))
}

/// Reverts the last turn, or returns the reason for which it stays.
async fn undo(runner: &Runner) -> Result<String, CommandError> {
    let undone = match runner.undo().await {
        Ok(undone) => undone,
        Err(error) => {
            let message = format!("the turn cannot be undone: {}", ErrorChain::new(&error));
            return Err(CommandError::new(FailureKind::Opencode, message));
        }
    };
    let directory = runner.task_dir().path();
    Ok(match undone {
        Undo::Done { files } if files.is_empty() => {
            "undone: the model forgets the last turn, which changed no file".to_owned()
        }
        Undo::Done { files } => {
            let shown = files.iter().map(|file| file.strip_prefix(directory).unwrap_or(file).display().to_string());
            let shown = shown.collect::<Vec<_>>().join(", ");
            format!("undone: the model forgets the last turn, and these files are as before it: {shown}")
        }
        Undo::NothingLeft => "there is no turn to undo".to_owned(),
        Undo::NoSnapshot => format!(
            "nothing is undone: opencode took no snapshot of {}. It needs a Git repository, and neither --lean nor \
             `\"snapshot\": false` in its configuration",
            directory.display()
        ),
        _ => "nothing is undone: only a server of opencode 1 can undo a turn".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_model_resets_chosen_role() {
        let mut settings = ChatSettings { role: Some(ModelSourceType::Code), ..ChatSettings::default() };
        settings.set_model(Some(Choice::Value("a/b".parse().unwrap())));
        let prompt = settings.prompt("m".to_owned());
        assert!(matches!(prompt.options.model, Some(ModelChoice::Named(_))) && prompt.options.source_type.is_none());
        settings.context = Some(String::new());
        assert_eq!(settings.prompt("m".to_owned()).options.context.as_deref(), Some(""));
    }
}
