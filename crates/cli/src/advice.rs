//! Advice to the user about a failure: the only module that maps remedies to options.

use crate::error::CommandError;
use opencode_run_core::{Conversation, ModelChoice, Remedy, TurnFailure};
use opencode_run_process::resource_hint;
use opencode_runner::{BuildError, RunnerError};

/// Returns a remedy as a sentence that names the command's options and subcommands.
pub(crate) fn sentence(remedy: &Remedy) -> String {
    match remedy {
        Remedy::InstallOpencode => {
            "run `opencode-run setup` to install a tested opencode, or name one with --opencode PATH"
        }
        Remedy::CorrectOpencodePath => "check the path given with --opencode: it names the opencode executable itself",
        Remedy::ProtectOpencode => {
            "deny them write access (`chmod go-w`, or `chown`), install it again with `opencode-run setup --force`, or name \
             an opencode with --opencode"
        }
        Remedy::ReinstallOpencode => "reinstall it, or run `opencode-run setup` without --opencode",
        Remedy::UseTestedOpencode => {
            "run `opencode-run setup` for a private, tested opencode 1.x and name it with --opencode, or install that \
             version yourself"
        }
        Remedy::CheckOpencode => "check it with `opencode-run doctor`, or install a tested one with `opencode-run setup`",
        Remedy::CheckOpencodeOrRunWithoutServer => "check it with `opencode-run doctor`, or use `--transport run`",
        Remedy::RunWithoutServer => "use `--transport run`",
        Remedy::UseServer => "use `--transport serve`",
        Remedy::UseServerOrTestedOpencode => {
            "use `--transport serve`, or another version: `opencode-run setup` installs a tested one"
        }
        Remedy::IsolateDatabase => "start it again later, or with `--isolated`, which has a database of its own",
        Remedy::ListModels => "`opencode-run models` lists the models that can be used",
        Remedy::UseGateway => "remove --no-gateway",
        Remedy::RemoveParameterOrUseGateway => "remove it, or remove --no-gateway",
        Remedy::UseSourceWithGateway => "use a model source of a .env file, without --no-gateway",
        Remedy::BypassGateway => "use --no-gateway: opencode then sends the requests itself and has the key",
        Remedy::RemoveKeyOrBypassGateway => {
            "remove the key from the variable, or let opencode have it with --no-gateway"
        }
        Remedy::SetPrices(source) => {
            let role = source.as_str().to_uppercase();
            return format!("set MODEL_{role}_PRICE_INPUT and MODEL_{role}_PRICE_OUTPUT");
        }
        Remedy::UseModelOfServer => {
            "name a model of the server with --model, and ignore the model sources with --no-env"
        }
        Remedy::ChooseWorkspace => {
            "choose a writable workspace with --workspace, or work in a directory with --dir"
        }
        Remedy::NameJournalledTask => {
            "name the directory of a task with a journal: every task has one, unless --no-journal was given"
        }
        Remedy::BeginNewSession => {
            "run `resume` without a message to show it, or begin a new one in the same directory with --dir, without \
             --isolated if you want to continue it later"
        }
        Remedy::OmitDirectory => "remove --dir: a session works in its own directory",
        Remedy::CorrectConfigurationOrNameModel => "correct opencode's configuration, or name a model with --model",
        Remedy::NameModelOrSource => "set the source's file with --config, or a model with --model",
        other => return other.to_string(),
    }
    .to_owned()
}

/// Returns the error of a failed turn, with a hint. `model` is the one that was requested.
pub(crate) fn describe(
    failure: &TurnFailure,
    model: Option<&ModelChoice>,
    conversation: &Conversation,
) -> CommandError {
    let error = CommandError::new(failure.kind(), failure.to_string());
    let source = match model {
        Some(ModelChoice::Source { source, config }) => Some((source, config)),
        _ => None,
    };
    match failure {
        TurnFailure::Provider { status: Some(404), .. } => {
            match source.and_then(|(_, config)| config.base_url.as_deref()) {
                Some(url) if !url.trim_end_matches('/').ends_with("/v1") => {
                    error.hint(format!("the base URL {url} may lack /v1"))
                }
                Some(url) => error.hint(format!("check the base URL {url} and the model's name")),
                None => error,
            }
        }
        TurnFailure::Provider { status: Some(401 | 403), .. } => match source {
            Some((source, _)) => error.hint(format!("check the key of the model source `{source}`")),
            None => error.hint("log in to the provider with `opencode auth login`"),
        },
        TurnFailure::MalformedAnswer { .. } => match source {
            Some((source, config)) => {
                let type_ = source.as_str().to_uppercase();
                let package = config.provider.as_str();
                error.hint(format!(
                    "check that MODEL_{type_}_BASEURL is where the API begins, usually a path that ends in /v1, and that \
                     the server there speaks the protocol of MODEL_{type_}_PROVIDER, which is {package}"
                ))
            }
            None => error.hint("check the provider's base URL and package in opencode's configuration"),
        },
        TurnFailure::ModelNotFound { .. } => error.hint("`opencode-run models` lists the models that can be used"),
        TurnFailure::AgentNotFound { .. } => {
            error.hint("`opencode agent list` lists the agents; one that leads a turn is a primary one")
        }
        TurnFailure::SessionNotFound { .. } => error
            .hint("`opencode session list` shows the sessions of a project; opencode 1 and 2 list different ones"),
        TurnFailure::Permission { .. } => error.hint(
            "allow it in opencode's configuration (`permission`), allow all with `--permission allow`, or ask for it to be \
             done another way",
        ),
        TurnFailure::Crashed { .. } | TurnFailure::ServerLost { .. }
            if let Some(hint) = resource_hint(&failure.to_string()) =>
        {
            error.hint(hint)
        }
        TurnFailure::Configuration { .. } => error.hint("correct it: opencode itself rejects it too"),
        // The session of an isolated run is deleted with its home.
        TurnFailure::Crashed { .. } | TurnFailure::ServerLost { .. }
            if conversation.task.isolated || conversation.session.is_none() =>
        {
            error.hint("`opencode-run doctor` checks the installation")
        }
        TurnFailure::Crashed { .. } | TurnFailure::ServerLost { .. } => {
            error.hint("the session can be continued with `--session`; `opencode-run doctor` checks the installation")
        }
        _ => error,
    }
}

impl From<BuildError> for CommandError {
    fn from(error: BuildError) -> Self {
        Self::of(error.kind(), &error).hint_or_resource(error.remedy().as_ref().map(sentence))
    }
}

impl From<RunnerError> for CommandError {
    fn from(error: RunnerError) -> Self {
        Self::of(error.kind(), &error).hint_or_resource(error.remedy().as_ref().map(sentence))
    }
}
