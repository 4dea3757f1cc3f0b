//! Derives the end of a turn from the exit of its process.

use super::api::explain;
use super::compaction::OVERFLOW;
use super::config_errors;
use super::stderr::StderrLine;
use crate::json_text::parse;
use crate::resource_limits::error_summary;
use opencode_run_core::{Ending, Event, ProcessExit, ReportedError, SessionId, TurnFailure};
use serde::Deserialize;

/// The observations during a turn that determine its ending.
#[derive(Debug, Default)]
pub(crate) struct EndEvidence {
    error: Option<ReportedError>,
    recovered: bool,
    model_not_found: Option<String>,
    session: Session,
    /// The reason in the log for an error that was reported without one.
    explained: Option<TurnFailure>,
}

/// The state of the session to continue.
#[derive(Debug, Default, PartialEq, Eq)]
enum Session {
    #[default]
    Unknown,
    Missing,
    /// A step began in it. Later messages about sessions concern other sessions.
    AtWork,
}

impl EndEvidence {
    /// Records an event.
    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::Error(error) => self.error = Some(error.clone()),
            // Another step means that opencode recovered from the error.
            Event::StepStart => {
                self.recovered |= self.error.take().is_some();
                self.session = Session::AtWork;
            }
            _ => {}
        }
    }

    /// Records a line on stderr.
    pub(crate) fn stderr(&mut self, line: StderrLine) {
        match line {
            StderrLine::ModelNotFound { message } => self.model_not_found = Some(message),
            StderrLine::SessionNotFound if self.session == Session::Unknown => self.session = Session::Missing,
            StderrLine::Explained { line } => self.explained = explain(&line),
            StderrLine::SessionNotFound
            | StderrLine::AgentNotFound
            | StderrLine::Refused { .. }
            | StderrLine::DatabaseBusy
            | StderrLine::Other => {}
        }
    }

    /// Returns the ending that follows from the process's exit.
    ///
    /// Exit code 0 alone proves nothing and is left to the turn's state machine, unless the last observation was an
    /// error: some versions exit with 0 anyway. Any other exit is a failure, and the observations give its
    /// reason.
    pub(crate) fn ending(self, exit: ProcessExit, session: Option<&SessionId>, stderr: &str) -> Ending {
        // `run` exits with 1 even if it recovered from an error, such as a context that had to be compacted.
        let recovered = self.recovered && self.error.is_none() && exit == ProcessExit::Code(1);
        let is_well = exit == ProcessExit::Code(0) || recovered;
        let before_any_step = self.session != Session::AtWork;
        let refused = if is_well || !before_any_step { None } else { config_errors::in_output(stderr) };
        let missing = session.filter(|_| self.session == Session::Missing);
        let failure = if let (false, Some(message)) = (is_well, self.model_not_found) {
            TurnFailure::ModelNotFound { message }
        } else if let Some(message) = refused {
            TurnFailure::Configuration { message }
        } else if let Some(error) = self.error {
            self.explained.filter(|_| error.message.starts_with(UNEXPLAINED)).unwrap_or_else(|| failure_of(error))
        } else if let Some(session) = missing {
            TurnFailure::SessionNotFound { session: session.clone() }
        } else if is_well {
            return Ending::Finished;
        } else {
            TurnFailure::Crashed { exit, stderr: error_summary(stderr) }
        };
        Ending::Failed(failure)
    }
}

/// The start of an error whose reason is only in the log.
const UNEXPLAINED: &str = "Unexpected server error";
/// The start of the message for an unknown model; the error has no name of its own.
const NO_MODEL: &str = "Model not found: ";

/// The starts of the messages that opencode's SDK reports for an invalid stream.
const UNREADABLE: [&str; 4] =
    ["JSON parsing failed", "Type validation failed", "Expected 'function.name'", "Expected 'id'"];

/// opencode's names of the errors of a provider.
const OF_PROVIDER: [&str; 4] = ["APIError", "ProviderAuthError", "ContentFilterError", OVERFLOW];

/// An error that a provider sent within its stream. opencode reports it without a name, as the received JSON.
#[derive(Deserialize)]
struct StreamedError {
    message: String,
}

/// Returns the failure of a turn for an error that opencode reported.
pub(crate) fn failure_of(error: ReportedError) -> TurnFailure {
    if error.message.starts_with(NO_MODEL) {
        // The message ends with a full stop, or with a question that contains suggestions.
        return TurnFailure::ModelNotFound { message: error.message.trim_end_matches('.').to_owned() };
    }
    if UNREADABLE.iter().any(|beginning| error.message.starts_with(beginning)) {
        // The remaining lines are the schema that the SDK expected.
        let first = error.message.lines().next().unwrap_or_default();
        return TurnFailure::MalformedAnswer { message: format!("its stream cannot be read: {first}") };
    }
    let message = match parse::<StreamedError>(&error.message) {
        Ok(StreamedError { message }) if error.name == "UnknownError" => message,
        _ if OF_PROVIDER.contains(&error.name.as_str()) => error.message,
        _ => return error.into(),
    };
    let ReportedError { status, retryable, url, .. } = error;
    TurnFailure::Provider { message, status, retryable, url }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str) -> Event {
        Event::Error(ReportedError::new(name, "boom").status(400).retryable(false))
    }

    #[test]
    fn exit_code_0_is_overruled_by_last_error() {
        let mut seen = EndEvidence::default();
        assert_eq!(EndEvidence::default().ending(ProcessExit::Code(0), None, ""), Ending::Finished);
        seen.event(&error("APIError"));
        assert!(matches!(seen.ending(ProcessExit::Code(0), None, ""), Ending::Failed(_)));
    }

    #[test]
    fn exit_without_reason_is_a_crash() {
        let ending = EndEvidence::default().ending(ProcessExit::Signal(11), None, "segfault");
        let failure = TurnFailure::Crashed { exit: ProcessExit::Signal(11), stderr: "segfault".to_owned() };
        assert_eq!(ending, Ending::Failed(failure));
    }

    #[test]
    fn log_explains_unexpected_server_error() {
        let mut seen = EndEvidence::default();
        seen.event(&error("UnknownError"));
        seen.stderr(StderrLine::ModelNotFound { message: "Model not found: a/b".to_owned() });
        let failure = TurnFailure::ModelNotFound { message: "Model not found: a/b".to_owned() };
        assert_eq!(seen.ending(ProcessExit::Code(1), None, ""), Ending::Failed(failure));
    }

    #[test]
    fn refused_configuration_explains_the_exit() {
        let stderr = "Error: Configuration is invalid at /w/opencode.json\n↳ Expected string, got 7 model\n";
        let message = "/w/opencode.json: Expected string, got 7 model".to_owned();
        let ending = |seen: EndEvidence| seen.ending(ProcessExit::Code(1), None, stderr);
        assert_eq!(ending(EndEvidence::default()), Ending::Failed(TurnFailure::Configuration { message }));
        let mut seen = EndEvidence::default();
        seen.event(&Event::StepStart);
        assert!(matches!(ending(seen), Ending::Failed(TurnFailure::Crashed { .. })));
    }

    #[test]
    fn log_explains_error_without_reason() {
        let mut seen = EndEvidence::default();
        let message = "Unexpected server error. Check server logs for details.".to_owned();
        let name = "UnknownError".to_owned();
        seen.event(&Event::Error(ReportedError::new(name, message)));
        seen.stderr(super::super::stderr::read(
            "timestamp=1 level=ERROR run=1 message=failed ref=err_1 error=\"Error: no \\\"x\\\"\" cause=\"y\"",
        ));
        let failure = TurnFailure::Opencode { message: "no \"x\"".to_owned() };
        assert_eq!(seen.ending(ProcessExit::Code(1), None, ""), Ending::Failed(failure));
    }

    #[test]
    fn errors_of_a_provider_are_known_by_name() {
        let failure = |name: &str| failure_of(ReportedError::new(name, "boom"));
        for name in OF_PROVIDER {
            assert!(matches!(failure(name), TurnFailure::Provider { status: None, .. }), "{name}");
        }
        let message = "UnknownError: boom".to_owned();
        assert_eq!(failure("UnknownError"), TurnFailure::Opencode { message });
    }

    #[test]
    fn error_within_stream_is_the_providers() {
        let ending = |name: &str, message: &str| {
            let error = ReportedError::new(name, message);
            let mut seen = EndEvidence::default();
            seen.event(&Event::Error(error));
            match seen.ending(ProcessExit::Code(1), None, "") {
                Ending::Failed(failure) => failure.to_string(),
                other => panic!("{other:?}"),
            }
        };
        let json = r#"{"message":"overloaded","type":"server_error"}"#;
        assert_eq!(ending("UnknownError", json), "the model's provider failed: overloaded");
        assert_eq!(ending("UnknownError", "oh"), "opencode failed: UnknownError: oh");
        assert_eq!(ending("UnknownError", "{}"), "opencode failed: UnknownError: {}");
    }

    #[test]
    fn invalid_stream_is_the_providers_failure() {
        for message in [
            "Expected 'function.name' to be a string.",
            "JSON parsing failed: Text: {\"a.\nError message: JSON Parse error: Unterminated string",
            "Type validation failed: Value: {\"foo\":1}.\nError message: [\n  {}\n]",
        ] {
            let first = message.lines().next().unwrap();
            let error = ReportedError::new("UnknownError", message);
            let message = format!("its stream cannot be read: {first}");
            assert_eq!(failure_of(error), TurnFailure::MalformedAnswer { message });
        }
    }

    #[test]
    fn unknown_model_is_recognized_by_message() {
        for (said, message) in [
            ("Model not found: stub/nope.", "Model not found: stub/nope"),
            ("Model not found: stub/gpt. Did you mean: gpt-4?", "Model not found: stub/gpt. Did you mean: gpt-4?"),
        ] {
            let error = ReportedError::new("UnknownError", said);
            assert_eq!(failure_of(error), TurnFailure::ModelNotFound { message: message.to_owned() });
        }
    }

    #[test]
    fn unknown_session_is_named_for_any_exit() {
        let session = SessionId::new("ses_1");
        let failure = TurnFailure::SessionNotFound { session: session.clone() };
        for code in [0, 1] {
            let mut seen = EndEvidence::default();
            seen.stderr(StderrLine::SessionNotFound);
            let ending = seen.ending(ProcessExit::Code(code), Some(&session), "");
            assert_eq!(ending, Ending::Failed(failure.clone()));
        }
    }

    #[test]
    fn active_turns_session_errors_are_foreign() {
        for said_first in [true, false] {
            let mut seen = EndEvidence::default();
            if said_first {
                seen.stderr(StderrLine::SessionNotFound);
            }
            seen.event(&Event::StepStart);
            seen.stderr(StderrLine::SessionNotFound);
            let ending = seen.ending(ProcessExit::Code(0), Some(&SessionId::new("ses_1")), "");
            assert_eq!(ending, Ending::Finished);
        }
    }

    #[test]
    fn recovered_error_is_not_the_reason() {
        let mut seen = EndEvidence::default();
        seen.event(&error("APIError"));
        seen.event(&Event::StepStart);
        assert_eq!(seen.ending(ProcessExit::Code(1), None, ""), Ending::Finished);
    }
}
