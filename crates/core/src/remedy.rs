//! Remedies for failures, as data.

use crate::ModelSourceType;
use std::borrow::Cow;
use std::fmt;

/// A remedy for a failure. Each program maps it to its own interface: the command names options, a service may act
/// on it automatically.
///
/// Its `Display` text is a sentence that fits every program.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Advice that is the same for every program.
    Advice(Cow<'static, str>),
    /// Install opencode, or name an executable.
    InstallOpencode,
    /// Correct the path of opencode's executable.
    CorrectOpencodePath,
    /// Deny other users write access to the installed opencode, or reinstall it.
    ProtectOpencode,
    /// Install opencode again.
    ReinstallOpencode,
    /// Use a version of opencode that was tested.
    UseTestedOpencode,
    /// Check that opencode works, and reinstall it if it does not.
    CheckOpencode,
    /// Check that opencode works, or run turns without a server.
    CheckOpencodeOrRunWithoutServer,
    /// Run each turn in its own process, without a server.
    RunWithoutServer,
    /// Run turns on a server.
    UseServer,
    /// Run turns on a server, or use a version of opencode that was tested.
    UseServerOrTestedOpencode,
    /// Use an isolated opencode, which has a database of its own, or wait.
    IsolateDatabase,
    /// Choose one of the models that can be used.
    ListModels,
    /// Let the credential gateway send the requests to the model.
    UseGateway,
    /// Remove the parameter that only the credential gateway can set, or use the gateway.
    RemoveParameterOrUseGateway,
    /// Use a model source with the credential gateway, which counts the usage.
    UseSourceWithGateway,
    /// Let opencode reach the model's provider without the credential gateway.
    BypassGateway,
    /// Remove the key from the variable, or bypass the credential gateway and let opencode have the key.
    RemoveKeyOrBypassGateway,
    /// Set the prices of a model source.
    SetPrices(ModelSourceType),
    /// Use a model of the attached server instead of a model source.
    UseModelOfServer,
    /// Choose another workspace, or work in a directory that exists.
    ChooseWorkspace,
    /// Name the directory of a task that has a journal.
    NameJournalledTask,
    /// Begin a new session in the directory, not isolated if it will be continued.
    BeginNewSession,
    /// Omit the directory if a session is given.
    OmitDirectory,
    /// Configure the model source of the previous turn again, or name a model.
    NameModelOrSource,
    /// Correct the configuration of opencode, or name a model.
    CorrectConfigurationOrNameModel,
}

impl Remedy {
    /// Creates advice from a sentence.
    pub fn advice(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Advice(text.into())
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Advice(text) => text,
            Self::InstallOpencode => "install opencode, or name an executable",
            Self::CorrectOpencodePath => "check the path of opencode: it names the executable itself",
            Self::ProtectOpencode => {
                "deny other users write access to it (`chmod go-w`, or `chown`), or install it again"
            }
            Self::ReinstallOpencode => "reinstall opencode",
            Self::UseTestedOpencode => "install a tested version of opencode and name its executable",
            Self::CheckOpencode => "check that opencode works, and reinstall it if it does not",
            Self::CheckOpencodeOrRunWithoutServer => "check that opencode works, or use the transport `run`",
            Self::RunWithoutServer => "use the transport `run`",
            Self::UseServer => "use the transport `serve`",
            Self::UseServerOrTestedOpencode => "use the transport `serve`, or a tested version of opencode",
            Self::IsolateDatabase => "start it again later, or isolated, with a database of its own",
            Self::ListModels => "choose one of the models that can be used",
            Self::UseGateway => "use the credential gateway",
            Self::RemoveParameterOrUseGateway => "remove it, or use the credential gateway",
            Self::UseSourceWithGateway => "use a model source, and the credential gateway",
            Self::BypassGateway => {
                "bypass the credential gateway: opencode then sends the requests itself and has the key"
            }
            Self::RemoveKeyOrBypassGateway => {
                "remove the key from the variable, or bypass the credential gateway and let opencode have the key"
            }
            Self::SetPrices(source) => return write!(f, "set the prices of the model source `{source}`"),
            Self::UseModelOfServer => "name a model of the server instead of a model source",
            Self::ChooseWorkspace => "choose a writable workspace, or work in an existing directory",
            Self::NameJournalledTask => "name the directory of a task whose turns were journalled",
            Self::BeginNewSession => {
                "begin a new session in the same directory, not isolated if you want to continue it later"
            }
            Self::OmitDirectory => "omit the directory: a session works in its own",
            Self::NameModelOrSource => "configure the model source again, or name a model",
            Self::CorrectConfigurationOrNameModel => "correct opencode's configuration, or name a model",
        })
    }
}
