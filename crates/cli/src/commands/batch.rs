//! Many tasks.

mod files;
mod known_models;
mod load;
mod progress;
mod run;

pub(super) use self::run::drive;
use super::print::print_text;
use super::shutdown::until_signal;
use crate::args::{BatchArgs, BatchCommand, CtlArgs, CtlRequest};
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::output::TextKind;
use crate::signals::Signals;
use opencode_run_batch::run::{BatchFolder, ControlError, ControlRequest, request};
use opencode_run_core::{ErrorChain, FailureKind};

/// Runs a batch, or one of its subcommands.
pub(crate) async fn batch(args: BatchArgs, signals: Signals, console: Console) -> Code {
    match args.command {
        Some(command) => {
            until_signal(signals, async {
                let done = match command {
                    BatchCommand::Ctl(args) => ctl(args).await,
                    BatchCommand::Export(args) => files::export(args, console).await,
                    BatchCommand::Merge(args) => files::merge(args, console).await,
                };
                ended(done)
            })
            .await
        }
        None => ended(Box::pin(run::run(args.run, signals, console)).await),
    }
}

fn ended(done: Result<Code, CommandError>) -> Code {
    done.unwrap_or_else(|error| {
        Console::error(&error);
        Code::of_kind(error.kind)
    })
}

async fn ctl(args: CtlArgs) -> Result<Code, CommandError> {
    let wanted = match args.request {
        CtlRequest::Status => ControlRequest::Status,
        CtlRequest::Pause => ControlRequest::Pause,
        CtlRequest::Resume => ControlRequest::Resume,
        CtlRequest::Cancel { id } => ControlRequest::Cancel { id },
        CtlRequest::Requeue { id } => ControlRequest::Requeue { id },
        CtlRequest::Jobs { jobs } => ControlRequest::Jobs { jobs: jobs.into() },
        // The batch may work in another directory.
        CtlRequest::Add { file } => ControlRequest::Add { file: std::path::absolute(&file).unwrap_or(file) },
    };
    let folder = BatchFolder::of(&args.results).map_err(|error| CommandError::io(error.to_string()))?;
    let answer = request(&folder.socket(), &wanted).await.map_err(|error| {
        let kind = if matches!(error, ControlError::Io(_)) { FailureKind::Io } else { FailureKind::Usage };
        CommandError::new(kind, ErrorChain::new(&error).to_string())
    })?;
    let text = serde_json::to_string_pretty(&answer).unwrap_or_default() + "\n";
    print_text(TextKind::Json, text).await
}
